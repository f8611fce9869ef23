from __future__ import annotations

import ast
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from typer import BadParameter
from typer.main import get_command

from control_plane.api.problem_codes import PROBLEM_CODES
from idp_cli import advice
from idp_cli.advice import About, advice_for, advice_for_code, refusals_about
from idp_cli.command_line import with_global_options_first
from idp_cli.main import app
from idp_kernel import errors
from idp_kernel.errors import Conflict, MoveRefused, PlatformError


@pytest.fixture(autouse=True)
def typed_by_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A shell in which the program is no word, as after `make up`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin" / "idp")])


ROOT = Path(advice.__file__).parents[1]
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


def test_a_grace_period_has_another_way_than_to_wait() -> None:
    details = {"activeRequestId": "0193-x", "secretId": "0193-s"}
    error = Conflict("busy", code="rotation_in_grace", details=details)
    assert "bin/idp request watch 0193-x" in advice_for(error)
    assert "bin/idp request cancel 0193-x" in advice_for(error)
    assert "bin/idp secret rotate 0193-s --emergency" in advice_for(error)


def test_a_persons_value_in_its_grace_is_followed_by_theirs() -> None:
    details = {"activeRequestId": "0193-x", "secretId": "0193-s"}
    told = advice_for(Conflict("a person's", code="persons_value_in_grace", details=details))
    assert "bin/idp secret login 0193-s" in told
    assert "bin/idp request cancel 0193-x" in told
    assert "request watch" not in told


def test_a_newer_request_is_looked_at_for_it_may_have_ended() -> None:
    details = {"activeRequestId": "0193-x", "secretId": "0193-s"}
    told = advice_for(Conflict("elder", code="request_superseded", details=details))
    assert "bin/idp request show 0193-x" in told
    assert "bin/idp secret rotate 0193-s" in told
    assert "under way" not in told


def test_an_end_that_did_not_finish_is_retried() -> None:
    details = {"activeRequestId": "0193-x", "secretId": "0193-s"}
    told = advice_for(Conflict("half ended", code="ending_unfinished", details=details))
    assert "bin/idp request retry 0193-x --watch" in told
    assert "under way" not in told


KNOWN: dict[str, object] = {
    "team": "payments",
    "applicationId": "0193-a",
    "environment": "dev",
    "applicationEnvironmentId": "0193-e",
    "secretId": "0193-s",
    "requestId": "0193-r",
    "activeRequestId": "0193-x",
}


@pytest.mark.parametrize(
    ("code", "command"),
    [
        ("rotation_not_valid", "request retry 0193-r --watch"),
        ("application_not_valid", "request retry 0193-r --watch"),
        ("binding_missing", "request retry 0193-r --watch"),
        ("binding_moved", "secret bindings 0193-s"),
        ("no_free_login", "secret rotate 0193-s --watch"),
        ("new_credential_refused", "request retry 0193-r --watch"),
        ("elder_credential_in_use", "secret rotate 0193-s --emergency"),
        ("value_set_by_person", "secret login 0193-s"),
        ("value_set_by_person", "secret rotate 0193-s --watch"),
        ("secret_without_value", "env provision 0193-a dev --watch"),
        ("application_environment_not_ready", "env show 0193-e"),
        ("application_not_ready", "app onboard 0193-a --watch"),
        ("request_succeeded", "request show 0193-r"),
        ("environment_not_active", "environment activate dev"),
    ],
)
def test_advice_names_what_it_is_about(code: str, command: str) -> None:
    assert f"`bin/idp {command}`" in str(advice_for_code(code, KNOWN))


def test_a_refusal_knows_what_it_is_about_and_keeps_what_it_said() -> None:
    error = Conflict("No.", code="secret_without_value", details={"environment": "qa"})
    with pytest.raises(Conflict) as raised, refusals_about(KNOWN | {"activeRequestId": None}):
        raise error
    assert "`bin/idp env provision 0193-a qa --watch`" in advice_for(raised.value)


def test_a_code_that_says_enough_has_no_advice_of_its_own() -> None:
    assert advice_for_code("some_other_code", KNOWN) is None


def test_what_somebody_typed_is_quoted() -> None:
    told = str(advice_for_code("environment_not_active", {"environment": "a b"}))
    assert "environment activate 'a b'`" in told


MISUSED_BY_A_SERVICE = {
    "duplicate_binding", "idempotency_key_mismatch", "token_for_undo", "wrong_repository_kind",
}  # fmt: skip
"""Codes that a worker has for a call that the engine never makes."""
NEVER_TYPED = {
    "already_claimed", "assertion_replayed", "claim_lost", "outcomes_missing", "run_already_used",
    "wrong_workflow",
}  # fmt: skip
"""Codes that only the platform's own services are answered with."""
BY_KIND = {"invalid_input", "not_allowed", "not_found", "move_refused", "invariant_broken"}
"""Codes that say no more than their kind, which has advice."""


def test_every_code_the_api_answers_people_with_has_advice() -> None:
    codes = set(PROBLEM_CODES) - NEVER_TYPED - BY_KIND
    assert sorted(code for code in codes if advice_for_code(code, KNOWN) is None) == []


def test_every_code_that_ends_a_workflow_has_advice() -> None:
    codes = codes_in("execution_workers") - MISUSED_BY_A_SERVICE - BY_KIND
    assert sorted(code for code in codes if advice_for_code(code, KNOWN) is None) == []


def codes_in(package: str) -> set[str]:
    """The codes of errors, and of the tables of errors, that stand in a package's text."""
    return {
        str(value.value)
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        for value in codes_of(node)
        if isinstance(value, ast.Constant)
    }


def codes_of(call: ast.Call) -> list[ast.expr]:
    found = [each.value for each in call.keywords if each.arg == "code"]
    if isinstance(call.func, ast.Name) and call.func.id == "Verdict":
        found.append(call.args[1])
    return found


ADVICE = {**advice._BY_CODE, **{kind.__name__: text for kind, text in advice._BY_TYPE.items()}}


@pytest.mark.parametrize("about", [{}, KNOWN], ids=["nothing known", "all known"])
@pytest.mark.parametrize("code", ADVICE)
def test_every_advised_command_parses(
    code: str, about: About, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advice, "_BY_CODE", ADVICE)
    told = str(advice_for_code(code, about))
    assert "{" not in told
    for command in re.findall(r"`bin/idp ([^`]*)`", told):
        parse(shlex.split(command))


PROGRAM: Any = get_command(app)


def test_a_command_that_lacks_a_word_does_not_parse() -> None:
    with pytest.raises(BadParameter):
        parse(["secret", "rotate", "--emergency"])


def parse(words: list[str]) -> None:
    """Raises what the program itself would say to a wrong command line; runs nothing."""
    command, rest = PROGRAM, with_global_options_first(words)
    context = command.make_context("idp", rest)
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        assert command is not None
        context = command.make_context(name, rest, parent=context)


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
