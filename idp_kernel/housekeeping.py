"""Old rows go: a thread of the process that owns the tables deletes them, a batch at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from idp_kernel.errors import Unavailable
from idp_kernel.telemetry.metrics import HOUSEKEEPING, HOUSEKEEPING_AGE

BATCH_ROWS: Final = 1000
"""That one statement takes at most; a statement is a transaction of its own."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Chore:
    """A table with rows that grow old."""

    table: str
    """As metrics and logs name it."""
    delete_batch: Callable[[], int]
    """Deletes some `BATCH_ROWS` rows of those that are too old, and answers how many; none when
    none is left. Whoever is at work on a row keeps it. Raises `Unavailable`.
    """


class Housekeeper:
    """Does its chores every `every_seconds`. Of several replicas each takes what no other has at
    hand, and a round that was cut off is done by the next one.
    """

    def __init__(
        self,
        chores: Sequence[Chore],
        registry: CollectorRegistry,
        *,
        every_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chores = chores
        self._deleted = HOUSEKEEPING.counter(registry)
        self._every_seconds = every_seconds
        self._monotonic = monotonic
        self._done_at = {chore.table: monotonic() for chore in chores}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)
        ages = HOUSEKEEPING_AGE.gauge(registry)
        for chore in chores:
            self._deleted.labels(chore.table)  # shown as 0 until something goes
            ages.labels(chore.table).set_function(partial(self._age, chore.table))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the batch at hand, and waits for it."""
        self._stopped.set()
        self._thread.join()

    def keep_house(self) -> Mapping[str, int]:
        """One round: how many rows of each table went. What is wrong with one chore is logged and
        keeps no other from its turn.
        """
        return {chore.table: self._do(chore) for chore in self._chores}

    def _run(self) -> None:
        while not self._stopped.wait(self._every_seconds):
            self.keep_house()

    def _age(self, table: str) -> float:
        return self._monotonic() - self._done_at[table]

    def _do(self, chore: Chore) -> int:
        gone = 0
        try:
            while not self._stopped.is_set():
                if not (batch := chore.delete_batch()):
                    self._done_at[chore.table] = self._monotonic()
                    break
                self._deleted.labels(chore.table).inc(batch)
                gone += batch
        except Unavailable as error:
            _log.warning("old_rows_not_deleted", table=chore.table, detail=error.message)
        except Exception:  # noqa: BLE001 - a bug in one chore must not end all; told as an error
            _log.exception("old_rows_not_deleted", table=chore.table)
        if gone:
            _log.info("old_rows_deleted", table=chore.table, rows=gone)
        return gone
