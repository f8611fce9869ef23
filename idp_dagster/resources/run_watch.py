"""The resource `run_watch`: lets a run that holds no request be terminated from Dagster's UI, and
lets the launcher know that it is alive.

A run that holds a request has its lease for both.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

import structlog
from dagster import ConfigurableResource, DagsterInstance, InitResourceContext

from idp_dagster.ports import RunWatch
from idp_dagster.resources.interrupts import interrupt_run, is_terminated
from idp_dagster.tags import LAST_SEEN
from idp_kernel.clock import SystemClock

_STOP_TIMEOUT_SECONDS = 15.0

_log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")


class RunWatchResource(ConfigurableResource[RunWatch]):
    """Interrupts the run's step when Dagster shows the run as canceling or ended; until then notes
    the time on the run again and again.
    """

    look_every_seconds: float = 1.0
    sign_every_seconds: float = 10.0
    """Several times in the launcher's `SILENT_SECONDS`."""

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Generator[RunWatch, None, None]:
        run, instance = context.run, context.instance
        assert run is not None and instance is not None  # noqa: S101, PT018 - for mypy: a run has both
        with watched(
            lambda: is_terminated(instance, run.run_id),
            interrupt_run,
            self.look_every_seconds,
            sign=lambda: sign_of_life(instance, run.run_id),
            sign_every_seconds=self.sign_every_seconds,
        ):
            yield self


def sign_of_life(instance: DagsterInstance, run_id: str) -> None:
    """Notes on the run that its worker is at work on it now."""
    instance.add_run_tags(run_id, {LAST_SEEN: SystemClock().now().isoformat()})


@contextmanager
def watched(
    must_end: Callable[[], bool],
    end: Callable[[], None],
    look_every_seconds: float,
    *,
    sign: Callable[[], None],
    sign_every_seconds: float,
) -> Iterator[None]:
    """Calls `end` once, when `must_end` becomes true inside the block; `sign` at its beginning and
    then again and again.
    """
    stopping, lock = threading.Event(), threading.Lock()

    def watch() -> None:
        next_sign_at = time.monotonic()
        while True:
            if time.monotonic() >= next_sign_at:
                next_sign_at = time.monotonic() + sign_every_seconds
                _tried(sign)
            if stopping.wait(look_every_seconds):
                return
            ending = _tried(must_end)
            with lock:
                if ending and not stopping.is_set():
                    end()
                    return

    thread = threading.Thread(target=watch, name="run-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        with lock:
            stopping.set()
        thread.join(_STOP_TIMEOUT_SECONDS)


def _tried(look: Callable[[], Answer]) -> Answer | None:
    try:
        return look()
    except Exception:  # noqa: BLE001 - the thread must outlive any failure of a look
        # A failed look is none; the next follows.
        _log.exception("run_look_failed")
        return None
