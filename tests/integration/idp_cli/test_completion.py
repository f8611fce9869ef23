"""Completion in real shells: somebody types, presses Tab and sees."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from idp_cli.completion import Shell
from tests.fixtures.stack import free_port
from tests.fixtures.stand_in_platform import StandInPlatform, served
from tests.fixtures.terminal import Terminal, in_terminal

PROGRAMS = Path(sys.executable).parent
PROMPT = "ready> "
TO_ITS_BEGINNING, TO_ITS_END = "\x01", "\x05"
"""What moves the cursor in the line that is typed."""
STARTS: dict[Shell, list[str]] = {
    Shell.BASH: ["bash", "--norc", "--noprofile", "-i"],
    Shell.ZSH: ["zsh", "-f", "-i"],
    Shell.FISH: ["fish", "--no-config", "--interactive"],
}
SETS_UP: dict[Shell, str] = {
    Shell.BASH: f"PS1='{PROMPT}'; eval \"$(idp completion bash)\"; bind 'set bell-style none'",
    Shell.ZSH: (
        f"PS1='{PROMPT}'; autoload -Uz compinit; compinit -u -D; eval \"$(idp completion zsh)\""
    ),
    Shell.FISH: f"function fish_prompt; echo -n '{PROMPT}'; end; idp completion fish | source",
}
SHELLS = [
    pytest.param(Shell.BASH, marks=pytest.mark.endurance),
    pytest.param(Shell.ZSH, marks=pytest.mark.system),
    pytest.param(Shell.FISH, marks=pytest.mark.system),
]


@pytest.fixture(scope="module")
def api_url() -> Iterator[str]:
    """A platform with an application `shop` of team `payments`, and an environment `dev`."""
    platform = StandInPlatform()
    with served(platform) as url:
        yield url


@contextmanager
def typing_in(shell: Shell, home: Path, api_url: str) -> Iterator[Terminal]:
    """A shell that has loaded the completion."""
    environment = {
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "HOME": str(home),
        "IDP_HOME": str(home / "idp"),
        "IDP_API_URL": api_url,
        "IDP_TOKEN": "idp_pat_pretend",
    }
    with in_terminal(STARTS[shell], environment, columns=120) as terminal:
        terminal.type(f"{SETS_UP[shell]}; echo set''up\n")
        terminal.read_until("setup")
        terminal.read_until(PROMPT)
        yield terminal


def completed(terminal: Terminal, typed: str, becomes: str) -> str:
    """All shown, once the line that was typed has become what it should, which `echo` then says."""
    terminal.type(f"{typed}{TO_ITS_BEGINNING}echo {TO_ITS_END}\n")
    return terminal.read_until(f"\n{becomes}\n")


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_commands_options_and_names(
    shell: Shell, tmp_path: Path, api_url: str
) -> None:
    with typing_in(shell, tmp_path, api_url) as terminal:
        completed(terminal, "idp team act\td\t", "idp team activate demo")
        completed(terminal, "idp request list --st\tpen\t", "idp request list --state pending")
        completed(terminal, "idp team list --outp\tya\t", "idp team list --output yaml")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_platform_that_is_away_leaves_the_line_as_it_was_typed(
    shell: Shell, tmp_path: Path
) -> None:
    with typing_in(shell, tmp_path, f"http://127.0.0.1:{free_port()}") as terminal:
        said = completed(terminal, "idp team show pay\tments", "idp team show payments")
        for complaint in ("unreachable", "Traceback", "✗", "error"):
            assert complaint not in said
