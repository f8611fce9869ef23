"""Dagster's PostgreSQL storage with connections that are kept, and without what nobody reads.

As shipped it opens a connection for each statement, which costs PostgreSQL several times what the
statements do. Dagster makes a new instance for each sensor tick, so the pool belongs to the
process, not to the instance.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from functools import cache, lru_cache, partial
from typing import Any

import structlog
from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    EventLogEntry,
    RunRecord,
    RunsFilter,
)
from dagster._core.events import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
)
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.snap import ExecutionPlanSnapshot
from dagster._core.storage.dagster_run import DagsterRunStatus, JobBucket, TagBucket
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.runs.schema import RunsTable
from dagster._serdes import ConfigurableClassData, deserialize_value
from dagster._time import (
    datetime_from_timestamp,
    get_current_datetime,
    utc_datetime_from_naive,
)
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from sqlalchemy import (
    Connection,
    Engine,
    Executable,
    PoolProxiedConnection,
    bindparam,
    create_engine,
    event,
    func,
    select,
    update,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from idp_dagster.news import NOTICES_AN_END

_log = structlog.get_logger(__name__)

POOL_SIZE = 4
POOL_OVERFLOW = 20
POOL_RECYCLE_SECONDS = 1800

RUN_QUEUE_CHANNEL = "idp_run_queue"
"""Of `NOTIFY`: a run waits for its start, or one has ended and left its place."""
ENDINGS_CHANNEL = "idp_run_endings"
"""Of `NOTIFY`: a run has ended."""
_OF_AN_END = (RUN_QUEUE_CHANNEL, ENDINGS_CHANNEL)
NEWS: dict[DagsterEventType, tuple[str, ...]] = {
    DagsterEventType.PIPELINE_ENQUEUED: (RUN_QUEUE_CHANNEL,),
    DagsterEventType.PIPELINE_SUCCESS: _OF_AN_END,
    DagsterEventType.PIPELINE_FAILURE: _OF_AN_END,
    DagsterEventType.PIPELINE_CANCELED: _OF_AN_END,
}
"""By type of event: where those listen who wait for it."""
PURGE_EVERY_SECONDS = 600.0
"""How often ticks of a sensor or schedule that are too old are deleted; by days they are judged."""
RESTED_SECONDS = 1.0
"""A connection that nobody used for so long is asked whether it lives before it is used."""
_USED_AT = "idp_used_at"
_THERE: set[tuple[str, str]] = set()
"""Tables, columns, indexes and snapshots of jobs that were seen, of each database."""
PLANS_KEPT = 100
_PLANS: dict[tuple[str, str], ExecutionPlanSnapshot] = {}
"""Those of runs that this process has read, by database and id."""
_is_of_run = RunsTable.c.run_id == bindparam("of_run")
_RUN = select(RunsTable.c.run_body, RunsTable.c.status).where(_is_of_run)
_RUN_RECORD = select(
    RunsTable.c.id,
    RunsTable.c.run_body,
    RunsTable.c.status,
    RunsTable.c.create_timestamp,
    RunsTable.c.update_timestamp,
    RunsTable.c.start_time,
    RunsTable.c.end_time,
).where(_is_of_run)
RUNS_KEPT = 512
"""As many as are at work and wait, and more."""
_INSERT_EVENT = SqlEventLogStorageTable.insert().inline()
"""Made once: to make it anew takes longer than to send it. Nobody asks for the row's number."""
_ENDS = frozenset(
    {
        DagsterEventType.PIPELINE_SUCCESS,
        DagsterEventType.PIPELINE_FAILURE,
        DagsterEventType.PIPELINE_CANCELED,
    }
)


