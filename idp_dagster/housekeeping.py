"""What of Dagster's storage grows old, and when.

A run goes with its events and tags. Kept are runs that have not ended, those the asset catalog
points to, and the newest result of each check of what the catalog shows. Ticks have retention of
their own in `dagster.yaml`; the broker deletes what it delivered (`broker.py`), and nobody stores
results of Celery's tasks.

Whether an old request can start again does not hang on Dagster's memory of run keys: a deleted run
takes its key along, but what has ended is not offered again, and who claims it is refused.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Final

import structlog
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    DynamicPartitionsTable,
)
from sqlalchemy import ColumnElement, Delete, delete, exists, func, or_, select

from idp_dagster.catalog import PARTITIONS, latest_materializations, partitions_of
from idp_dagster.ports import Retention
from idp_kernel.housekeeping import BATCH_ROWS

ENDED_STATUSES: Final = [
    DagsterRunStatus.SUCCESS,
    DagsterRunStatus.FAILURE,
    DagsterRunStatus.CANCELED,
]
RUNS_PER_LOOK: Final = 100
RUNS: Final = "runs"
CHECK_RESULTS: Final = AssetCheckExecutionsTable.name
_COUNTS_KEY: Final = "idp_housekeeping_deleted_rows"
"""Where Dagster's own storage keeps how many rows went, of each table."""
_DONE_KEY: Final = "idp_housekeeping_done_at"
"""Where it keeps when nothing was left that was too old."""
_PLANNED: Final = AssetCheckExecutionRecordStatus.PLANNED.value
_log = structlog.get_logger(__name__)


def keep_house(
    instance: DagsterInstance,
    retention: Retention,
    frequent_jobs: tuple[str, ...],
    *,
    now: datetime,
    within_seconds: float,
) -> Mapping[str, int]:
    """Deletes what is too old, for so long at most, and answers how many rows of each table went.
    A round that was cut off is gone on with by the next.
    """
    give_up_at = time.monotonic() + within_seconds
    gone: Counter[str] = Counter()
    for table, batch in _batches(instance, retention, frequent_jobs, now):
        if batch:
            gone[table] += batch
            _count(instance, table, batch)
        if time.monotonic() >= give_up_at:
            break
    else:
        instance.daemon_cursor_storage.set_cursor_values({_DONE_KEY: now.isoformat()})
    for table, rows in gone.items():
        _log.info("old_rows_deleted", table=table, rows=rows)
    return gone


def deleted_rows(instance: DagsterInstance) -> Mapping[str, int]:
    """How many rows of each table have gone since the storage was made."""
    found = instance.daemon_cursor_storage.get_cursor_values({_COUNTS_KEY})
    counts: dict[str, int] = json.loads(found.get(_COUNTS_KEY, "{}"))
    return {RUNS: 0, CHECK_RESULTS: 0, **counts}


def last_done_at(instance: DagsterInstance) -> datetime | None:
    """When nothing was left that was too old; none before that was so for the first time."""
    found = instance.daemon_cursor_storage.get_cursor_values({_DONE_KEY}).get(_DONE_KEY)
    return None if found is None else datetime.fromisoformat(found)


def _batches(
    instance: DagsterInstance,
    retention: Retention,
    frequent_jobs: tuple[str, ...],
    now: datetime,
) -> Iterator[tuple[str, int]]:
    """Each table with how many rows the batch deleted that was just done."""
    frequent_before, before = now - retention.frequent, now - retention.runs
    in_catalog = cache(lambda: _runs_in_catalog(instance))
    for job_name in frequent_jobs:
        yield from _run_batches(instance, in_catalog, frequent_before, job_name)
    yield from _run_batches(instance, in_catalog, before, None)
    yield from _until_none(CHECK_RESULTS, lambda: _delete_check_results(instance, frequent_before))


def _run_batches(
    instance: DagsterInstance,
    in_catalog: Callable[[], frozenset[str]],
    before: datetime,
    job_name: str | None,
) -> Iterator[tuple[str, int]]:
    wanted = RunsFilter(job_name=job_name, statuses=ENDED_STATUSES, updated_before=before)

    def delete_some() -> int:
        if not instance.get_run_ids(wanted, limit=1):
            return 0
        kept = in_catalog()
        found = instance.get_run_ids(wanted, limit=RUNS_PER_LOOK + len(kept))
        old = [run_id for run_id in found if run_id not in kept][:RUNS_PER_LOOK]
        for run_id in old:
            _delete_run(instance, run_id)
        return len(old)

    yield from _until_none(RUNS, delete_some)


def _until_none(table: str, delete_some: Callable[[], int]) -> Iterator[tuple[str, int]]:
    while batch := delete_some():
        yield table, batch


def _delete_run(instance: DagsterInstance, run_id: str) -> None:
    """Events first: cut off in between, the run is there to be found again."""
    instance.event_log_storage.delete_events(run_id)
    instance.delete_run(run_id)


def _runs_in_catalog(instance: DagsterInstance) -> frozenset[str]:
    """Those that brought about what the catalog shows of each partition."""
    return frozenset(
        record.run_id
        for asset in PARTITIONS
        for record in latest_materializations(
            instance, asset, partitions_of(instance, asset)
        ).values()
    )


def _delete_check_results(instance: DagsterInstance, before: datetime) -> int:
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)  # noqa: S101 - for mypy: `dagster.yaml` names one
    with storage.index_connection() as connection:
        return int(connection.execute(_old_check_results(before)).rowcount)


def _old_check_results(before: datetime) -> Delete:
    results = AssetCheckExecutionsTable.c
    # A run that died leaves what it had planned, which is no result and newer than the last one.
    is_result = results.execution_status != _PLANNED
    newest = (
        select(
            func.max(results.id).label("row"),
            func.max(results.id).filter(is_result).label("result"),
        )
        .group_by(results.asset_key, results.check_name, results.partition)
        .subquery()
    )
    is_newest = exists().where(or_(newest.c.row == results.id, newest.c.result == results.id))
    old = (
        select(results.id)
        .where(results.evaluation_event_timestamp < before.replace(tzinfo=None))
        .where(or_(~is_newest, ~_is_shown(results.partition)))
        .limit(BATCH_ROWS)
    )
    return delete(AssetCheckExecutionsTable).where(results.id.in_(old))


def _is_shown(partition: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the catalog has that partition still; a result of the whole asset has none."""
    return or_(partition.is_(None), exists().where(DynamicPartitionsTable.c.partition == partition))


def _count(instance: DagsterInstance, table: str, rows: int) -> None:
    counts = dict(deleted_rows(instance))
    counts[table] += rows
    instance.daemon_cursor_storage.set_cursor_values({_COUNTS_KEY: json.dumps(counts)})
