"""`python -m idp_dagster.worker`: the warm Celery workers that execute runs.

A child has everything loaded and connected before its first task; start-up is what a run would
otherwise mostly consist of.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from billiard.exceptions import WorkerLostError
from celery import Celery, Task
from celery.signals import (
    setup_logging,
    task_failure,
    task_postrun,
    task_prerun,
    worker_process_init,
    worker_process_shutdown,
)
from dagster import DagsterInstance
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import unpack_value

from idp_dagster.broker import use_quick_transport
from idp_dagster.clients import control_plane_client, workers_client
from idp_dagster.definitions import loaded_definitions
from idp_dagster.launcher import LOG_FIELDS_HEADER, LeaseRunLauncher, process_instance
from idp_dagster.pool import RunPool
from idp_dagster.process import send_spans, start_process, trace_process
from idp_dagster.settings import EngineSettings
from idp_kernel.settings import read_settings

QUEUE = "dagster"
RUNS_PER_CHILD = 500
"""Then a fresh child takes its place, so that no leak grows for ever."""
CHILD_START_TIMEOUT_SECONDS = 60.0
LOST_CHILD_WAIT_SECONDS = 0.5
REDIS_SCHEMES = ("redis://", "rediss://")
_LOOK_FOR_PARENT_SECONDS = 0.5

_log = structlog.get_logger(__name__)


def load_definitions() -> None:
    """Imports the definitions and builds each job, once for all children."""
    for job in loaded_definitions().get_repository_def().get_all_jobs():
        _log.info("job_loaded", job=job.name)


def main(load: Callable[[], None] = load_definitions) -> None:
    """Works until SIGTERM, then finishes the runs at hand; `load` runs once, for all children."""
    settings = read_settings(EngineSettings)
    start_process(settings, traces=False)
    use_quick_transport()
    load()
    keep_what_is_loaded()
    connect_signals(settings)
    worker = worker_app(settings).Worker(
        hostname=f"workflow-engine@{os.getpid()}",
        pool_cls=RunPool,
        concurrency=settings.worker_slots,
        queues=[QUEUE],
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    sys.exit(worker.exitcode)


def keep_what_is_loaded() -> None:
    """Takes it from Python's collector, which would go through it again and again in each child and
    write to memory that the children share.
    """
    gc.collect()
    gc.freeze()


def worker_app(settings: EngineSettings) -> Celery:
    """The launcher's application, which has the task that executes a run."""
    launcher = LeaseRunLauncher(
        control_plane_url=settings.control_plane_url,
        service_key_file=str(settings.service_key_file),
        broker=settings.broker_url,
        default_queue=QUEUE,
    )
    app = launcher.celery
    app.conf.update(
        worker_max_tasks_per_child=RUNS_PER_CHILD,
        worker_proc_alive_timeout=CHILD_START_TIMEOUT_SECONDS,
        worker_enable_remote_control=False,
        # How long a killed child's result may still come; nobody reads results.
        worker_lost_wait=LOST_CHILD_WAIT_SECONDS,
        broker_connection_retry_on_startup=True,
        # Of several workers none takes what another has a free slot for. Celery can do so at Redis
        # alone.
        worker_disable_prefetch=settings.broker_url.startswith(REDIS_SCHEMES),
    )
    return app


def connect_signals(settings: EngineSettings) -> None:
    """Says what happens in each child, and leaves logging as it is."""
    # Taken before any fork: a child whose parent died at once would watch the reaper for ever.
    parent_pid = os.getpid()

    def warm_up(**_: Any) -> None:
        trace_process(settings)
        end_with_parent(parent_pid)
        process_instance(os.getpid()).get_runs_count()
        control_plane_client(settings.control_plane_url, settings.service_key_file)
        workers_client(settings.workers_url)
        _log.info("child_ready")

    def keep_logging(**_: Any) -> None:
        """Celery sets up no logging of its own when somebody listens."""

    setup_logging.connect(keep_logging, weak=False)
    worker_process_init.connect(warm_up, weak=False)
    worker_process_shutdown.connect(lambda **_: send_spans(), weak=False)
    task_prerun.connect(name_run, weak=False)
    task_postrun.connect(heed_sigterm, weak=False)
    task_failure.connect(report_killed_run, weak=False)


def report_killed_run(exception: BaseException, kwargs: dict[str, Any], **_: Any) -> None:
    """Tells Dagster, from the parent, that a run's process was killed.

    Its sensor tells the control plane, which offers the next attempt at once; when this fails,
    the end of the lease has the same effect a little later.
    """
    if isinstance(exception, WorkerLostError):
        told = unpack_value(kwargs["execute_job_args_packed"], as_type=ExecuteRunArgs)
        with DagsterInstance.get() as instance:
            run = instance.get_run_by_id(told.run_id)
            if run is not None and not run.is_finished:
                instance.report_run_failed(run, "The process that executed the run was killed.")


def end_with_parent(parent_pid: int) -> None:
    """Ends this process when its parent is gone: killed, it cannot end its children itself."""

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(_LOOK_FOR_PARENT_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def name_run(task: Task, **_: Any) -> None:
    """Has every log line of the run say whose work it is, also before its request is claimed."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**(task.request.get(LOG_FIELDS_HEADER) or {}))


def heed_sigterm(**_: Any) -> None:
    """Dagster leaves SIGTERM as SIGINT is, which Celery's children ignore."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


if __name__ == "__main__":
    main()
