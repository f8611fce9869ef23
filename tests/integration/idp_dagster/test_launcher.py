"""What the launcher says of a run, by its lease at the control plane."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from celery import _state
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
from kombu.exceptions import OperationalError

from idp_dagster import launcher as launcher_module
from idp_dagster.clients import control_plane_client
from idp_dagster.launcher import LeaseRunLauncher
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
    instance: DagsterInstance, status: DagsterRunStatus = DagsterRunStatus.STARTED
) -> DagsterRun:
    job = APPLICATION_ENVIRONMENT_PROVISIONING.job_name
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


def test_a_run_without_task_can_be_asked_about(
    launcher: LeaseRunLauncher, instance: DagsterInstance
) -> None:
    assert "none yet" in str(launcher.get_run_worker_debug_info(started_run(instance)))


def test_the_task_is_known_before_it_is_published(
    launcher: LeaseRunLauncher, instance: DagsterInstance
) -> None:
    run = started_run(instance)
    launcher.celery.conf.broker_url = "sqla+sqlite:////nowhere/at/all.db"
    with pytest.raises(OperationalError):
        launcher.launch_run(LaunchRunContext(run, workspace=None))
    shown = instance.get_run_by_id(run.run_id)
    assert shown is not None
    assert shown.tags[DAGSTER_CELERY_TASK_ID_TAG]


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
