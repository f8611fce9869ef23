"""When due rotations are asked for, and by what."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from logging import getLogger

import pytest
from dagster import (
    DagsterInstance,
    ExecuteInProcessResult,
    RunRequest,
    RunsFilter,
    build_schedule_context,
)
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import (
    create_test_daemon_workspace_context,
    instance_for_test,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._scheduler.scheduler import launch_scheduled_runs
from dagster._utils.warnings import disable_dagster_warnings
from dagster_shared.error import SerializableErrorInfo

from idp_dagster.definitions import loaded_definitions
from idp_dagster.jobs.secret_rotation import secret_rotation_enqueue, secret_rotation_enqueue_steps
from idp_dagster.resources.io_manager import NoDataIOManager
from idp_dagster.schedules.secret_rotation import secret_rotation_schedule
from idp_dagster.settings import EngineSettings
from idp_kernel.errors import NotAllowed, Unavailable
from idp_kernel.ids import new_id
from idp_kernel.wire.engine import DueRotations
from tests.unit.idp_dagster.fakes import FakeRotations

SCHEDULED_AT = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
_ENGINE = InProcessWorkspaceLoadTarget(
    InProcessCodeLocationOrigin(
        LoadableTargetOrigin(
            executable_path=sys.executable,
            module_name="idp_dagster.definitions",
            attribute="defs",
        ),
        location_name="idp",
    )
)


def tick(at: datetime) -> RunRequest:
    context = build_schedule_context(scheduled_execution_time=at)
    (asked,) = secret_rotation_schedule.evaluate_tick(context).run_requests or ()
    return asked


def enqueue(rotations: FakeRotations, scheduled_at: str) -> ExecuteInProcessResult:
    """As the job does it, from the configuration that the schedule or a person gives it."""
    mapping = secret_rotation_enqueue.config_mapping
    assert mapping is not None
    form = mapping.resolve_from_unvalidated_config({"scheduled_at": scheduled_at})
    job = secret_rotation_enqueue_steps.to_job(name="steps_on_fakes")
    with DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(
            run_config={"ops": form["ops"]},
            instance=instance,
            raise_on_error=False,
            resources={
                "rotations": rotations,
                "run_watch": object(),
                "io_manager": NoDataIOManager(),
            },
        )


def test_one_scheduled_time_is_one_run_however_often_it_is_delivered() -> None:
    first, again = tick(SCHEDULED_AT), tick(SCHEDULED_AT)
    assert first.run_key == again.run_key
    assert tick(SCHEDULED_AT.replace(minute=10)).run_key != first.run_key


@pytest.fixture
def loadable(settings: EngineSettings) -> Iterator[None]:
    """The definitions as the code server loads them."""
    loaded_definitions.cache_clear()
    yield
    loaded_definitions.cache_clear()


@pytest.mark.usefixtures("loadable")
def test_of_the_times_missed_in_an_outage_only_the_last_is_made_up_for() -> None:
    asleep_for = timedelta(hours=2)
    with (
        disable_dagster_warnings(),  # of what only Dagster itself passes
        instance_for_test(
            overrides={
                "run_coordinator": {
                    "module": "dagster._core.run_coordinator",
                    "class": "QueuedRunCoordinator",
                }
            }
        ) as instance,
        create_test_daemon_workspace_context(_ENGINE, instance) as workspace,
    ):
        for now in (SCHEDULED_AT, SCHEDULED_AT + asleep_for, SCHEDULED_AT + asleep_for):
            errors = [*launch_scheduled_runs(workspace, getLogger(__name__), now, {})]
            assert [each for each in errors if isinstance(each, SerializableErrorInfo)] == []
        runs = instance.get_runs(RunsFilter(job_name=secret_rotation_enqueue.name))
        asked = sorted(datetime.fromisoformat(str(run.run_config["scheduled_at"])) for run in runs)
        assert asked == [SCHEDULED_AT, SCHEDULED_AT + asleep_for]


def test_the_control_plane_is_asked_once_with_the_schedules_own_time() -> None:
    rotations = FakeRotations(due=DueRotations(enqueued=(new_id(),), put_off=3))
    run = enqueue(rotations, str(tick(SCHEDULED_AT).run_config["scheduled_at"]))
    assert run.success
    assert rotations.scheduled == [SCHEDULED_AT]


def test_a_passing_outage_is_sat_out() -> None:
    rotations = FakeRotations(errors=[Unavailable("away"), Unavailable("away")])
    assert enqueue(rotations, SCHEDULED_AT.isoformat()).success
    assert rotations.scheduled == [SCHEDULED_AT]


@pytest.mark.parametrize("typed", ["soon", "2026-03-01T12:05:00"])
def test_what_is_no_time_with_an_offset_is_refused(typed: str) -> None:
    rotations = FakeRotations()
    run = enqueue(rotations, typed)
    assert not run.success
    assert "no time with an offset" in str(run.all_events)
    assert rotations.scheduled == []


def test_a_refusal_fails_the_run_at_once() -> None:
    rotations = FakeRotations(errors=[NotAllowed("No such scope.")] * 2)
    assert not enqueue(rotations, SCHEDULED_AT.isoformat()).success
    assert len(rotations.errors) == 1
