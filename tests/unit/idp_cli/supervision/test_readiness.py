from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from idp_cli.supervision.readiness import HasEnded, HasLogged, Listens, SaysReady
from idp_cli.supervision.remote import ProcessInfo, ProcessState
from tests.fixtures.stack import free_port

STARTED = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUNNING = ProcessInfo("worker", "engine", ProcessState.STARTING, 1, STARTED, 0)


def log_line(event: str, seconds: float) -> str:
    moment = STARTED + timedelta(seconds=seconds)
    return json.dumps({"event": event, "timestamp": moment.isoformat().replace("+00:00", "Z")})


@pytest.mark.parametrize(
    ("lines", "is_ready"),
    [
        ([], False),
        (["child_ready, in plain text", "{broken child_ready"], False),
        ([log_line("child_ready", -5)], False),
        ([log_line("not child_ready", 5)], False),
        (["noise", log_line("child_ready", 5), "noise"], True),
    ],
)
def test_a_program_is_up_when_it_says_so_since_its_start(
    tmp_path: Path, lines: list[str], *, is_ready: bool
) -> None:
    log = tmp_path / "worker.log"
    log.write_text("\n".join(lines))
    assert HasLogged(log, "child_ready").is_ready(RUNNING) is is_ready


def test_a_dead_program_is_not_up_whatever_answers(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text(log_line("child_ready", 5))
    dead = replace(RUNNING, state=ProcessState.BACKOFF)
    for readiness in (HasLogged(log, "child_ready"), Listens(free_port()), SaysReady(free_port())):
        assert not readiness.is_ready(dead)
        assert "backoff" in str(readiness.complaint(dead))


def test_a_port_nobody_listens_on_is_said() -> None:
    port = free_port()
    assert str(port) in str(Listens(port).complaint(RUNNING))
    assert "no answer" in str(SaysReady(port).complaint(RUNNING))


def test_a_set_up_has_to_end_well() -> None:
    ended = replace(RUNNING, state=ProcessState.EXITED)
    assert HasEnded().is_ready(ended)
    assert not HasEnded().is_ready(RUNNING)
    assert "status 3" in str(HasEnded().complaint(replace(ended, exit_status=3)))
