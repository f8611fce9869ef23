"""A day at a thousand requests an hour, with a day as old as may be before it: each hour every
table has just what retention promises.

The rows of the traffic are written in bulk, with the time of a clock that the test moves; what
deletes them is the real housekeeping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from control_plane.adapters.housekeeping import KEEP_ANSWERS_FOR
from execution_workers.ledger.housekeeping import ledger_chore
from execution_workers.ledger.ledger import new_engine
from execution_workers.ledger.migrate import migrate
from idp_dagster.housekeeping import CHECK_RESULTS, RUNS, keep_house
from idp_dagster.ports import Retention
from idp_dagster.sensors.housekeeping import FREQUENT_JOBS
from idp_kernel.retention import LEDGER_KEPT_FOR
from tests.fixtures.stack import PostgresServer
from tests.integration.control_plane.conftest import (
    Keys,
    MovableClock,
    Platform,
    new_database,
    running_platform,
)
from tests.integration.control_plane.engine_run import STEPS, claimed
from tests.integration.idp_dagster.storage import dagster_storage

pytestmark = [pytest.mark.endurance, pytest.mark.nightly, pytest.mark.timeout(3600)]

REQUESTS_AN_HOUR = 1000
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CHECKED_THINGS = 50
"""Of the catalog, at which a check looks every quarter of an hour."""


@dataclass
class Table:
    """What an hour of traffic writes into one table, and how long it is kept."""

    name: str
    statement: str
    """Takes `:now` and `:count`, the rows of an hour."""
    rows_an_hour: int
    kept_for: timedelta
    markers: int = 0
    """Rows that stay of those that are too old."""
    written_at: list[datetime] = field(default_factory=list)

    def write(self, engine: Engine, now: datetime) -> None:
        with engine.begin() as connection:
            values = {"now": now, "count": self.rows_an_hour}
            connection.execute(text(self.statement), values)
        self.written_at.append(now)

    def promised(self, now: datetime) -> int:
        kept = [at for at in self.written_at if now - at <= self.kept_for]
        markers = self.markers if len(kept) < len(self.written_at) else 0
        return len(kept) * self.rows_an_hour + markers

    def found(self, engine: Engine) -> int:
        with engine.connect() as connection:
            count = text(f"SELECT count(*) FROM {self.name}")  # noqa: S608 - the tables below
            return int(connection.execute(count).scalar_one())


def live_through(
    clock: MovableClock, engine: Engine, tables: list[Table], keep: Callable[[], object]
) -> None:
    """A day, a pause until it is as old as may be, and a day and a half with housekeeping."""
    for _ in range(24):
        write_hour(clock, engine, tables)
    # Half an hour aside, so that nothing is just as old as may be.
    pause = max(each.kept_for for each in tables) - DAY - HOUR / 2
    clock.advance(pause.total_seconds())
    for _ in range(36):
        write_hour(clock, engine, tables)
        keep()
        now = clock.now()
        assert {each.name: each.found(engine) for each in tables} == {
            each.name: each.promised(now) for each in tables
        }
    assert all(len(each.written_at) == 60 for each in tables)


def write_hour(clock: MovableClock, engine: Engine, tables: list[Table]) -> None:
    for table in tables:
        table.write(engine, clock.now())
    clock.advance(HOUR.total_seconds())


KEYS = """
    INSERT INTO idempotency_keys (principal, method, path, key, body_hash, status, created_at)
    SELECT 'p', 'POST', '/x', gen_random_uuid()::text, 'x', 202, :now
    FROM generate_series(1, :count)"""
EVENTS = """
    INSERT INTO outbox_events (id, type, occurred_at, subject, actor, data)
    SELECT gen_random_uuid(), 'git_repository_created', :now, 'x', 'p', '{}'
    FROM generate_series(1, :count)"""
AUDIT = """
    INSERT INTO audit_log (occurred_at, actor, action, subject, reason)
    SELECT :now, 'p', 'workflow_request_succeeded', 'x', '' FROM generate_series(1, :count)"""


@pytest.fixture
def platform(postgres_server: PostgresServer, keys: Keys) -> Iterator[Platform]:
    with running_platform(new_database(postgres_server), keys, keep_audit_days=90) as running:
        with running.engine.begin() as connection:
            connection.execute(text("UPDATE tokens SET expires_at = now() + interval '9 years'"))
        yield running


def test_the_control_plane(platform: Platform) -> None:
    run = claimed(platform, platform.provision(platform.new_subject()))
    run.do_all(STEPS[:2])
    assert run.fail(STEPS[2], retryable=False) == "failed"
    before = platform.request(run.request_id)
    with platform.engine.begin() as connection:
        connection.execute(text("TRUNCATE outbox_events, audit_log, idempotency_keys"))
    live_through(
        platform.clock,
        platform.engine,
        [
            Table("idempotency_keys", KEYS, REQUESTS_AN_HOUR, KEEP_ANSWERS_FOR),
            Table("outbox_events", EVENTS, 8 * REQUESTS_AN_HOUR, 90 * DAY, markers=1),
            Table("audit_log", AUDIT, 2 * REQUESTS_AN_HOUR, 90 * DAY),
        ],
        platform.housekeeper.keep_house,
    )
    assert platform.request(run.request_id) == before, "requests are kept"


FENCES = """
    WITH requests AS (
        SELECT gen_random_uuid()::text AS id FROM generate_series(1, :count)
    ), effects AS (
        INSERT INTO ledger.effects SELECT id, 1, 'step', 'item/' || n || '/' || id, 'x', 'created',
        id, '{}', NULL, 1, :now, NULL FROM requests, generate_series(1, 5) n
    )
    INSERT INTO ledger.request_fences SELECT id, 1, :now FROM requests"""


def test_the_ledger(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database().url
    migrate(url)
    engine, clock = new_engine(url, max_calls=2, item_wait_seconds=1), MovableClock()
    forget = ledger_chore(engine, clock, LEDGER_KEPT_FOR).delete_batch
    fences = Table("ledger.request_fences", FENCES, REQUESTS_AN_HOUR, LEDGER_KEPT_FOR)
    effects = Table("ledger.effects", "", 5 * REQUESTS_AN_HOUR, LEDGER_KEPT_FOR)

    def keep() -> None:
        while forget():
            pass
        assert effects.found(engine) == 5 * fences.found(engine)

    live_through(clock, engine, [fences], keep)
    engine.dispose()


RUNS_OF_WORKFLOWS = """
    WITH written AS (
        INSERT INTO runs (run_id, pipeline_name, status, run_body, create_timestamp,
          update_timestamp)
        SELECT gen_random_uuid()::text, 'application_onboarding', 'SUCCESS', '{}',
          :now AT TIME ZONE 'UTC', :now AT TIME ZONE 'UTC' FROM generate_series(1, :count)
        RETURNING run_id
    )
    INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp)
    SELECT run_id, '{}', 'STEP_SUCCESS', :now AT TIME ZONE 'UTC'
    FROM written, generate_series(1, 10)"""
RESULTS = """
    INSERT INTO asset_check_executions (asset_key, check_name, partition, run_id,
      execution_status, evaluation_event_timestamp)
    SELECT '["secrets"]', 'secret_within_policy', n % 50, gen_random_uuid()::text, 'SUCCEEDED',
      :now AT TIME ZONE 'UTC' FROM generate_series(1, :count) n"""


def test_dagsters_storage(postgres_server: PostgresServer, tmp_path: Path) -> None:
    retention = Retention(runs=30 * DAY, frequent=7 * DAY)
    clock = MovableClock()
    runs = Table(RUNS, RUNS_OF_WORKFLOWS, REQUESTS_AN_HOUR, retention.runs)
    results = Table(CHECK_RESULTS, RESULTS, 4 * CHECKED_THINGS, retention.frequent)
    events = Table("event_logs", "", 10 * REQUESTS_AN_HOUR, retention.runs)
    with dagster_storage(postgres_server, tmp_path) as storage:

        def keep() -> None:
            keep_house(
                storage.instance,
                retention,
                FREQUENT_JOBS,
                now=clock.now(),
                within_seconds=600,
            )
            assert events.found(storage.engine) == 10 * runs.found(storage.engine)

        live_through(clock, storage.engine, [runs, results], keep)
