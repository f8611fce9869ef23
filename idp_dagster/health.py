"""How Dagster itself fares: daemons, queue, what failed by the clock, what was deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

import structlog
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.tags import SCHEDULE_NAME_TAG
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from idp_dagster.housekeeping import deleted_rows, last_done_at
from idp_kernel.telemetry import metrics

OPEN_STATUSES = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)
FAILED_TICKS_WITHIN = timedelta(minutes=10)
MOST_FAILED_TICKS = 100
"""That are counted of one sensor; more say nothing more."""
MOST_FAILED_RUNS = 10
"""That are counted of one schedule."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class EngineHealth:
    """What one look at Dagster's storage found."""

    heartbeat_ages: Mapping[str, float]
    """In seconds, of each daemon the instance needs that was ever there."""
    open_runs: Mapping[DagsterRunStatus, int]
    failed_ticks: Mapping[str, int]
    """Of each sensor and schedule."""
    failed_runs: Mapping[str, int]
    """Of each schedule, since one of its runs last succeeded."""
    deleted_rows: Mapping[str, int]
    """What housekeeping has deleted, of each table."""
    housekeeping_age: float | None
    """In seconds, since nothing was left to delete; none before that was so for the first time."""


ReadHealth = Callable[[], EngineHealth]


def engine_health(instance: DagsterInstance, now: datetime) -> EngineHealth:
    """How the instance fares now; errors are those of its storage."""
    heartbeats = instance.get_daemon_heartbeats()
    done_at = last_done_at(instance)
    return EngineHealth(
        heartbeat_ages={
            daemon: max(0.0, now.timestamp() - heartbeats[daemon].timestamp)
            for daemon in instance.get_required_daemon_types()
            if daemon in heartbeats
        },
        open_runs={
            status: instance.get_runs_count(RunsFilter(statuses=[status]))
            for status in OPEN_STATUSES
        },
        failed_ticks={
            state.name: _failed_ticks(instance, state.origin.get_id(), state.selector_id, now)
            for state in instance.all_instigator_state()
        },
        failed_runs={
            state.name: _failed_in_a_row(instance, state.name)
            for state in instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
        },
        deleted_rows=deleted_rows(instance),
        housekeeping_age=None if done_at is None else max(0.0, (now - done_at).total_seconds()),
    )


def _failed_ticks(
    instance: DagsterInstance, origin_id: str, selector_id: str, now: datetime
) -> int:
    ticks = instance.get_ticks(
        origin_id,
        selector_id,
        after=(now - FAILED_TICKS_WITHIN).timestamp(),
        limit=MOST_FAILED_TICKS,
        statuses=[TickStatus.FAILURE],
    )
    return len(ticks)


def _failed_in_a_row(instance: DagsterInstance, schedule: str) -> int:
    """Runs that somebody cancelled say nothing."""
    ended = instance.get_runs(
        RunsFilter(
            tags={SCHEDULE_NAME_TAG: schedule},
            statuses=[DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE],
        ),
        limit=MOST_FAILED_RUNS,
    )
    return sum(1 for _ in takewhile(lambda run: not run.is_success, ended))


class HealthCollector(Collector):
    """Renders Dagster's health; while its storage is away, that alone."""

    def __init__(self, read: ReadHealth) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        """Nothing: to register this must not ask the storage."""
        return []

    def collect(self) -> Iterator[Metric]:
        health = self._health()
        up = metrics.DAGSTER_UP.gauges()
        up.add_metric([], 0 if health is None else 1)
        yield up
        if health is not None:
            yield from _families(health)

    def _health(self) -> EngineHealth | None:
        try:
            return self._read()
        except Exception as error:  # noqa: BLE001 - drivers and Dagster raise what they like; the gauge and the log tell
            _log.warning("dagster_not_read", detail=f"{type(error).__name__}: {error}")
            return None


def _families(health: EngineHealth) -> Iterator[Metric]:
    heartbeats = metrics.DAGSTER_HEARTBEAT_AGE.gauges()
    for daemon, seconds in health.heartbeat_ages.items():
        heartbeats.add_metric([daemon], seconds)
    yield heartbeats
    runs = metrics.DAGSTER_RUNS_OPEN.gauges()
    for status, count in health.open_runs.items():
        runs.add_metric([status.value], count)
    yield runs
    ticks = metrics.DAGSTER_FAILED_TICKS.gauges()
    for name, count in health.failed_ticks.items():
        ticks.add_metric([name], count)
    yield ticks
    scheduled = metrics.DAGSTER_FAILED_SCHEDULED_RUNS.gauges()
    for name, count in health.failed_runs.items():
        scheduled.add_metric([name], count)
    yield scheduled
    deleted = metrics.HOUSEKEEPING.counters()
    for table, rows in health.deleted_rows.items():
        deleted.add_metric([table], rows)
    yield deleted
    ages = metrics.HOUSEKEEPING_AGE.gauges()
    if health.housekeeping_age is not None:
        for table in health.deleted_rows:
            ages.add_metric([table], health.housekeeping_age)
    yield ages
