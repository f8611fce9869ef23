"""What Dagster's storage tells of daemons, queue and ticks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.storage.tags import SCHEDULE_NAME_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from idp_dagster.health import FAILED_TICKS_WITHIN, MOST_FAILED_RUNS, engine_health
from idp_kernel.ids import new_id

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SENSOR, SCHEDULE = "workflow_requests_sensor", "secret_rotation_schedule"


@pytest.fixture(scope="module")
def instance() -> Iterator[DagsterInstance]:
    """Making its tables is what takes time."""
    with DagsterInstance.local_temp() as local:
        yield local


@pytest.fixture
def sensor(instance: DagsterInstance) -> InstigatorState:
    return declared(instance, SENSOR, InstigatorType.SENSOR)


def declared(instance: DagsterInstance, name: str, kind: InstigatorType) -> InstigatorState:
    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="idp_dagster"))
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "repository"), name)
    data = ScheduleInstigatorData("* * * * *") if kind is InstigatorType.SCHEDULE else None
    state = InstigatorState(origin, kind, InstigatorStatus.DECLARED_IN_CODE, data)
    return instance.add_instigator_state(state)


def add_tick(
    instance: DagsterInstance, sensor: InstigatorState, status: TickStatus, at: datetime
) -> None:
    tick = TickData(
        sensor.instigator_origin_id,
        SENSOR,
        InstigatorType.SENSOR,
        status,
        at.timestamp(),
        selector_id=sensor.selector_id,
        error=SerializableErrorInfo("it broke", [], None) if status is TickStatus.FAILURE else None,
    )
    instance.create_tick(tick)


def test_runs_are_counted_by_status(instance: DagsterInstance) -> None:
    for status in (DagsterRunStatus.STARTED, DagsterRunStatus.STARTED, DagsterRunStatus.SUCCESS):
        instance.run_storage.add_run(DagsterRun(job_name="job", run_id=new_id(), status=status))
    runs = engine_health(instance, NOW).open_runs
    assert runs[DagsterRunStatus.STARTED] == 2
    assert runs[DagsterRunStatus.QUEUED] == 0
    assert DagsterRunStatus.SUCCESS not in runs


def test_a_daemons_silence_is_its_age(instance: DagsterInstance) -> None:
    for daemon in ("SENSOR", "of an older version"):
        seen = (NOW - timedelta(seconds=40)).timestamp()
        instance.add_daemon_heartbeat(DaemonHeartbeat(seen, daemon, None))
    assert engine_health(instance, NOW).heartbeat_ages == {"SENSOR": 40}


def test_failed_ticks_count_for_a_while(instance: DagsterInstance, sensor: InstigatorState) -> None:
    assert engine_health(instance, NOW).failed_ticks[SENSOR] == 0
    add_tick(instance, sensor, TickStatus.FAILURE, NOW - timedelta(minutes=1))
    add_tick(instance, sensor, TickStatus.SKIPPED, NOW - timedelta(minutes=1))
    add_tick(instance, sensor, TickStatus.FAILURE, NOW - FAILED_TICKS_WITHIN * 2)
    assert engine_health(instance, NOW).failed_ticks[SENSOR] == 1


def test_runs_of_a_schedule_that_failed_count_until_one_succeeds(instance: DagsterInstance) -> None:
    declared(instance, SCHEDULE, InstigatorType.SCHEDULE)

    def after(*statuses: DagsterRunStatus, schedule: str = SCHEDULE) -> int:
        for status in statuses:
            tags = {SCHEDULE_NAME_TAG: schedule}
            run = DagsterRun(job_name="job", run_id=new_id(), status=status, tags=tags)
            instance.run_storage.add_run(run)
        return engine_health(instance, NOW).failed_runs[SCHEDULE]

    failed, succeeded = DagsterRunStatus.FAILURE, DagsterRunStatus.SUCCESS
    assert after() == 0
    assert after(failed, failed, schedule="another_schedule") == 0
    assert after(failed, failed) == 2
    assert after(DagsterRunStatus.CANCELED, DagsterRunStatus.STARTED) == 2
    assert after(succeeded) == 0
    assert after(*[failed] * (MOST_FAILED_RUNS + 3)) == MOST_FAILED_RUNS
