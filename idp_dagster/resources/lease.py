"""Keeps a run's lease, and ends the run's work when it may not go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import structlog

from idp_kernel.clock import Clock
from idp_kernel.errors import (
    Conflict,
    InvariantBroken,
    NotAllowed,
    NotFound,
    PlatformError,
    Unauthenticated,
)
from idp_kernel.wire.engine import Claim, Lease, UndonePermit

_log = structlog.get_logger(__name__)

LOOK_EVERY_SECONDS = 1.0
"""How soon a cancel in Dagster's UI is seen; the lease is renewed as the claim says."""
_STOP_TIMEOUT_SECONDS = 15.0
_RENEWALS_IN_A_LEASE = 3
_REFUSALS = (Conflict, Unauthenticated, NotAllowed, NotFound)
"""What the control plane answers to a run that does not hold the request; any other error leaves
that open.
"""


class Closing(StrEnum):
    """Why a run's work ended before its last step."""

    CANCEL_REQUESTED = "cancel_requested"
    TERMINATED = "terminated"
    """Dagster shows the run as canceling or ended."""
    CLAIM_LOST = "claim_lost"
    DEADLINE_PASSED = "deadline_passed"
    LEASE_ENDED = "lease_ended"
    """It could not be renewed in time."""


@dataclass
class DecidingCall:
    """A call that may give the claim back; who makes it notes what the answer says."""

    token: str
    gives_back: bool = False


class LeaseKeeper:
    """A thread that renews the lease and watches for what ends the run's work.

    Once closed it stays closed: no token is given out any more, and `on_closing` was called once.
    """

    def __init__(
        self,
        claim: Claim,
        *,
        renew: Callable[[str], Lease],
        is_terminated: Callable[[], bool],
        on_closing: Callable[[Closing], None],
        clock: Clock,
        look_every_seconds: float = LOOK_EVERY_SECONDS,
    ) -> None:
        self._claim = claim
        self._renew_with = renew
        self._is_terminated = is_terminated
        self._on_closing = on_closing
        self._clock = clock
        self._look_every_seconds = min(look_every_seconds, claim.heartbeat_seconds)
        self._token = claim.run_token
        self._undone = claim.undone
        self._expires_at = claim.lease_expires_at
        self._renew_at = time.monotonic() + self._first_pause()
        self._over = False
        self._may_have_succeeded = False
        self._closing: Closing | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to renew, in the caller's trace."""
        keep = partial(copy_context().run, self._keep)
        self._thread = threading.Thread(target=keep, name="lease-keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; from here on nothing is interrupted."""
        with self._lock:
            self._over = True
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_TIMEOUT_SECONDS)

    @property
    def is_over(self) -> bool:
        """Whether the claim was given back or closed."""
        return self._over or self._closing is not None

    @property
    def closing(self) -> Closing | None:
        """Why the run's work ended early; none when it did not."""
        return self._closing

    @property
    def last_token(self) -> str:
        """The newest token for execution-workers, also of a run that may work no more: to end what
        it began. Of an undo that of the request it speaks for.
        """
        return self._token if self._undone is None else self._undone.run_token

    def undone_permit(self) -> UndonePermit:
        """Leave to speak for the request that is undone; raises as `token` does."""
        self.token()
        if self._undone is None:
            raise InvariantBroken(f"Request {self._claim.request_id} undoes none.")
        return self._undone

    def token(self) -> str:
        """The run token for a call now; `Conflict` (`claim_closed`) when there may be none."""
        if self._closing is None and self._clock.now() >= self._expires_at:
            self._close(Closing.LEASE_ENDED)
        if self.is_over:
            raise Conflict(
                f"This run may call nobody any more: {self._closing or 'its claim is given back'}.",
                code="claim_closed",
            )
        return self._token

    def cancel(self) -> None:
        """Ends the run's work: somebody asked for the request's cancellation."""
        self._close(Closing.CANCEL_REQUESTED)

    @contextmanager
    def last_call(self) -> Iterator[str]:
        """The token for the call that gives the claim back; after its success nothing is renewed.

        No renewal runs meanwhile: its refusal would interrupt a run that has just succeeded. Nor
        does a refusal close the run once such a call had no answer: its repeat tells.
        """
        with self.deciding_call() as call:
            yield call.token
            call.gives_back = True

    @contextmanager
    def deciding_call(self) -> Iterator[DecidingCall]:
        """As `last_call`, for a call whose answer says whether it gave the claim back."""
        call = DecidingCall(self.token())
        with self._lock:
            self._may_have_succeeded = True
            try:
                yield call
            except _REFUSALS:
                self._may_have_succeeded = False
                raise
            self._over = self._may_have_succeeded = call.gives_back

    def _keep(self) -> None:
        while not self._stopping.wait(self._look_every_seconds):
            try:
                self._look()
            except Exception:  # noqa: BLE001 - the thread must outlive any failure of a look
                # A failed look is none; the next follows, and without renewal the lease ends.
                _log.exception("lease_look_failed", run_id=self._claim.run_id)

    def _look(self) -> None:
        if self.is_over:
            return
        closing = self._renew() if self._is_renewal_due() else None
        closing = closing or self._closing_by_time()
        if closing is None and self._is_terminated():
            closing = Closing.TERMINATED
        if closing is not None:
            self._close(closing)

    def _first_pause(self) -> float:
        """Until the first renewal. The lease runs since the claim was made, and its answer may have
        taken long.
        """
        left = (self._expires_at - self._clock.now()).total_seconds()
        return min(self._claim.heartbeat_seconds, left / _RENEWALS_IN_A_LEASE)

    def _is_renewal_due(self) -> bool:
        return time.monotonic() >= self._renew_at

    def _closing_by_time(self) -> Closing | None:
        now = self._clock.now()
        if now >= self._claim.deadline_at:
            return Closing.DEADLINE_PASSED
        return Closing.LEASE_ENDED if now >= self._expires_at else None

    def _renew(self) -> Closing | None:
        with self._lock:
            if self.is_over:
                return None
            try:
                lease = self._renew_with(self._token)
            except _REFUSALS as error:
                _log.warning("lease_refused", code=error.code, detail=error.message)
                return None if self._may_have_succeeded else Closing.CLAIM_LOST
            except PlatformError as error:
                _log.warning("lease_not_renewed", code=error.code, detail=error.message)
                return None
            self._renew_at = time.monotonic() + self._claim.heartbeat_seconds
            self._token, self._expires_at = lease.run_token, lease.lease_expires_at
            self._undone = lease.undone
        return Closing.CANCEL_REQUESTED if lease.cancel_requested else None

    def _close(self, closing: Closing) -> None:
        with self._lock:
            if self.is_over:
                return
            self._closing = closing
            _log.warning("run_closed", why=closing, run_id=self._claim.run_id)
            self._on_closing(closing)
