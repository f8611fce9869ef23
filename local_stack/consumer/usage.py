"""One binding's login in use: log in, do something, and again, as often as the pace allows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import structlog

from idp_kernel.clock import Clock
from idp_kernel.errors import PlatformError, ProviderRejected
from idp_kernel.wire.consumer import ConsumedSecret
from local_stack.consumer.bindings import BindingKey
from local_stack.consumer.store import DatabaseLogin

_log = structlog.get_logger(__name__)


class LoginResult(StrEnum):
    """How a login went; the `result` label."""

    SUCCESS = "success"
    REFUSED = "refused"
    """By the database, which knows the login no more, or not yet."""
    FAILED = "failed"
    """The database was away, or failed after the login."""


class OpenSession(Protocol):
    """A session that stands (`local_stack.consumer.sessions`)."""

    def use(self, binding: str, *, makes_table: bool) -> None: ...

    def close(self) -> None: ...


LogIn = Callable[[DatabaseLogin], OpenSession]
CountLogin = Callable[[LoginResult], None]


@dataclass(frozen=True)
class _Taken:
    """What the store gave."""

    version: int
    login: DatabaseLogin


@dataclass(frozen=True)
class _Tally:
    """How it went so far."""

    version: int | None = None
    logins: int = 0
    refused: int = 0
    failed: int = 0
    last_login_at: datetime | None = None
    problem: str | None = None


class Pace:
    """So many logins a second, shared by all bindings in use: many are no burden on the database
    that a few are not. Thread-safe.
    """

    def __init__(self, logins_per_second: float) -> None:
        self._logins_per_second = logins_per_second
        self._in_use = 0
        self._lock = threading.Lock()

    def join(self) -> None:
        with self._lock:
            self._in_use += 1

    def leave(self) -> None:
        with self._lock:
            self._in_use -= 1

    @property
    def period_seconds(self) -> float:
        """Between two logins of one binding, now."""
        return max(1, self._in_use) / self._logins_per_second


class LoginUsage:
    """Uses the login of one binding in a thread of its own, the newest version it was given.

    Each session stays open until the next one stands, so that whoever counts sessions at any
    moment sees which version is in use.
    """

    def __init__(
        self,
        binding: BindingKey,
        *,
        log_in: LogIn,
        count_login: CountLogin,
        clock: Clock,
        pace: Pace,
    ) -> None:
        self._binding = binding
        self._log_in = log_in
        self._count_login = count_login
        self._clock = clock
        self._pace = pace
        self._taken: _Taken | None = None
        self._session: OpenSession | None = None
        self._needs_table = True
        self._tally = _Tally()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="login-usage", daemon=True)

    def start(self) -> None:
        self._pace.join()
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more; the session is closed when what is under way has ended."""
        self._stopped.set()

    def join(self) -> None:
        """Wait for the end that `stop` asked for."""
        self._thread.join()

    def is_alive(self) -> bool:
        """Whether it goes on, or a login is under way still after `stop`."""
        return self._thread.is_alive()

    def go_on_from(self, former: LoginUsage) -> None:
        """Counts on from where another usage of the binding, which has ended, left off."""
        self._tally = replace(former._tally, version=None, problem=None)

    def move_to(self, version: int, login: DatabaseLogin) -> None:
        """From the next login on, this version."""
        self._taken = _Taken(version, login)

    def consumed(self, problem: str | None) -> ConsumedSecret:
        """How it goes; `problem` says what keeps it from taking the version that is applied."""
        tally = self._tally
        return ConsumedSecret(
            owner=self._binding.owner,
            repository=self._binding.repository,
            name=self._binding.name,
            version=tally.version,
            logins=tally.logins,
            refused=tally.refused,
            failed=tally.failed,
            last_login_at=tally.last_login_at,
            problem=problem or tally.problem,
        )

    def _run(self) -> None:
        due = time.monotonic()
        try:
            while not self._stopped.is_set():
                try:
                    self.log_in_once()
                except Exception:  # noqa: BLE001 - a bug in one round must not end the use
                    _log.exception("login_round_failed", **asdict(self._binding))
                # A round that took long is not made up for: no burst after an outage.
                due = max(due + self._pace.period_seconds, time.monotonic())
                self._stopped.wait(due - time.monotonic())
        finally:
            self._pace.leave()
            self._leave_for(None)

    def log_in_once(self) -> None:
        """One login with the version at hand, used; nothing while there is none."""
        taken = self._taken
        if taken is None:
            return
        try:
            session = self._log_in(taken.login)
        except ProviderRejected as error:
            self._note(LoginResult.REFUSED, taken, error)
            return
        except PlatformError as error:
            self._note(LoginResult.FAILED, taken, error)
            return
        try:
            self._use(session)
        except PlatformError as error:
            self._note(LoginResult.FAILED, taken, error)
            return
        self._note(LoginResult.SUCCESS, taken, None)

    def _use(self, session: OpenSession) -> None:
        """The session stands afterwards, in the place of the one before, or is closed."""
        makes_table, self._needs_table = self._needs_table, True
        with ExitStack() as failed:
            failed.callback(session.close)
            session.use(self._binding.name, makes_table=makes_table)
            failed.pop_all()
        self._needs_table = False
        self._leave_for(session)

    def _leave_for(self, session: OpenSession | None) -> None:
        former, self._session = self._session, session
        if former is not None:
            former.close()

    def _note(self, result: LoginResult, taken: _Taken, error: PlatformError | None) -> None:
        """Counts the login; logs only what changed, since this happens all the time."""
        self._count_login(result)
        before = self._tally
        problem = None if error is None else f"{error.message} Version {taken.version} was used."
        if result is LoginResult.SUCCESS:
            self._tally = replace(
                before,
                version=taken.version,
                logins=before.logins + 1,
                last_login_at=self._clock.now(),
                problem=None,
            )
        else:
            self._tally = replace(
                before,
                refused=before.refused + (result is LoginResult.REFUSED),
                failed=before.failed + (result is LoginResult.FAILED),
                problem=problem,
            )
        if problem is not None and problem != before.problem:
            _log.warning("login_failed", result=result, detail=problem, **asdict(self._binding))
        elif self._tally.version != before.version or (before.problem and problem is None):
            _log.info("logged_in", version=taken.version, **asdict(self._binding))
