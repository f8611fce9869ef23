"""The command line as a shell sees it: arguments in, exit code and words out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from idp_cli import main as entry
from idp_cli.command_line import with_global_options_first
from idp_cli.exits import EXIT_CODES_HELP, MEANINGS, ExitCode
from tests.fixtures.stack import free_port


@pytest.fixture(autouse=True)
def bare_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home of its own, no settings of whoever runs the tests, no long pauses."""
    for name in ("IDP_API_URL", "IDP_FORGE_URL", "IDP_TOKEN", "IDP_TOKEN_FILE", "IDP_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IDP_HOME", str(tmp_path / "idp"))
    monkeypatch.setattr("idp_cli.api.FIRST_PAUSE_SECONDS", 0.001)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["idp", *arguments])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        (["status", "--output", "json"], ["--output", "json", "status"]),
        (["up", "--home=/x", "--port-offset", "3"], ["--home=/x", "up", "--port-offset", "3"]),
        (["env", "show", "--", "--output"], ["env", "show", "--", "--output"]),
        (["status", "--output"], ["--output", "status"]),
        (
            ["secret", "login", "x", "--home", "/x", "--exec", "bao", "--output", "json"],
            ["--home", "/x", "secret", "login", "x", "--exec", "--", "bao", "--output", "json"],
        ),
        (["secret", "--exec", "--", "bao"], ["secret", "--exec", "--", "bao"]),
    ],
)
def test_global_options_may_stand_anywhere(typed: list[str], understood: list[str]) -> None:
    assert with_global_options_first(typed) == understood


def test_help_tells_the_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == ExitCode.OK
    said = " ".join(capsys.readouterr().out.split())
    assert EXIT_CODES_HELP in said
    assert set(MEANINGS) == set(ExitCode)
    assert all(f"{code.value} {told}" in EXIT_CODES_HELP for code, told in MEANINGS.items())


def test_a_platform_that_does_not_answer_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IDP_TOKEN", "idp_pat_pretend")
    where = f"http://127.0.0.1:{free_port()}"
    assert run(monkeypatch, "team", "list", "--api-url", where) == ExitCode.UNREACHABLE
    said = capsys.readouterr().err
    assert "code  unreachable" in said
    assert "idp up" in said


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_errors_are_documents_for_pipelines(
    form: str,
    read: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "status", "--output", form) == ExitCode.UNREACHABLE
    said = capsys.readouterr()
    problem = read(said.err)
    assert problem["code"] == "not_running"
    assert "idp up" in problem["next"]
    assert not said.out


def test_an_option_beats_the_variable_for_errors_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IDP_OUTPUT", "json")
    run(monkeypatch, "status", "--output", "table")
    assert "code  not_running" in capsys.readouterr().err
    run(monkeypatch, "status")
    assert json.loads(capsys.readouterr().err)["code"] == "not_running"


def test_without_a_token_the_way_to_one_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "whoami") == ExitCode.FAILED
    said = capsys.readouterr().err
    assert "token_missing" in said
    assert "idp token create" in said


def test_what_cannot_be_a_slug_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "team", "create", "Bad [red]Slug") == ExitCode.FAILED
    said = capsys.readouterr().err
    assert "slug" in said
    assert "'Bad [red]Slug'" in said


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["team", "activat"], "Did you mean 'activate'?"),
        (["teams"], "Did you mean 'team'"),
        (["register"], "Did you mean 'idp app register'?"),
        (["team", "show"], "For example `idp team show payments`; `idp team show --help` shows"),
        (["team", "rename"], "`idp team --help` shows what there is."),
        (["request", "list", "--state", "sleeping"], "For example `idp request list`"),
        (["team", "list", "--stat", "Active"], "--state"),
        (["secret", "compromised", "x"], "Missing option '--reason'"),
        (["team", "list", "--limit", "0"], "--limit"),
        (["team", "list", "--output", "xml"], "'xml' is not one of"),
    ],
)
def test_a_wrong_command_line_says_what_to_type(
    typed: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, *typed) == ExitCode.USAGE
    said = capsys.readouterr()
    assert told in said.err
    assert "code  wrong_usage" in said.err
    assert not said.out


def test_a_wrong_command_line_is_a_document_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "team", "show", "--output", "yaml") == ExitCode.USAGE
    problem = yaml.safe_load(capsys.readouterr().err)
    assert problem["code"] == "wrong_usage"
    assert problem["example"] == "team show payments"


def test_a_group_without_a_command_shows_what_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "team") == ExitCode.USAGE
    assert "activate" in capsys.readouterr().out


def test_the_help_of_a_command_ends_with_examples(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "app", "register", "--help") == ExitCode.OK
    assert capsys.readouterr().out.rstrip().endswith("--watch")


def test_doctor_works_when_nothing_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "doctor", "--output", "json")
    findings = {each["subject"]: each for each in json.loads(capsys.readouterr().out)}
    assert findings["platform"]["found"].startswith("not running")
    assert findings["git"]["isGood"]


def test_down_says_when_there_is_nothing_to_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "down") == ExitCode.OK
    assert "Nothing runs" in capsys.readouterr().out
