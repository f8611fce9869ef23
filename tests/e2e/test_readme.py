"""The README's commands, as typed there and in that order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.e2e.platform import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.endurance]

README = (Path(__file__).parents[2] / "README.md").read_text()
SHELL_BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for block in SHELL_BLOCKS
    for line in block.splitlines()
    if line.startswith("idp ")
]


def test_the_readme_s_commands_work(platform: Platform) -> None:
    assert len(COMMANDS) > 10
    for command in COMMANDS:
        ran = platform.idp(*command)
        assert ran.returncode == 0, f"idp {shlex.join(command)}\n{ran.stdout}{ran.stderr}"
        assert "Traceback" not in ran.stdout + ran.stderr
