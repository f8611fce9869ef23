"""The worker's pool of children, which ends when one of them takes a lock of all along."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

import structlog
from billiard.pool import Pool
from celery.concurrency.prefork import TaskPool

ENDED_FOR_A_CHILD = 70
"""The exit status, of sysexits: an internal fault. The supervisor starts everything anew."""
RESULT_TOLD_WITHIN_SECONDS = 10.0
_LOOK_EVERY_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class ChildrenOrNone(Pool):  # type: ignore[misc]  # billiard has no types
    """Children that take turns to read tasks from one pipe, under a lock between processes.

    One that is killed while it waits there takes the lock along: no other gets a task from then on,
    and the parent goes on to take messages for them. Who has the lock cannot be told from outside,
    so the parent ends at once. Runs of other children end with it, and go on as after any kill.

    They take turns to tell results as well. One that dies in that moment takes that lock along: all
    others wait to tell theirs, and a parent that is ending waits for them. It ends when nobody lets
    go of the lock for `RESULT_TOLD_WITHIN_SECONDS`; to tell takes a moment.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        threading.Thread(target=self._watch_turns, name="watch-turns", daemon=True).start()

    def _join_exited_workers(self, shutdown: bool = False) -> Any:  # noqa: FBT001, FBT002 - of the base
        killed = {
            child.pid: child.exitcode
            for child in self._pool
            if child.exitcode is not None and child.exitcode < 0
        }
        at_work = {pid for job in list(self._cache.values()) for pid in job.worker_pids()}
        if not shutdown and (idle := killed.keys() - at_work):
            _log.error("idle_child_killed", child=min(idle), signal=-killed[min(idle)])
            sys.stderr.flush()
            os._exit(ENDED_FOR_A_CHILD)
        return super()._join_exited_workers(shutdown)

    def _watch_turns(self) -> None:
        turn = self._outqueue._wlock  # noqa: SLF001 - the base shows it to nobody
        while turn.acquire(True, RESULT_TOLD_WITHIN_SECONDS):
            turn.release()
            time.sleep(_LOOK_EVERY_SECONDS)
        _log.error("results_cannot_be_told", seconds=RESULT_TOLD_WITHIN_SECONDS)
        sys.stderr.flush()
        os._exit(ENDED_FOR_A_CHILD)


class RunPool(TaskPool):  # type: ignore[misc]  # celery has no types
    """Celery's, of such children."""

    BlockingPool = ChildrenOrNone
