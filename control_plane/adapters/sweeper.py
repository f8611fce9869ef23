"""The background thread that moves requests on when their time has come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog
from sqlalchemy import Engine, func, select, text

from control_plane.adapters.database import transaction
from control_plane.application.ports import Begin
from control_plane.application.sweep_requests import overdue_requests, sweep_request
from control_plane.domain.requests import ACTIVE_STATES, AttemptPolicy
from idp_kernel.errors import Unavailable
from idp_kernel.failpoints import Guard, is_off
from idp_kernel.telemetry.subjects import WORKFLOW_REQUEST_ID
from idp_kernel.wire.engine import ROW_HELD

QUIET_SECONDS: Final = 5.0
"""How long the sweeper rests while no request is open, unless it is told of one."""
_SWEEP_LOCK: Final = 0x1D953EE9
_log = structlog.get_logger(__name__)


class Sweeper:
    """Sweeps every `interval_seconds`; of several replicas one at a time does. While no request is
    open there is nothing that time could bring: it rests until it is told that one has changed.

    Leases are left alone for one lease time after the start and after each time the database was
    away. That saves no run whose lease ended meanwhile: its token ended too, so it cannot renew any
    more. It only puts the release off, so that the engine can tell first how such runs ended.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        begin: Begin,
        policy: AttemptPolicy,
        rotations_at_once: int,
        interval_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._begin = begin
        self._policy = policy
        self._rotations_at_once = rotations_at_once
        self._interval_seconds = interval_seconds
        self._monotonic = monotonic
        self._leases_count_from = self._one_lease_from_now()
        self._is_quiet = False
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and waits for it."""
        self._stopped.set()
        self._changed.set()
        self._thread.join()

    def hear_of_request(self, _told: str) -> None:
        """A request has changed, or any may have; callable from any thread."""
        self._changed.set()

    def sweep(self) -> None:
        """One round, unless another replica is at it. Raises `Unavailable`."""
        try:
            with transaction(self._engine) as connection:
                # This transaction only holds the lock while others do the work, however long.
                connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
                locked = select(func.pg_try_advisory_xact_lock(_SWEEP_LOCK))
                if connection.execute(locked).scalar_one():
                    self._sweep()
        except Unavailable:
            self._leases_count_from = self._one_lease_from_now()
            raise

    def _run(self) -> None:
        while not self._rested():
            self._changed.clear()
            self._is_quiet = False
            try:
                self.sweep()
            except Unavailable as error:
                _log.warning("sweep_without_database", detail=error.message)
            except Exception:  # noqa: BLE001 - a bug in one round must not end all rounds; told as an error
                _log.exception("sweep_failed")

    def _rested(self) -> bool:
        """Rests; answers whether it was stopped meanwhile."""
        if not self._is_quiet:
            return self._stopped.wait(self._interval_seconds)
        # The round may have cleared what `stop` said with `_changed`.
        if not self._stopped.is_set():
            self._changed.wait(max(QUIET_SECONDS, self._interval_seconds))
        return self._stopped.is_set()

    def _sweep(self) -> None:
        with_leases = self._monotonic() >= self._leases_count_from and not is_off(Guard.RECONCILER)
        with self._begin() as work:
            self._is_quiet = not work.requests.any_in(ACTIVE_STATES)
            if self._is_quiet:
                return
            overdue = overdue_requests(
                work, with_leases=with_leases, rotations_at_once=self._rotations_at_once
            )
        for request_id in overdue:
            self._sweep_one(request_id, with_leases=with_leases)

    def _sweep_one(self, request_id: str, *, with_leases: bool) -> None:
        """One request in its own transaction, so that no other waits for a broken one, or for one
        whose rows somebody holds; the next round looks at it again. Raises `Unavailable` when the
        database is away.
        """
        try:
            with self._begin() as work:
                sweep_request(work, request_id, self._policy, with_leases=with_leases)
        except Unavailable as error:
            if error.code != ROW_HELD:
                raise
            _log.warning(
                "request_not_swept_yet", code=error.code, **{WORKFLOW_REQUEST_ID: request_id}
            )
        except Exception:  # noqa: BLE001 - whatever is wrong with one request concerns no other; told as an error
            _log.exception("request_not_swept", **{WORKFLOW_REQUEST_ID: request_id})

    def _one_lease_from_now(self) -> float:
        return self._monotonic() + self._policy.lease.total_seconds()
