"""Whether programs accept a command, without its being carried out."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from typer._click.exceptions import UsageError

from idp_cli.main import app
from tests.docs.pages import ROOT

_IDP = typer.main.get_command(app)
_MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
_TARGETS = frozenset(re.findall(r"^([a-z-]+):.*## ", _MAKEFILE, re.MULTILINE))
_VARIABLES = frozenset(re.findall(r"^([A-Z_]+) :=", _MAKEFILE, re.MULTILINE))
_HELP_WITHIN_SECONDS = 60


def complaint(text: str) -> str | None:
    """Why a command that a page shows is none; None when its program would accept it. Fails for a
    program that nobody here can ask.
    """
    program, *arguments = shlex.split(text, comments=True)
    if program == "idp":
        return _idp_complaint(arguments)
    if program == "make":
        return make_complaint(arguments)
    if Path(program).name == "bao":
        return _bao_complaint(arguments)
    if Path(program).name == "python" and arguments[:1] == ["-m"]:
        return _module_complaint(arguments[1:])
    return f"{program} is a program that the tests do not know: type it, or have them ask it"


def complaint_of_words(text: str) -> str | None:
    """Of words that begin like a command, whose arguments may be left out, or have only names; None
    for all other words.
    """
    words = text.split()
    if words[:1] == ["idp"] and "…" not in words:
        return _idp_complaint_of(words[1:])
    if words[:1] == ["make"]:
        return make_complaint([each for each in words[1:] if each.partition("=")[0] != "…"])
    if Path(words[0]).name == "python" and words[1:2] == ["-m"]:
        return _module_complaint(words[2:])
    return None


def idp_command(arguments: list[str]) -> str:
    """The command's last word; fails for arguments that it does not take."""
    command, rest = find_idp_command(arguments)
    with command.make_context(command.name, rest):
        return str(command.name)


def find_idp_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words begin with, and the rest of them; fails when there is none."""
    found: Any = _IDP
    rest = list(words)
    while hasattr(found, "commands"):
        assert rest, words
        assert rest[0] in found.commands, words
        found = found.commands[rest.pop(0)]
    return found, rest


def make_complaint(arguments: list[str]) -> str | None:
    """Of targets and variables that the Makefile has not."""
    given = {each.partition("=")[0] for each in arguments if "=" in each}
    targets = {each for each in arguments if "=" not in each}
    unknown = (targets - _TARGETS) | (given - _VARIABLES)
    return f"the Makefile has no {', '.join(sorted(unknown))}" if unknown else None


def _idp_complaint(arguments: list[str]) -> str | None:
    try:
        idp_command(arguments)
    except (AssertionError, UsageError) as error:
        return str(error)
    return None


def _idp_complaint_of(words: list[str]) -> str | None:
    found: Any = _IDP
    options = {"--help", *(name for each in _IDP.params for name in each.opts)}
    while words and words[0] in getattr(found, "commands", ()):
        found = found.commands[words.pop(0)]
    options |= {name for each in found.params for name in (*each.opts, *each.secondary_opts)}
    unknown = [each for each in words if each.startswith("--") and each not in options]
    if hasattr(found, "commands"):
        unknown += [each for each in words if each.islower() and not each.startswith("-")]
    return f"idp has no {', '.join(unknown)}" if unknown else None


def _module_complaint(words: list[str]) -> str | None:
    module, *arguments = words
    if find_spec(module) is None:
        return f"there is no module {module}"
    options = {each.partition("=")[0] for each in arguments if each.startswith("-")}
    # A service would begin: only a program that takes options is asked for them.
    told = _said(sys.executable, "-m", module, "--help") if options else ""
    unknown = sorted(options - set(re.findall(r"--[a-z-]+", told)))
    return f"{module} takes no {', '.join(unknown)}" if unknown else None


def _bao_complaint(words: list[str]) -> str | None:
    """The store's own program has help for each of its commands, and for no others."""
    named = [each for each in words[:2] if re.fullmatch(r"[a-z]+", each)]
    program = str(Path(sys.executable).with_name("bao"))
    usage = f"Usage: bao {' '.join(named)}"
    return None if usage in _said(program, *named, "-help") else f"there is no {usage}"


@cache
def _said(*command: str) -> str:
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=_HELP_WITHIN_SECONDS, check=False
    )
    return ran.stdout + ran.stderr
