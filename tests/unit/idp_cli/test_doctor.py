"""What `idp doctor` says of secrets and of those that use them."""

from __future__ import annotations

import io
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from idp_cli import demonstration, step_view
from idp_cli import part_findings as part_findings_module
from idp_cli.demonstration import Demonstration
from idp_cli.doctor import secret_findings, token_finding
from idp_cli.invocation import Invocation
from idp_cli.output import Output, OutputFormat, new_console
from idp_cli.part_findings import clock_finding, part_findings, store_finding
from idp_cli.supervision.home import Home
from idp_cli.supervision.keys import AGENT_READER_TOKEN
from idp_cli.supervision.ports import shifted_ports
from idp_cli.supervision.preflight import Finding
from idp_kernel.wire.api import WhoAmI
from tests.fixtures.stand_in_platform import StandInPlatform
from tests.unit.idp_cli.invocations import invocation_on


@pytest.fixture
def platform() -> StandInPlatform:
    return StandInPlatform()


@pytest.fixture
def invocation(
    platform: StandInPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Invocation:
    """Of a platform on which the demo has run."""
    monkeypatch.setattr(sys, "argv", ["idp"])
    monkeypatch.setattr(step_view, "LOOK_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(demonstration, "GRACE_SECONDS", 0)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / AGENT_READER_TOKEN).write_text("a-reader")
    output = Output(new_console(io.StringIO()), OutputFormat.TABLE)
    invocation = invocation_on(platform, tmp_path, output)
    assert Demonstration(invocation).perform(stays=True)
    return invocation


def test_all_is_well_while_rotations_keep_up(invocation: Invocation) -> None:
    (secrets,) = secret_findings(invocation)
    assert secrets.is_good
    assert secrets.found == "no rotation is due"


def test_due_rotations_are_counted(invocation: Invocation, platform: StandInPlatform) -> None:
    secret_id, secret = next(iter(platform.secrets.items()))
    due = datetime.now(UTC) - timedelta(hours=1)
    platform.secrets[secret_id] = secret.model_copy(update={"next_rotation_at": due})
    (secrets,) = secret_findings(invocation)
    assert secrets.found == "1 due for rotation; idp secret list --due"


def test_a_consumer_without_a_login_is_complained_of(
    invocation: Invocation, platform: StandInPlatform
) -> None:
    platform.consumer_problem = "the store is sealed"
    _, consumer = secret_findings(invocation)
    assert not consumer.is_good
    assert " db of demo-" in consumer.found
    assert "the store is sealed" in consumer.found
    assert "idp secret list --team demo-" in consumer.advice


def findings_of(invocation: Invocation) -> dict[str, Finding]:
    return {each.subject: each for each in part_findings(invocation)}


def test_parts_that_are_away_are_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens where this home says, and it has no keys."""
    monkeypatch.setattr(sys, "argv", ["idp"])
    monkeypatch.setattr(Invocation, "ports", shifted_ports(9_000))
    monkeypatch.setattr(part_findings_module, "ANSWERS_WITHIN_SECONDS", 1)
    output = Output(new_console(io.StringIO()), OutputFormat.TABLE)
    found = findings_of(
        Invocation(
            home=Home.at(tmp_path),
            output=output,
            api_url_given=None,
            forge_url_given=None,
            token_given="a-token",
            token_file=None,
        )
    )
    assert set(found) == {
        "databases", "migrations", "secret store", "forge", "GitOps agent", "queue",
    }  # fmt: skip
    for finding in found.values():
        assert not finding.is_good, finding
        assert finding.advice
    assert "idp up" in found["databases"].advice
    assert "control_plane cannot log in" in found["databases"].found


class Store:
    """A secret store that says of itself what it is told to."""

    def __init__(self, **status: object) -> None:
        self.status = {"initialized": True, "sealed": False, "version": "2.7.0", **status}

    def __call__(self, _request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=self.status)


@pytest.mark.parametrize(
    ("store", "is_good", "told"),
    [
        (Store(), True, "unsealed, OpenBao 2.7.0"),
        (Store(sealed=True), False, "sealed: it gives no secret to anybody, OpenBao 2.7.0"),
        (Store(initialized=False), False, "it was never initialised"),
    ],
)
def test_the_store_tells_whether_it_is_sealed(
    store: Store, *, is_good: bool, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["idp"])
    output = Output(new_console(io.StringIO()), OutputFormat.TABLE)
    finding = store_finding(invocation_on(store, tmp_path, output))
    assert (finding.is_good, finding.found) == (is_good, told)
    assert "idp up" in finding.advice


def test_a_clock_that_lags_behind_what_it_wrote_is_told(tmp_path: Path) -> None:
    key = tmp_path / "keys" / "a.key"
    key.parent.mkdir()
    key.touch()
    output = Output(new_console(io.StringIO()), OutputFormat.TABLE)
    invocation = invocation_on(StandInPlatform(), tmp_path, output)
    assert clock_finding(invocation).is_good
    ahead = datetime.now(UTC).timestamp() + 7200
    os.utime(key, (ahead, ahead))
    finding = clock_finding(invocation)
    assert not finding.is_good
    assert "before the newest file" in finding.found


def test_a_token_that_ends_soon_is_told() -> None:
    def of(hours: int) -> Finding:
        until = datetime.now(UTC) + timedelta(hours=hours)
        return token_finding(
            WhoAmI(principal="ana", platform_admin=False, teams={}, token_expires_at=until)
        )

    assert of(24 * 30).is_good
    assert not of(3).is_good
    assert "token create ana" in of(3).advice
