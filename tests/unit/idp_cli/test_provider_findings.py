"""What `idp doctor --provider` says; the workers' own command is run for real."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from idp_cli.invocation import Invocation
from idp_cli.output import Output, OutputFormat, new_console
from idp_cli.provider_findings import provider_findings
from idp_cli.supervision.keys import AGENT_READER_TOKEN, FORGE_BOT_TOKEN
from idp_kernel.errors import InvalidInput
from idp_kernel.tokens import write_private_file
from tests.fixtures.stack import free_port
from tests.fixtures.stand_in_platform import StandInPlatform
from tests.unit.idp_cli.invocations import invocation_on


def invocation(home: Path, api_url: str | None = None) -> Invocation:
    output = Output(new_console(io.StringIO()), OutputFormat.TABLE)
    return invocation_on(StandInPlatform(), home, output, api_url=api_url)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """One whose keys are there, and nothing runs in it."""
    for name in (FORGE_BOT_TOKEN, AGENT_READER_TOKEN, "openbao-workers.json"):
        (tmp_path / "keys").mkdir(exist_ok=True)
        write_private_file(tmp_path / "keys" / name, '{"role_id": "r", "secret_id": "s"}')
    return tmp_path


def test_a_provider_that_is_away_is_a_finding(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDP_EXECUTION_WORKERS_CALL_TIMEOUT_SECONDS", "2")
    (found,) = provider_findings(invocation(home), "openbao")
    assert (found.subject, found.is_good) == ("openbao", False)
    assert found.found.startswith("openbao did not log the workers in: ")


def test_a_provider_that_keeps_the_workers_waiting_is_a_finding(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idp_cli.provider_findings.TOLD_WITHIN_SECONDS", 0.01)
    (found,) = provider_findings(invocation(home), "openbao")
    assert (found.subject, found.is_good) == ("openbao", False)
    assert found.found == "execution_workers.doctor told nothing within 0.01 seconds"
    assert "CALL_TIMEOUT_SECONDS" in found.advice


def test_what_the_workers_refuse_is_told_in_their_words(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        list(provider_findings(invocation(tmp_path), "openbao"))
    assert refused.value.code == "provider_not_examined"
    assert "IDP_EXECUTION_WORKERS_" in refused.value.message
    assert "cannot be read" in refused.value.message


def test_an_unknown_provider_is_told_with_the_known_ones(home: Path) -> None:
    with pytest.raises(InvalidInput, match=r"invalid choice.*openbao"):
        list(provider_findings(invocation(home), "cvs"))


def test_of_a_platform_elsewhere_it_says_where_to_ask(home: Path) -> None:
    elsewhere = invocation(home, api_url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(InvalidInput) as refused:
        list(provider_findings(elsewhere, "github"))
    assert "python -m execution_workers.doctor --provider github" in refused.value.message
