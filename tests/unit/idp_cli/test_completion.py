"""What a shell is told when somebody presses Tab."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from idp_cli import main as entry
from idp_cli.completion import COMPLETION_VARIABLE, Shell, script_of
from tests.fixtures.stack import free_port
from tests.unit.idp_cli.recorded_calls import Recorder, recorded

Suggested = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IDP_HOME", str(tmp_path / "idp"))
    monkeypatch.setenv("IDP_TOKEN", "idp_pat_pretend")
    monkeypatch.setenv("IDP_API_URL", f"http://127.0.0.1:{free_port()}")
    for name in ("IDP_OUTPUT", "IDP_TOKEN_FILE", "IDP_FORGE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def suggested(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Suggested:
    """Asks as a shell does."""

    def ask(*words: str, of: Shell = Shell.BASH) -> list[str]:
        monkeypatch.setenv(COMPLETION_VARIABLE, of)
        monkeypatch.setattr(sys, "argv", ["idp", *words])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        said = capfd.readouterr()
        assert (ended.value.code, said.err) == (0, "")
        return said.out.splitlines()

    return ask


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """Has one of everything: team payments, application shop, environment staging."""
    names = {"team": "payments", "application": "shop", "environment": "staging", "name": "db"}
    with recorded(monkeypatch, slug="shop", **names) as recorder:
        yield recorder


@pytest.mark.parametrize(
    ("words", "some"),
    [
        (["te"], {"team"}),
        (["team", "act"], {"activate"}),
        (["team", "member", ""], {"add", "remove", "list"}),
        (["request", "list", "--st"], {"--state"}),
        (["request", "list", "--state", "pen"], {"pending"}),
        (["request", "list", "--state=pen"], {"pending"}),
        (["request", "list", "--state", "=", "pen"], {"pending"}),
        (["team", "list", "--output", ""], {"table", "json", "yaml"}),
        (["team", "list", "--out"], {"--output"}),
        (["--output", "json", "team", "sh"], {"show"}),
        (["team", "--output", "json", "sh"], {"show"}),
        (["completion", "z"], {"zsh"}),
        (
            ["app", "register", "p", "s", "--secret", "db", ":", "postgres", "--prov"],
            {"--provision"},
        ),
    ],
)
def test_what_may_stand_there_is_suggested(
    words: list[str], some: set[str], suggested: Suggested
) -> None:
    assert some <= set(suggested(*words))


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["team", "show", ""], ["shop"]),
        (["app", "show", "sh"], ["shop"]),
        (["app", "show", "other"], []),
        (["environment", "show", ""], ["shop"]),
        (["app", "list", "--team", ""], ["shop"]),
        (["env", "provision", "shop", ""], ["shop"]),
        (["secret", "show", "payments/"], ["payments/shop/staging/db"]),
    ],
)
def test_names_of_the_platform_are_suggested(
    words: list[str], expected: list[str], suggested: Suggested
) -> None:
    assert suggested(*words) == expected


def test_the_team_on_the_line_narrows_the_applications(
    platform: Recorder, suggested: Suggested
) -> None:
    suggested("app", "show", "--team", "payments", "")
    (call,) = platform.calls
    assert call.query["team"] == "payments"


@pytest.mark.usefixtures("platform")
def test_shells_that_show_it_are_told_what_a_word_is(suggested: Suggested) -> None:
    assert suggested("app", "show", "", of=Shell.FISH) == ["shop\tActive, of team payments"]
    assert suggested("te", of=Shell.ZSH) == ["team\tTeams and their members."]


def test_a_platform_that_is_away_gives_no_names_and_no_complaint(suggested: Suggested) -> None:
    assert suggested("team", "show", "") == []


def test_without_a_token_there_are_no_names_and_no_complaint(
    suggested: Suggested, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IDP_TOKEN")
    assert suggested("team", "show", "") == []


@pytest.mark.parametrize("shell", list(Shell))
def test_the_script_is_printed(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["idp", "completion", shell])
    with pytest.raises(SystemExit):
        entry.main()
    assert capsys.readouterr().out == script_of(shell)