def _change_by(kind: DagsterEventType) -> Executable:
    """What an event of that type changes of its run, with word to those who wait for it."""
    changed: dict[str, Any] = {
        "status": EVENT_TYPE_TO_PIPELINE_RUN_STATUS[kind].value,
        "update_timestamp": bindparam("at"),
        **({"start_time": bindparam("seconds")} if kind is DagsterEventType.PIPELINE_START else {}),
        **({"end_time": bindparam("seconds")} if kind in _ENDS else {}),
    }
    change = update(RunsTable).where(_is_of_run).values(changed)
    told = [func.pg_notify(channel, "") for channel in NEWS.get(kind, ())]
    return change.returning(*told) if told else change


_CHANGES = {
    kind: _change_by(kind)
    for kind in EVENT_TYPE_TO_PIPELINE_RUN_STATUS
    if kind is not DagsterEventType.PIPELINE_FAILURE
}
_ASSET_EVENTS = frozenset({*ASSET_EVENTS, *ASSET_CHECK_EVENTS})
_FOLLOWED_AT_ONCE = frozenset(
    {
        DagsterEventType.STEP_OUTPUT,
        DagsterEventType.HANDLED_OUTPUT,
        DagsterEventType.STEP_SUCCESS,
        DagsterEventType.RESOURCE_INIT_SUCCESS,
        DagsterEventType.ENGINE_EVENT,
    }
)
"""Events of a run after which Dagster has nothing to wait for before its next."""


class PooledPostgresStorage(DagsterPostgresStorage):
    """`DagsterPostgresStorage` on the process's pool; configured by `postgres_url`."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,  # noqa: FBT001, FBT002 - the signature of the base
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        super().__init__(postgres_url, should_autocreate_tables, inst_data)
        runs = TellingRunStorage(postgres_url, should_autocreate_tables)
        self._run_storage = runs
        self._event_log_storage = TerseEventLogStorage(runs, postgres_url, should_autocreate_tables)
        self._schedule_storage = SettledScheduleStorage(postgres_url, should_autocreate_tables)
        engine = pooled_engine(postgres_url, os.getpid())
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine  # noqa: SLF001 - the base makes its engine itself

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> PooledPostgresStorage:
        return cls(
            config_value["postgres_url"],
            config_value.get("should_autocreate_tables", True),
            inst_data,
        )


class TellingRunStorage(PostgresRunStorage):
    """Tells whoever starts runs when there is something to start, or room for it, and whoever
    reports ends when a run has ended.

    Looks once in a process whether the tables have a column, an index, or the snapshot of a job;
    Dagster looks before each statement that names it. None of them goes again.

    What a run is stays as it was written, but for its tags: its status has a column, which counts.
    Dagster writes it into the run as well, for which it reads the run first, and loses tags that
    came in between.
    """

    def has_run_stats_index_cols(self) -> bool:
        return stays(self.postgres_url, "run stats", super().has_run_stats_index_cols)

    def has_backfill_id_column(self) -> bool:
        return stays(self.postgres_url, "backfill id", super().has_backfill_id_column)

    def has_built_index(self, migration_name: str) -> bool:
        look = partial(super().has_built_index, migration_name)
        return stays(self.postgres_url, migration_name, look)

    def get_run_records(
        self,
        filters: RunsFilter | None = None,
        limit: int | None = None,
        order_by: str | None = None,
        ascending: bool = False,  # noqa: FBT001, FBT002 - the signature of the base
        cursor: str | None = None,
        bucket_by: JobBucket | TagBucket | None = None,
    ) -> Sequence[RunRecord]:
        """One run by its id, which Dagster reads again and again on a run's way, is asked for with
        a statement that was made before.
        """
        ids = () if filters is None else filters.run_ids or ()
        is_one = len(ids) == 1 and filters == RunsFilter(run_ids=ids) and cursor is None
        if not (is_one and self.has_run_stats_index_cols()):
            return super().get_run_records(filters, limit, order_by, ascending, cursor, bucket_by)
        with self.connect() as connection:
            rows = connection.execute(_RUN_RECORD, {"of_run": ids[0]}).mappings().all()
        return [
            RunRecord(
                storage_id=row["id"],
                dagster_run=self._row_to_run(dict(row)),
                create_timestamp=utc_datetime_from_naive(row["create_timestamp"]),
                update_timestamp=utc_datetime_from_naive(row["update_timestamp"]),
                start_time=row["start_time"],
                end_time=row["end_time"],
            )
            for row in rows
        ]

    def _get_run_by_id(self, run_id: str) -> DagsterRun | None:
        with self.connect() as connection:
            row = connection.execute(_RUN, {"of_run": run_id}).mappings().first()
        return None if row is None else self._row_to_run(dict(row))

    def has_job_snapshot(self, job_snapshot_id: str) -> bool:
        look = partial(super().has_job_snapshot, job_snapshot_id)
        return stays(self.postgres_url, job_snapshot_id, look)

    def get_execution_plan_snapshot(self, execution_plan_snapshot_id: str) -> ExecutionPlanSnapshot:
        """Named by its content, so that it stays what it is."""
        of = (self.postgres_url, execution_plan_snapshot_id)
        if of in _PLANS:
            return _PLANS[of]
        found = super().get_execution_plan_snapshot(execution_plan_snapshot_id)
        if len(_PLANS) >= PLANS_KEPT:
            _PLANS.clear()
        if found:
            _PLANS[of] = found
        return found

    def handle_run_event(
        self, run_id: str, event: DagsterEvent, update_timestamp: datetime | None = None
    ) -> None:
        """A failure is Dagster's own to write: it adds a tag."""
        kind = event.event_type
        if kind is DagsterEventType.PIPELINE_FAILURE or not self.has_run_stats_index_cols():
            super().handle_run_event(run_id, event, update_timestamp)
            self._tell(NEWS.get(kind, ()))
        elif kind in _CHANGES:
            at = update_timestamp or get_current_datetime()
            told = {"of_run": run_id, "at": at, "seconds": at.timestamp()}
            with self.connect() as connection:
                connection.execute(_CHANGES[kind], told)

    def _row_to_run(self, row: Mapping[str, Any]) -> DagsterRun:
        return _run_in(row["run_body"]).with_status(DagsterRunStatus(row["status"]))

    def _tell(self, channels: Iterable[str]) -> None:
        """What happened is stored: that nobody was told of it is no failure of it."""
        try:
            with self.connect() as connection:
                for channel in channels:
                    connection.execute(select(func.pg_notify(channel, "")))
        except SQLAlchemyError as error:
            _log.warning("run_news_not_told", cause=type(error).__name__)


