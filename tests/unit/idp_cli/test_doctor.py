"""What `idp doctor` says of secrets and of those that use them."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from idp_cli import demonstration, step_view
from idp_cli.demonstration import Demonstration
from idp_cli.doctor import secret_findings
from idp_cli.invocation import Invocation
from idp_cli.output import Output, OutputFormat, new_console
from idp_cli.supervision.keys import AGENT_READER_TOKEN
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
