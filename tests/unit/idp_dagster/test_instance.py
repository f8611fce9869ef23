"""What `deploy/dagster.yaml` makes of Dagster, and what our entry points change."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from dagster import DagsterInstance
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster._core.scheduler import DagsterDaemonScheduler
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.workspace.context import IWorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon import sensor as sensor_loop
from dagster._daemon.daemon import SensorDaemon
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import (
    QueuedRunCoordinatorDaemon,
)
from pydantic import ValidationError

from idp_dagster import daemon as daemon_module
from idp_dagster.bootstrap import prepare_home
from idp_dagster.daemon import (
    QUEUE_LOOK_SECONDS,
    SENSOR_ROUND_SECONDS,
    PromptSensors,
    daemons,
    quicken_sensor_loop,
)
from idp_dagster.launcher import LeaseRunLauncher
from idp_dagster.news import News
from idp_dagster.process import wait_for_code_server
from idp_dagster.settings import EngineSettings
from idp_dagster.webserver import must_be_read_only
from idp_dagster.worker import worker_app
from idp_kernel.errors import Unavailable
from idp_kernel.workflows import WORKFLOWS

LONG_SECONDS = 15.0
"""Far longer than what is waited for takes."""


@pytest.fixture
def instance(settings: EngineSettings, tmp_path: Path) -> Iterator[DagsterInstance]:
    """The instance as deployed; it connects to nothing by itself."""
    settings.export()
    prepare_home(tmp_path)
    with DagsterInstance.get() as deployed:
        yield deployed


def test_as_many_runs_are_let_out_as_there_are_slots(
    instance: DagsterInstance, settings: EngineSettings
) -> None:
    assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
    queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None
    assert queue.max_concurrent_runs == settings.worker_slots == 3
    assert not queue.should_block_op_concurrency_limited_runs


def test_attempts_are_the_control_planes(instance: DagsterInstance) -> None:
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_resume_run_attempts == 0
    assert not instance.run_retries_enabled
    assert instance.run_monitoring_max_runtime_seconds > longest_deadline_seconds()
    assert isinstance(instance.run_launcher, LeaseRunLauncher)
    assert not instance.run_launcher.supports_resume_run


def longest_deadline_seconds() -> int:
    return max(workflow.deadline_seconds for workflow in WORKFLOWS.values())


def test_nothing_is_sent_home_and_no_output_is_kept(instance: DagsterInstance) -> None:
    assert not instance.telemetry_enabled
    assert isinstance(instance.compute_log_manager, NoOpComputeLogManager)


def test_sensors_do_not_wait_for_each_other(instance: DagsterInstance) -> None:
    sensors = instance.get_sensor_settings()
    assert sensors["use_threads"]
    assert sensors["num_workers"] >= 5


def test_a_scheduled_time_is_tried_again(instance: DagsterInstance) -> None:
    assert isinstance(instance.scheduler, DagsterDaemonScheduler)
    assert instance.scheduler.max_tick_retries > 0


def test_home_holds_no_value_of_the_environment(
    instance: DagsterInstance, settings: EngineSettings, tmp_path: Path
) -> None:
    written = (tmp_path / "dagster.yaml").read_text()
    assert settings.dagster_database_url not in written
    assert settings.broker_url not in written


def test_the_workspace_is_the_code_server(settings: EngineSettings) -> None:
    settings.export()
    (origin,) = WorkspaceFileTarget(paths=[str(settings.workspace_file)]).create_origins()
    assert (origin.location_name, cast("Any", origin).port) == ("idp", 1)


def test_a_home_without_absolute_path_is_refused(
    settings: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "home")
    with pytest.raises(ValidationError, match="DAGSTER_HOME"):
        type(settings)()


def test_the_sensor_loop_rests_as_long_as_we_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensor_loop, "MIN_INTERVAL_LOOP_TIME", 5)
    monkeypatch.setattr(sensor_loop, "get_current_timestamp", lambda: 0.0)
    quicken_sensor_loop()
    rests: list[float] = []
    event = SimpleNamespace(wait=rests.append)
    with DagsterInstance.ephemeral() as ephemeral:
        empty = SimpleNamespace(
            instance=ephemeral,
            create_request_context=lambda: SimpleNamespace(get_code_location_entries=dict),
        )
        loop = sensor_loop.execute_sensor_iteration_loop(
            cast("IWorkspaceProcessContext[Any]", empty),
            logging.getLogger("test"),
            cast("threading.Event", event),
        )
        while not rests:
            next(loop)
    assert rests == [SENSOR_ROUND_SECONDS], "less the time that the round took: none here"


def test_the_run_queue_looks_when_it_is_told(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look of Dagster's comes after a wait for news, and no rest after it."""
    done: list[object] = []

    def look(*_: object) -> Iterator[None]:
        done.append("looked")
        yield

    monkeypatch.setattr(QueuedRunCoordinatorDaemon, "run_iteration", look)
    news = SimpleNamespace(wait=done.append)
    made = daemons(instance, cast("News", news))
    (queue,) = [each for each in made if isinstance(each, QueuedRunCoordinatorDaemon)]
    resting = SimpleNamespace(wait=lambda _: done.append("rested"))
    context = cast("IWorkspaceProcessContext[Any]", SimpleNamespace(instance=instance))
    loop = queue.core_loop(context, cast("threading.Event", resting))
    while done.count("looked") < 2:
        next(loop)
    assert done == [QUEUE_LOOK_SECONDS, "looked"] * 2
    assert {type(each).__name__ for each in made} >= {
        "PromptSensors",
        "SchedulerDaemon",
        "MonitoringDaemon",
    }


