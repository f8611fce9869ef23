"""Hears what transactions notify, on a connection of its own, and says so to whoever waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Final

import psycopg
import structlog
from psycopg import sql
from sqlalchemy import Engine

from control_plane.adapters.database import database_errors
from idp_kernel.errors import InvariantBroken, Unavailable

_LOOK_EVERY_SECONDS: Final = 0.5
_RECONNECT_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)

Hear = Callable[[str], None]
"""Takes what a notification carries; nothing when any may have been missed, after a reconnect."""


def each_of(*heard: Hear) -> Hear:
    """Tells all of them."""

    def hear(told: str) -> None:
        for each in heard:
            each(told)

    return hear


class Listener:
    """A background thread, one for the process, that tells of each notification to its channel's
    `Hear`, and tells all of them after each reconnect.

    While the database is away it tries again every second; those who wait also look by themselves.
    """

    def __init__(self, engine: Engine, heard: Mapping[str, Hear]) -> None:
        self._engine = engine
        self._heard = heard
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and waits for it."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with database_errors():
                    self._listen()
            except Unavailable as error:
                _log.warning("listener_lost_database", detail=error.message)
                self._stopped.wait(_RECONNECT_SECONDS)
            except Exception:  # noqa: BLE001 - a bug here must not end listening; told as an error
                _log.exception("listener_failed")
                self._stopped.wait(_RECONNECT_SECONDS)

    def _listen(self) -> None:
        pooled = self._engine.raw_connection()
        driver = pooled.driver_connection
        # The pool gives it up for good: a listening connection is nothing to hand out again.
        pooled.detach()
        with closing(pooled):
            if not isinstance(driver, psycopg.Connection):
                raise InvariantBroken(f"{type(driver).__name__} cannot listen; psycopg 3 can")
            driver.autocommit = True
            for channel in self._heard:
                driver.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            for hear in self._heard.values():
                hear("")
            while not self._stopped.is_set():
                for notified in driver.notifies(timeout=_LOOK_EVERY_SECONDS):
                    self._heard[notified.channel](notified.payload)
