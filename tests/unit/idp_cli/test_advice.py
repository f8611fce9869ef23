from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from idp_cli.advice import advice_for
from idp_kernel import errors
from idp_kernel.errors import Conflict, MoveRefused, PlatformError


@pytest.fixture(autouse=True)
def typed_by_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A shell in which the program is no word, as after `make up`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin" / "idp")])


KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, PlatformError) and kind is not PlatformError
]


@pytest.mark.parametrize("kind", [each for each in KINDS if each is not MoveRefused])
def test_every_kind_of_error_has_advice(kind: type[PlatformError]) -> None:
    assert advice_for(kind("It did not work."))


def test_the_request_that_stands_in_the_way_is_named() -> None:
    error = Conflict("busy", code="workflow_active", details={"activeRequestId": "0193-x"})
    assert "bin/idp request watch 0193-x" in advice_for(error)


@pytest.mark.parametrize("code", ["unreachable", "token_missing", "team_not_active"])
def test_commands_are_told_as_this_shell_can_type_them(code: str) -> None:
    advice = advice_for(Conflict("No.", code=code))
    commands = re.findall(r"`([^`]*)`", advice)
    assert commands
    assert all(command.startswith("bin/idp ") for command in commands)


def test_a_refused_move_says_what_is_possible() -> None:
    error = MoveRefused("no", current="Draft", wanted="Suspended", allowed=["Active", "Archived"])
    assert "Draft" in advice_for(error)
    assert "Active, Archived" in advice_for(error)
    last = MoveRefused("no", current="Archived", wanted="Active", allowed=[])
    assert "nothing leads on" in advice_for(last)
