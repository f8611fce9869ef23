"""`python -m idp_dagster.daemon`: Dagster's sensors, run queue and run monitoring.

Dagster's own entry point, but for an interval that it does not let one set and a run queue that is
told when to look.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any, cast

from dagster import DagsterInstance
from dagster._core.workspace.context import IWorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon import sensor as sensor_loop
from dagster._daemon.controller import (
    DagsterDaemonController,
    create_daemon_of_type,
    daemon_controller_from_instance,
)
from dagster._daemon.daemon import DaemonIterator, DagsterDaemon, SensorDaemon
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import (
    QueuedRunCoordinatorDaemon,
)
from dagster._daemon.sensor import execute_sensor_iteration_loop
from dagster._utils.interrupts import capture_interrupts, setup_interrupt_handlers

from idp_dagster.broker import use_quick_transport
from idp_dagster.news import News
from idp_dagster.process import (
    prompt_end,
    start_process,
    take_over_dagster_logs,
    wait_for_code_server,
)
from idp_dagster.settings import EngineSettings
from idp_dagster.storage import RUN_QUEUE_CHANNEL
from idp_kernel.errors import InvariantBroken
from idp_kernel.settings import read_settings

SENSOR_ROUND_SECONDS = 1.0
"""How long the sensor loop rests after a round that a sensor's answer brought about: who answered
early may be asked again then. Dagster's 5 s would be the largest part of the time from a command to
its first step."""
SENSOR_QUIET_SECONDS = 5.0
"""How long it rests while all sensors wait for something, unless one of them answers."""
QUEUE_LOOK_SECONDS = 1.0
"""How often the run queue looks for what nobody told it."""


def main() -> None:
    """Runs until SIGTERM or SIGINT."""
    settings = read_settings(EngineSettings)
    start_process(settings)
    quicken_sensor_loop()
    use_quick_transport()
    wait_for_code_server(settings)
    setup_interrupt_handlers()
    with capture_interrupts(), DagsterInstance.get() as instance, prompt_end():
        run_daemons(instance, settings)


def quicken_sensor_loop() -> None:
    """Shortens the rest between rounds of sensors, for this process."""
    sensor_loop.MIN_INTERVAL_LOOP_TIME = SENSOR_ROUND_SECONDS  # type: ignore[assignment]


def run_daemons(instance: DagsterInstance, settings: EngineSettings) -> None:
    """Runs the daemons that the instance needs until an interrupt."""
    with daemon_controller_from_instance(
        instance,
        workspace_load_target=WorkspaceFileTarget(paths=[str(settings.workspace_file)]),
        gen_daemons=partial(daemons, news=News(settings.dagster_database_url, RUN_QUEUE_CHANNEL)),
        log_format="json",
    ) as controller:
        take_over_dagster_logs()
        _watch(controller)


class SayOnce(logging.Filter):
    """Lets each of the sensor loop's standing messages through once: that a sensor is looked at,
    and why it had nothing to do. They come several times a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if not (message.startswith("Checking for new runs") or " skipped: " in message):
            return True
        is_new = message not in self._said
        self._said.add(message)
        return is_new


class PromptSensors(SensorDaemon):
    """Asks a sensor again as soon as it has answered, if its time has come; most sensors wait for
    what they ask for.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self._logger.addFilter(SayOnce())

    def core_loop(
        self,
        workspace_process_context: IWorkspaceProcessContext[Any],
        shutdown_event: Event,
    ) -> DaemonIterator:
        answered, pool = Event(), self._threadpool_executor
        if pool is None:
            raise InvariantBroken("Sensors that wait for what they ask for need threads.")
        yield from execute_sensor_iteration_loop(
            workspace_process_context,
            self._logger,
            cast("Event", _Rest(shutdown_event, answered)),
            threadpool_executor=cast("ThreadPoolExecutor", _Announcing(pool, answered)),
            submit_threadpool_executor=self._submit_threadpool_executor,
        )

    def __exit__(self, *raised: object) -> None:
        """Waits for no tick, as Dagster's own would: they wait for work themselves, for long."""
        for pool in (self._threadpool_executor, self._submit_threadpool_executor):
            if pool is not None:
                pool.shutdown(wait=False, cancel_futures=True)


class _Rest:
    """Of the sensor loop: ends when a sensor has answered. That one's time comes within the next
    rest, which is as short as the loop wants it; others are longer. There is none when the daemon
    ends.
    """

    def __init__(self, shutdown: Event, answered: Event) -> None:
        self._shutdown = shutdown
        self._answered = answered
        self._is_short = True

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + (seconds if self._is_short else SENSOR_QUIET_SECONDS)
        self._is_short = False
        while not self._shutdown.is_set() and (left := until - time.monotonic()) > 0:
            if self._answered.wait(min(left, SENSOR_ROUND_SECONDS)):
                self._answered.clear()
                self._is_short = True
                return


class _Announcing:
    """The pool of the sensors' ticks; says when one of them has ended."""

    def __init__(self, pool: ThreadPoolExecutor, answered: Event) -> None:
        self._pool = pool
        self._answered = answered

    def submit(self, *call: Any) -> Future[Any]:
        ticking = self._pool.submit(*call)
        ticking.add_done_callback(lambda _: self._answered.set())
        return ticking


class PromptRunQueue(QueuedRunCoordinatorDaemon):
    """Starts a run as soon as it waits and there is room, and rests otherwise."""

    def __init__(self, news: News) -> None:
        super().__init__(interval_seconds=0)
        self._news = news

    def run_iteration(
        self,
        workspace_process_context: IWorkspaceProcessContext[Any],
        fixed_iteration_time: float | None = None,
    ) -> DaemonIterator:
        self._news.wait(QUEUE_LOOK_SECONDS)
        yield from super().run_iteration(workspace_process_context, fixed_iteration_time)


def daemons(instance: DagsterInstance, news: News) -> Sequence[DagsterDaemon[Any]]:
    """Those of the instance, with a run queue that hears of what there is to start and sensors
    that are asked as soon as they may.
    """
    prompt: dict[str, Callable[[], DagsterDaemon[Any]]] = {
        QueuedRunCoordinatorDaemon.daemon_type(): lambda: PromptRunQueue(news),
        SensorDaemon.daemon_type(): lambda: PromptSensors(instance.get_sensor_settings()),
    }
    return [
        prompt[kind]() if kind in prompt else create_daemon_of_type(kind, instance)
        for kind in instance.get_required_daemon_types()
    ]


def _watch(controller: DagsterDaemonController) -> None:
    try:
        controller.check_daemon_loop()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
