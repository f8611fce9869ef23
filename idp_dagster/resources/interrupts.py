"""How a thread of a run ends the step at work, and how it knows that it is to."""

from __future__ import annotations

import os
import signal
import threading

from dagster import DagsterInstance, DagsterRunStatus


def is_terminated(instance: DagsterInstance, run_id: str) -> bool:
    """Whether Dagster shows the run as canceling or ended."""
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished or run.status is DagsterRunStatus.CANCELING


def interrupt_run() -> None:
    """Interrupts the step of this process; Dagster turns the signal into an exception there.

    Sent to the main thread, so that a system call it waits in returns.
    """
    if threading.current_thread() is threading.main_thread():
        os.kill(os.getpid(), signal.SIGINT)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
