"""Dagster's storage on a real PostgreSQL, with rows of whatever age."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from dagster import (
    AssetMaterialization,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    EventLogEntry,
)
from dagster._core.events import StepMaterializationData
from dagster._core.execution.plan.objects import StepSuccessData
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from sqlalchemy import Engine, create_engine, event, text

from idp_dagster.catalog import APPLICATION_ENVIRONMENTS, PARTITIONS
from idp_kernel.ids import new_id
from tests.fixtures.stack import PostgresServer

TABLES = ("runs", "event_logs", "asset_check_executions", "dynamic_partitions", "kvs")
CHECK = "repository_protected"


@dataclass(frozen=True)
class DagsterStorage:
    """An instance without any process, and the database behind it."""

    instance: DagsterInstance
    engine: Engine

    def execute(self, statement: str, **values: Any) -> Any:
        with self.engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return result.all() if result.returns_rows else None

    def empty(self) -> None:
        self.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")

    def rows(self, table: str) -> int:
        return int(self.execute(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608 - the tables above

    def runs(self) -> set[str]:
        return {row.run_id for row in self.execute("SELECT run_id FROM runs")}

    def events_of(self, run_id: str) -> int:
        found = self.execute("SELECT count(*) FROM event_logs WHERE run_id = :id", id=run_id)
        return int(found[0][0])

    def add_run(
        self, job_name: str, at: datetime, status: DagsterRunStatus = DagsterRunStatus.SUCCESS
    ) -> str:
        """A run of that time with a tag and two events."""
        run = DagsterRun(job_name, new_id(), tags={"idp/team_id": "x"})
        self.instance.run_storage.add_run(run)
        for message in ("begins", "ends"):
            self.instance.event_log_storage.store_event(_entry(run.run_id, job_name, message))
        self.execute(
            "UPDATE runs SET create_timestamp = :at, update_timestamp = :at, status = :status"
            " WHERE run_id = :id",
            at=_naive(at),
            status=status.value,
            id=run.run_id,
        )
        return run.run_id

    def add_runs(self, job_name: str, number: int) -> None:
        """So many that succeeded, without events."""
        run = DagsterRun(job_name, new_id(), status=DagsterRunStatus.SUCCESS)
        self.instance.run_storage.add_run(run)
        self.execute(
            "INSERT INTO runs (run_id, pipeline_name, status, run_body)"
            " SELECT gen_random_uuid()::text, pipeline_name, status, run_body"
            " FROM runs, generate_series(2, :number) WHERE run_id = :id",
            number=number,
            id=run.run_id,
        )
        self.execute("ANALYZE runs")

    def show(self, partition: str) -> None:
        """The catalog has it."""
        name = PARTITIONS[APPLICATION_ENVIRONMENTS].name
        assert name is not None
        self.instance.add_dynamic_partitions(name, [partition])

    def materialize(self, run_id: str, partition: str) -> None:
        """The run told of that environment."""
        self.show(partition)
        told = AssetMaterialization(APPLICATION_ENVIRONMENTS, partition=partition)
        event = DagsterEvent(
            DagsterEventType.ASSET_MATERIALIZATION.value,
            "job",
            event_specific_data=StepMaterializationData(told),
        )
        self.instance.event_log_storage.store_event(_entry(run_id, "job", "told", event))

    def begin_step(self, run_id: str, step: str) -> None:
        """The event."""
        event = DagsterEvent(DagsterEventType.STEP_START.value, "job", step_key=step)
        self.instance.event_log_storage.store_event(_entry(run_id, "job", "begins", event))

    def end_step(self, run_id: str, step: str) -> None:
        """The event."""
        ended = DagsterEvent(
            DagsterEventType.STEP_SUCCESS.value,
            "job",
            step_key=step,
            event_specific_data=StepSuccessData(duration_ms=1.0),  # type: ignore[no-untyped-call] # Dagster says no types
        )
        self.instance.event_log_storage.store_event(_entry(run_id, "job", "ends", ended))

    def add_result(self, partition: str | None, at: datetime, *, status: str = "SUCCEEDED") -> None:
        """A result of a check of that time, or what a run has `PLANNED` and not done."""
        self.execute(
            "INSERT INTO asset_check_executions (asset_key, check_name, partition, run_id,"
            " execution_status, evaluation_event_timestamp)"
            " VALUES (:asset, :check, :partition, :run, :status, :at)",
            asset=APPLICATION_ENVIRONMENTS.to_string(),
            check=CHECK,
            partition=partition,
            run=new_id(),
            status=status,
            at=_naive(at),
        )

    def results(self) -> list[tuple[str | None, datetime]]:
        found = self.execute(
            "SELECT partition, evaluation_event_timestamp AS at FROM asset_check_executions"
            " ORDER BY id"
        )
        return [(row.partition, row.at.replace(tzinfo=UTC)) for row in found]


@contextmanager
def statements_sent() -> Iterator[list[str]]:
    """Those that this process sends meanwhile, through whatever engine."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def a_run(tags: dict[str, str] | None = None) -> DagsterRun:
    """Of a job that is at a code server, as all that wait are."""
    server = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=1, location_name="idp")
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(server, "__repository__"), "job")
    return DagsterRun("job", new_id(), tags=tags, remote_job_origin=origin)


def _naive(at: datetime) -> datetime:
    """As Dagster's tables have it."""
    return at.astimezone(UTC).replace(tzinfo=None)


def _entry(
    run_id: str, job_name: str, message: str, event: DagsterEvent | None = None
) -> EventLogEntry:
    return EventLogEntry(  # type: ignore[no-untyped-call] # Dagster says no types
        error_info=None,
        level="info",
        user_message=message,
        run_id=run_id,
        timestamp=datetime.now(UTC).timestamp(),
        job_name=job_name,
        dagster_event=event,
    )


@contextmanager
def dagster_storage(postgres: PostgresServer, home: Path) -> Iterator[DagsterStorage]:
    """A new one, as `deploy/dagster.yaml` has it."""
    url = postgres.create_database().url
    storage = {
        "module": "idp_dagster.storage",
        "class": "PooledPostgresStorage",
        "config": {"postgres_url": url.replace("+psycopg:", "+psycopg2:")},
    }
    settings = {"storage": {"custom": storage}, "telemetry": {"enabled": False}}
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    engine = create_engine(url)
    with DagsterInstance.from_config(str(home)) as instance:
        yield DagsterStorage(instance, engine)
    engine.dispose()
