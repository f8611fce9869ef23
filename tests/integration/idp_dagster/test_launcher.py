"""What the launcher says of a run, by its lease at the control plane."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from logging import getLogger
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from celery import _state
from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunsFilter,
)
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.workspace.context import BaseWorkspaceRequestContext
from dagster._daemon.monitoring.run_monitoring import monitor_started_run
from kombu.exceptions import OperationalError

from idp_dagster import launcher as launcher_module
from idp_dagster.clients import control_plane_client
from idp_dagster.launcher import LeaseRunLauncher
from idp_dagster.tags import LAST_SEEN
from idp_kernel.errors import Unavailable
from idp_kernel.http.client import ServiceAuthorization
from idp_kernel.ids import new_id
from idp_kernel.services import ServiceName
from idp_kernel.tokens import SigningKey
from idp_kernel.workflows import APPLICATION_ENVIRONMENT_PROVISIONING, RequestState
from tests.fixtures.stack import free_port
from tests.integration.idp_dagster.stand_in import StandIn, StoodInRequest, serving


class MovedClock:
    """The machine's clock, moved on."""

    ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with serving(StandIn(), free_port()) as running:
        yield running


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    with DagsterInstance.local_temp(str(tmp_path)) as kept:
        yield kept


@pytest.fixture
def launcher(
    stand_in: StandIn, clock: MovedClock, instance: DagsterInstance, tmp_path: Path
) -> Iterator[LeaseRunLauncher]:
    key_file = tmp_path / "workflow-engine.key.json"
    SigningKey.generate(ServiceName.WORKFLOW_ENGINE).write(key_file)
    made = LeaseRunLauncher(
        control_plane_url=stand_in.url,
        service_key_file=str(key_file),
        broker="memory://",
        default_queue="dagster",
        clock=clock,
    )
    made.register_instance(instance)
    yield made
    # It is the process's client, which nothing else would close.
    authorization = made._api._authorization
    assert isinstance(authorization, ServiceAuthorization)
    for client in (made._api, authorization._client):
        client.close()
    control_plane_client.cache_clear()


def started_run(
    instance: DagsterInstance,
    status: DagsterRunStatus = DagsterRunStatus.STARTED,
    job: str = APPLICATION_ENVIRONMENT_PROVISIONING.phase(1).job_name,
) -> DagsterRun:
    pointer = ModuleCodePointer("idp_dagster.definitions", "defs")
    origin = JobPythonOrigin(job, RepositoryPythonOrigin(sys.executable, pointer))
    run = DagsterRun(job_name=job, run_id=new_id(), status=status, job_code_origin=origin)
    return instance.run_storage.add_run(run)


def claimed(stand_in: StandIn, run: DagsterRun) -> StoodInRequest:
    request = stand_in.add_request()
    stand_in.claim(request, run.run_id, 1)
    return request


def test_a_run_is_alive_while_its_lease_is(
    launcher: LeaseRunLauncher, stand_in: StandIn, instance: DagsterInstance, clock: MovedClock
) -> None:
    run = started_run(instance)
    claimed(stand_in, run)
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    clock.ahead = timedelta(minutes=1)
    health = launcher.check_run_worker_health(run)
    assert health.status is WorkerStatus.FAILED
    assert "lease ended" in str(health.msg)


