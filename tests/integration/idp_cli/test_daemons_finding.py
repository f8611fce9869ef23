"""What `idp doctor` says of Dagster's daemons, by the signs of life that Dagster keeps of them."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from idp_cli import part_findings
from idp_cli.invocation import Invocation
from idp_cli.output import Output, OutputFormat, new_console
from idp_cli.part_findings import daemons_finding
from idp_cli.supervision.home import Home
from idp_cli.supervision.preflight import Finding
from idp_cli.supervision.remote import ProcessInfo, ProcessState
from idp_kernel.services import DAEMON_SILENT_SECONDS
from tests.fixtures.stack import PostgresServer
from tests.integration.idp_dagster.storage import DagsterStorage, dagster_storage

SOON = DAEMON_SILENT_SECONDS - 60
LATE = DAEMON_SILENT_SECONDS + 60
LONG_AGO = timedelta(days=1).total_seconds()


@pytest.fixture(scope="module")
def made(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DagsterStorage]:
    with dagster_storage(postgres_server, tmp_path_factory.mktemp("dagster")) as storage:
        yield storage


@pytest.fixture
def storage(made: DagsterStorage, monkeypatch: pytest.MonkeyPatch) -> DagsterStorage:
    """Empty, and what the doctor asks as `dagster`."""

    def asked(_invocation: Invocation, role: str, question: str) -> tuple[Any, ...]:
        assert role == "dagster"
        (row,) = made.execute(question)
        return tuple(row)

    made.execute("DELETE FROM daemon_heartbeats")
    monkeypatch.setattr(part_findings, "_ask", asked)
    monkeypatch.setattr(sys, "argv", ["idp"])
    return made


def told(
    home: Path, storage: DagsterStorage, ages: dict[str, float], *, lasts: float = LONG_AGO
) -> Finding:
    """The finding where the daemons were last heard of so many seconds ago, and the process lasts
    for so many.
    """
    now = datetime.now(UTC)
    for name, age in ages.items():
        heartbeat = DaemonHeartbeat(now.timestamp() - age, name, None)
        storage.instance.add_daemon_heartbeat(heartbeat)
    return daemons_finding(_invocation(home), _process(now - timedelta(seconds=lasts)))


def _invocation(home: Path) -> Invocation:
    output = Output(new_console(io.StringIO()), OutputFormat.TABLE)
    return Invocation(Home.at(home), output, None, None, None, None)


def _process(started_at: datetime | None) -> ProcessInfo:
    return ProcessInfo("daemon", "engine", ProcessState.RUNNING, 4711, started_at, 0)


@pytest.mark.parametrize(
    ("ages", "lasts", "found"),
    [
        ({"SENSOR": SOON, "SCHEDULER": 1}, LONG_AGO, "2 gave signs of life in the last 120 s"),
        ({"SENSOR": 1, "ASSET": LONG_AGO * 2}, LONG_AGO, "1 gave signs of life in the last 120 s"),
        ({"SENSOR": LATE}, SOON, "they begin"),
        ({}, SOON, "they begin"),
    ],
)
def test_daemons_that_are_heard_of_are_well(
    tmp_path: Path, storage: DagsterStorage, ages: dict[str, float], lasts: float, found: str
) -> None:
    finding = told(tmp_path, storage, ages, lasts=lasts)
    assert (finding.is_good, finding.found) == (True, found)


@pytest.mark.parametrize(
    ("ages", "lasts", "found"),
    [
        ({"SENSOR": LATE, "SCHEDULER": SOON}, LONG_AGO, "SENSOR gave no sign of life for 3m"),
        ({"SENSOR": LATE, "MONITORING": LATE * 2}, LONG_AGO, "MONITORING, SENSOR gave no sign of"),
        ({"SENSOR": LONG_AGO}, LATE, "they gave no sign of life since they began"),
    ],
)
def test_daemons_that_hang_are_told_with_the_way_to_end_them(
    tmp_path: Path, storage: DagsterStorage, ages: dict[str, float], lasts: float, found: str
) -> None:
    finding = told(tmp_path, storage, ages, lasts=lasts)
    assert not finding.is_good
    assert finding.found.startswith(found)
    assert "kill -9 4711" in finding.advice


def test_a_process_that_is_away_and_a_storage_that_refuses_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_asked: object) -> tuple[Any, ...]:
        raise psycopg.OperationalError("connection refused\nmore")

    monkeypatch.setattr(part_findings, "_ask", refused)
    assert not daemons_finding(_invocation(tmp_path), _process(None)).is_good
    finding = daemons_finding(_invocation(tmp_path), _process(datetime.now(UTC)))
    assert (finding.is_good, finding.found) == (False, "connection refused")