class TerseEventLogStorage(PostgresEventLogStorage):
    """Stores most events with one statement: Dagster's own `NOTIFY` after each has no listener.

    While a run is executed, what comes right before another event is stored together with that.
    What an event changes of its run it has changed itself: Dagster would read the run once more
    for its own retries of runs, which are off.
    """

    handles_run_events_in_store_event = True

    def __init__(
        self,
        runs: TellingRunStorage,
        postgres_url: str,
        should_autocreate_tables: bool = True,  # noqa: FBT001, FBT002 - the signature of the base
    ) -> None:
        self._runs = runs
        self._holds = False
        self._held: list[dict[str, Any]] = []
        self._held_lock = threading.Lock()
        super().__init__(postgres_url, should_autocreate_tables)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Within it a step's end is stored with the next step's start, or with the run's end.

        Nothing of the user's code runs between the two, so nobody who looks misses an event for
        longer than Dagster takes from one step to the next.
        """
        self._holds = True
        try:
            yield
        finally:
            self._holds = False
            self._store_held()

    def store_event(self, event: EventLogEntry) -> None:
        type_ = event.dagster_event_type if event.is_dagster_event else None
        if type_ in _ASSET_EVENTS:
            self._store_held()
            super().store_event(event)
            return
        with self._held_lock:
            self._held.append(self._event_to_row(event))
        if not (self._holds and type_ in _FOLLOWED_AT_ONCE):
            self._store_held()
        if type_ in EVENT_TYPE_TO_PIPELINE_RUN_STATUS:
            at = datetime_from_timestamp(event.timestamp)
            self._runs.handle_run_event(event.run_id, event.get_dagster_event(), at)

    def _connect(self) -> AbstractContextManager[Connection]:
        self._store_held()
        return super()._connect()

    def _store_held(self) -> None:
        """In the order in which they came. When that fails it fails the run, as any event does."""
        with self._held_lock:
            held, self._held = self._held, []
            if held:
                with super()._connect() as connection:
                    connection.execute(_INSERT_EVENT, held)

    def has_table(self, table_name: str) -> bool:
        return stays(self.postgres_url, table_name, partial(super().has_table, table_name))


@lru_cache(maxsize=RUNS_KEPT)
def _run_in(body: str) -> DagsterRun:
    """As it is stored; to read it takes longer than to fetch it."""
    return deserialize_value(body, DagsterRun)


def events_held(instance: DagsterInstance) -> AbstractContextManager[None]:
    """Has the instance's storage hold what another event follows at once."""
    storage = instance.event_log_storage
    return storage.holding() if isinstance(storage, TerseEventLogStorage) else nullcontext()