def test_a_run_without_claim_has_some_time(
    launcher: LeaseRunLauncher,
    stand_in: StandIn,
    instance: DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    not_yet, given_back = started_run(instance), started_run(instance)
    claimed(stand_in, given_back).state = RequestState.SUCCEEDED
    for run in (not_yet, given_back):
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    monkeypatch.setattr(launcher_module, "UNHELD_GRACE_SECONDS", 0.0)
    for run in (not_yet, given_back):
        assert launcher.check_run_worker_health(run).status is WorkerStatus.FAILED


JOBS_WITHOUT_REQUEST = ["secret_rotation_enqueue", "application_environment_checks", "__ASSET_JOB"]


def begun_run(instance: DagsterInstance, job: str) -> DagsterRun:
    """A run that its worker says it has started."""
    run = started_run(instance, DagsterRunStatus.STARTING, job)
    instance.report_dagster_event(
        DagsterEvent(DagsterEventType.RUN_START.value, job_name=job), run_id=run.run_id
    )
    return run


@pytest.mark.parametrize("job", JOBS_WITHOUT_REQUEST)
def test_a_run_that_holds_no_request_is_alive_while_it_says_so(
    job: str, launcher: LeaseRunLauncher, instance: DagsterInstance, clock: MovedClock
) -> None:
    run = begun_run(instance, job)
    for minutes in (3, 6, 9):
        clock.ahead = timedelta(minutes=minutes)
        instance.add_run_tags(run.run_id, {LAST_SEEN: clock.now().isoformat()})
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    clock.ahead += timedelta(seconds=launcher_module.SILENT_SECONDS)
    health = launcher.check_run_worker_health(run)
    assert health.status is WorkerStatus.FAILED
    assert "sign of life" in str(health.msg)


@pytest.mark.parametrize("job", JOBS_WITHOUT_REQUEST)
def test_the_first_sign_of_life_may_take_a_while(
    job: str, launcher: LeaseRunLauncher, instance: DagsterInstance, clock: MovedClock
) -> None:
    run = begun_run(instance, job)
    inherited = datetime.now(UTC) - timedelta(hours=1)
    instance.add_run_tags(run.run_id, {LAST_SEEN: inherited.isoformat()})
    clock.ahead = timedelta(seconds=launcher_module.SILENT_SECONDS)
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    clock.ahead = timedelta(seconds=launcher_module.FIRST_SIGN_SECONDS)
    assert launcher.check_run_worker_health(run).status is WorkerStatus.FAILED


def test_the_engine_ends_a_run_whose_worker_is_silent_and_frees_its_slot(
    launcher: LeaseRunLauncher, instance: DagsterInstance, clock: MovedClock
) -> None:
    run = begun_run(instance, "__ASSET_JOB")
    clock.ahead = timedelta(hours=1)
    (record,) = instance.get_run_records(RunsFilter(run_ids=[run.run_id]))
    instance._run_launcher = launcher
    monitor_started_run(
        instance, create_autospec(BaseWorkspaceRequestContext), record, getLogger(__name__)
    )
    shown = instance.get_run_by_id(run.run_id)
    assert shown is not None
    assert shown.status is DagsterRunStatus.FAILURE


def test_a_control_plane_that_is_away_condemns_nobody(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    key_file = tmp_path / "workflow-engine.key.json"
    SigningKey.generate(ServiceName.WORKFLOW_ENGINE).write(key_file)
    launcher = LeaseRunLauncher(
        control_plane_url=f"http://127.0.0.1:{free_port()}",
        service_key_file=str(key_file),
        broker="memory://",
        default_queue="dagster",
    )
    with pytest.raises(Unavailable):
        launcher.check_run_worker_health(started_run(instance))


def test_terminate_says_canceling_and_leaves_the_rest_to_the_run(
    launcher: LeaseRunLauncher, instance: DagsterInstance
) -> None:
    run = started_run(instance)
    assert launcher.terminate(run.run_id)
    shown = instance.get_run_by_id(run.run_id)
    assert shown is not None
    assert shown.status is DagsterRunStatus.CANCELING
    assert not launcher.terminate(started_run(instance, DagsterRunStatus.SUCCESS).run_id)
    assert not launcher.terminate("unknown")


def test_a_broker_that_takes_nothing_fails_the_launch(
    launcher: LeaseRunLauncher, instance: DagsterInstance
) -> None:
    run = started_run(instance)
    launcher.celery.conf.broker_url = "sqla+sqlite:////nowhere/at/all.db"
    with pytest.raises(OperationalError):
        launcher.launch_run(LaunchRunContext(run, workspace=None))
    assert not instance.all_logs(run.run_id)


def test_a_launch_is_one_task_with_the_run_s_id_and_one_event_and_changes_no_run(
    launcher: LeaseRunLauncher, instance: DagsterInstance
) -> None:
    run = started_run(instance)
    before = instance.get_run_by_id(run.run_id)
    launcher.launch_run(LaunchRunContext(run, workspace=None))
    with launcher.celery.connection() as connection, connection.SimpleQueue("dagster") as queue:
        message = queue.get(block=False)
    assert message.headers["id"] == run.run_id
    assert run.run_id in str(launcher.get_run_worker_debug_info(run))
    events = [each.message for each in instance.all_logs(run.run_id)]
    assert events == ["[LeaseRunLauncher] Handed to the workers."]
    assert instance.get_run_by_id(run.run_id) == before


def test_a_launch_leaves_nothing_in_the_daemon(
    launcher: LeaseRunLauncher, instance: DagsterInstance
) -> None:
    def launch() -> None:
        launcher.launch_run(LaunchRunContext(started_run(instance), workspace=None))

    launch()
    known = len(_state._on_app_finalizers)
    launch()
    assert len(_state._on_app_finalizers) == known, "no task is registered for each run"


def test_a_run_that_is_never_asked_about_again_is_forgotten(
    launcher: LeaseRunLauncher, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher.check_run_worker_health(started_run(instance))
    monkeypatch.setattr(launcher_module, "FORGET_UNHELD_SECONDS", 0.0)
    later = started_run(instance)
    launcher.check_run_worker_health(later)
    assert list(launcher._unheld_since) == [later.run_id]