def test_a_sensor_that_has_answered_ends_the_rest_of_the_loop(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again as soon as its time has come, and the loop looks seldom otherwise."""
    rounds: list[float] = []

    def look(*_: object, threadpool_executor: Any, **__: object) -> Iterator[None]:
        rounds.append(time.monotonic())
        threadpool_executor.submit(time.sleep, 0.05)
        yield

    monkeypatch.setattr(sensor_loop, "execute_sensor_iteration", look)
    monkeypatch.setattr(sensor_loop, "MIN_INTERVAL_LOOP_TIME", LONG_SECONDS)
    made = daemons(instance, cast("News", None))
    (sensors,) = [each for each in made if isinstance(each, SensorDaemon)]
    context = cast("IWorkspaceProcessContext[Any]", SimpleNamespace(instance=instance))
    ending = threading.Event()
    with sensors:
        loop = sensors.core_loop(context, ending)
        while len(rounds) < 3:
            next(loop)
        ending.set()
        while len(rounds) < 5:
            next(loop)
    assert rounds[-1] - rounds[0] < LONG_SECONDS


@pytest.mark.parametrize(("raised", "status"), [("", 0), ("raise ValueError('broken')", 1)])
def test_a_process_ends_promptly_whatever_its_threads_wait_for(raised: str, status: int) -> None:
    text = f"""
import threading
from idp_dagster.process import prompt_end
with prompt_end():
    threading.Thread(target=threading.Event().wait).start()
    {raised}
"""
    ended = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == status
    assert ("broken" in ended.stdout + ended.stderr) is bool(raised)


def test_the_end_of_the_daemon_waits_for_no_sensor(instance: DagsterInstance) -> None:
    """Most of them wait for work just then, for up to twenty seconds."""
    made = daemons(instance, cast("News", None))
    (sensors,) = [each for each in made if isinstance(each, PromptSensors)]
    begun, comes, pool = threading.Event(), threading.Event(), sensors._threadpool_executor
    assert pool is not None

    def tick() -> bool:
        begun.set()
        return comes.wait(60)

    try:
        with sensors:
            ticking = pool.submit(tick)  # type: ignore[no-untyped-call]
            assert begun.wait(LONG_SECONDS)
        assert not ticking.done()
    finally:
        comes.set()


def test_what_the_sensor_loop_says_over_and_over_is_logged_once(
    instance: DagsterInstance, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = daemons(instance, cast("News", None))
    (sensors,) = [each for each in made if isinstance(each, PromptSensors)]
    monkeypatch.setattr(sensors._logger, "propagate", True)
    said = ("Checking for new runs for sensor: a", "Sensor a skipped: None.", "Sensor a failed.")
    with caplog.at_level(logging.INFO):
        for message in said * 3:
            sensors._logger.info(message)
    assert [each.getMessage() for each in caplog.records] == [*said, said[2], said[2]]


QUIET_SECONDS = 5.0


@pytest.mark.parametrize("answers", [True, False])
def test_the_loop_rests_long_only_while_no_sensor_answers(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch, *, answers: bool
) -> None:
    """One that answered before its time had come is asked again within a round."""
    rounds: list[float] = []

    def look(*_: object, threadpool_executor: Any, **__: object) -> Iterator[None]:
        rounds.append(time.monotonic())
        if answers and len(rounds) == 2:
            threadpool_executor.submit(time.sleep, 0.05)
        yield

    monkeypatch.setattr(sensor_loop, "execute_sensor_iteration", look)
    monkeypatch.setattr(sensor_loop, "MIN_INTERVAL_LOOP_TIME", 0.2)
    monkeypatch.setattr(daemon_module, "SENSOR_QUIET_SECONDS", QUIET_SECONDS)
    made = daemons(instance, cast("News", None))
    (sensors,) = [each for each in made if isinstance(each, SensorDaemon)]
    context = cast("IWorkspaceProcessContext[Any]", SimpleNamespace(instance=instance))
    with sensors:
        loop = sensors.core_loop(context, threading.Event())
        while len(rounds) < 4:
            next(loop)
    second, third, fourth = (later - earlier for earlier, later in pairwise(rounds))
    assert second < QUIET_SECONDS, "at the beginning sensors are looked at soon"
    if answers:
        assert third < QUIET_SECONDS, "it has answered"
        assert fourth < QUIET_SECONDS, "its time may have come"
    else:
        assert third >= QUIET_SECONDS


@pytest.mark.parametrize(
    ("host", "read_only"),
    [
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),  # noqa: S104 - what must be refused
        ("::", True),
        ("10.0.0.7", True),
        ("dagster.example.com", True),
    ],
)
def test_only_on_loopback_the_ui_may_act(host: str, *, read_only: bool) -> None:
    assert must_be_read_only(host) is read_only


def test_a_code_server_that_never_comes_is_said(settings: EngineSettings) -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 "):
        wait_for_code_server(settings, seconds=0.0)


def test_workers_keep_no_results_and_take_one_run_per_slot(settings: EngineSettings) -> None:
    app = worker_app(settings)
    assert app.conf.task_ignore_result
    assert app.conf.worker_prefetch_multiplier == 1
    assert not app.conf.worker_disable_prefetch
    assert "execute_job" in app.tasks


def test_workers_at_redis_take_nothing_that_they_have_no_slot_for(settings: EngineSettings) -> None:
    at_redis = settings.model_copy(update={"broker_url": "redis://127.0.0.1:6379/0"})
    assert worker_app(at_redis).conf.worker_disable_prefetch