class SettledScheduleStorage(PostgresScheduleStorage):
    """Looks once in a process whether its tables are there, and deletes old ticks from time to
    time; Dagster does the first several times in each tick, the second three times.
    """

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,  # noqa: FBT001, FBT002 - the signature of the base
    ) -> None:
        super().__init__(postgres_url, should_autocreate_tables)
        self._purged_at: dict[tuple[str, frozenset[TickStatus]], float] = {}

    def purge_ticks(
        self,
        origin_id: str,
        selector_id: str,
        before: float,
        tick_statuses: Sequence[TickStatus] | None = None,
    ) -> None:
        what, now = (selector_id, frozenset(tick_statuses or ())), time.monotonic()
        if now - self._purged_at.get(what, -PURGE_EVERY_SECONDS) >= PURGE_EVERY_SECONDS:
            super().purge_ticks(origin_id, selector_id, before, tick_statuses)
            self._purged_at[what] = now

    def _has_instigators_table(self, conn: Connection) -> bool:
        look = partial(super()._has_instigators_table, conn)
        return stays(self.postgres_url, "instigators", look)

    def has_built_index(self, migration_name: str) -> bool:
        look = partial(super().has_built_index, migration_name)
        return stays(self.postgres_url, migration_name, look)


def stays(postgres_url: str, name: str, look: Callable[[], bool]) -> bool:
    """What a database has once it has from then on; what is missing may come by a migration."""
    if (postgres_url, name) not in _THERE and look():
        _THERE.add((postgres_url, name))
    return (postgres_url, name) in _THERE


@cache
def pooled_engine(postgres_url: str, process_id: int) -> Engine:
    """One engine per process: a forked child must not share its parent's connections."""
    assert process_id == os.getpid()  # noqa: S101 - the key of the cache
    engine = create_engine(
        postgres_url,
        isolation_level="AUTOCOMMIT",
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_recycle=POOL_RECYCLE_SECONDS,
        connect_args=NOTICES_AN_END,
    )
    ping_when_rested(engine)
    return engine


def ping_when_rested(engine: Engine) -> None:
    """A server that was restarted is found out before a statement fails on it. A connection that
    was in use a moment ago is not asked: it would be asked before each of a run's statements.
    """

    @event.listens_for(engine, "checkin")
    def note(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        record.info[_USED_AT] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(
        connection: DBAPIConnection,
        record: ConnectionPoolEntry,
        _proxy: PoolProxiedConnection,
    ) -> None:
        if time.monotonic() - record.info.get(_USED_AT, time.monotonic()) < RESTED_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error
