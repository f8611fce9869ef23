"""Fences, locks and effects of requests, kept in PostgreSQL.

A call holds one connection from its beginning to its end. On it stand two kinds of session locks:
a shared one that says "a call of this request is in flight", and one for each thing it works on.
Effects are recorded on the same connection, so what is recorded was recorded under the lock. A
killed process loses both with its connection.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    create_engine,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.exc import DBAPIError

from execution_workers.calls import Call
from execution_workers.ledger.errors import translated, workers_busy
from execution_workers.ledger.tables import effects, request_fences
from execution_workers.ports import Made, References
from idp_kernel.clock import Clock
from idp_kernel.errors import Conflict, InvalidInput, Unavailable
from idp_kernel.failpoints import Guard, is_off
from idp_kernel.wire.worker import DEADLINE_PASSED, EffectKind
from idp_kernel.workflows import ProviderEvent

CONNECT_TIMEOUT_SECONDS = 5
POOL_WAIT_SECONDS = 5
_SPARE_CONNECTIONS = 4
"""For `/fences`, readiness and housekeeping, when calls have all they may have."""
_log = structlog.get_logger(__name__)


def new_engine(database_url: str, *, max_calls: int, item_wait_seconds: float) -> Engine:
    """A pool with a connection per call; waits for locks end after `item_wait_seconds`."""
    return create_engine(
        database_url,
        isolation_level="AUTOCOMMIT",
        pool_size=max_calls,
        max_overflow=_SPARE_CONNECTIONS,
        pool_timeout=POOL_WAIT_SECONDS,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": "execution-workers",
            "options": f"-c lock_timeout={_milliseconds(item_wait_seconds)}",
        },
    )


@dataclass(frozen=True)
class RecordedEffect:
    """An effect that this request has had."""

    references: References
    event: ProviderEvent | None
    created_by: str
    fence: int
    """Of the run that recorded it."""


class Ledger:
    """Opens calls; thread-safe, and several processes may share one database."""

    def __init__(self, engine: Engine, clock: Clock, *, max_calls: int) -> None:
        self._engine = engine
        self._clock = clock
        self._free_calls = threading.BoundedSemaphore(max_calls)

    @contextmanager
    def opened(self, call: Call) -> Iterator[OpenCall]:
        """The call, in flight until the block ends, its fence raised.

        Raises `Conflict` (`fenced_off`) for a fence below the highest seen, and for that one once
        it is closed, and `Unavailable` as in `translated`; at once (`workers_busy`) when
        `max_calls` are open already, so that fences and readiness find a connection and a thread.
        """
        with self._counted(), translated(), self._connection() as connection:
            _lock(connection, func.pg_advisory_lock_shared, _request_key(call.request_id))
            _raise_fence(connection, self._clock, call.request_id, call.fence)
            yield OpenCall(connection, self._clock, call)

    def drain(self, request_id: str, fence: int, *, wait_seconds: float, closing: bool) -> None:
        """Raises the request's fence and returns when none of its calls is in flight. `closing`
        refuses the calls of this very fence, too, from the beginning on: those in flight stop
        before their next change, until a newer run raises the fence.

        Raises `Conflict` (`fenced_off`) when it is higher already, `Unavailable` (`item_busy`)
        when calls are in flight still after `wait_seconds`; what was closed stays closed.
        """
        with translated(), self._connection() as connection:
            if closing:
                _close_fence(connection, self._clock, request_id, fence)
            else:
                _raise_fence(connection, self._clock, request_id, fence)
            with _lock_timeout(connection, wait_seconds):
                _lock(connection, func.pg_advisory_lock, _request_key(request_id))

    def check_ready(self) -> None:
        """Raises `Unavailable` unless the database answers and has the ledger's tables."""
        with translated(), self._engine.connect() as connection:
            found = connection.scalar(select(func.to_regclass(f"{effects.schema}.{effects.name}")))
        if found is None:
            raise Unavailable(
                "The ledger has no tables yet; run `python -m execution_workers.bootstrap`.",
                code="ledger_not_migrated",
            )

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if not self._free_calls.acquire(blocking=False):
            raise workers_busy()
        try:
            yield
        finally:
            self._free_calls.release()

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        connection = self._engine.connect()
        try:
            yield connection
        finally:
            _let_go(connection)


class OpenCall:
    """A call in flight, on its own connection; for one thread."""

    def __init__(self, connection: Connection, clock: Clock, call: Call) -> None:
        self._connection = connection
        self._clock = clock
        self._call = call

    def check_fence(self) -> None:
        """Raises `Conflict`: `fenced_off` when a newer run has taken over since, or when its own is
        over, `deadline_passed` when the request has no time left, whoever holds it.
        """
        with translated():
            _require_open(self._connection, self._call.request_id, self._call.fence)
        if self._clock.now() >= self._call.deadline:
            raise Conflict(
                f"Request {self._call.request_id} passed its deadline; nothing more is changed "
                "for it.",
                code=DEADLINE_PASSED,
            )

    @contextmanager
    def locked(self, things: Sequence[str]) -> Iterator[None]:
        """No other call, of whichever request, works on one of the things meanwhile."""
        with ExitStack() as held:
            for key in map(_item_key, things):
                with translated():
                    _lock(self._connection, func.pg_advisory_lock, key)
                held.callback(_unlock, self._connection, key)
            yield

    def recorded(self, item: str, wanted: Mapping[str, object]) -> RecordedEffect | None:
        """The request's own success, to be replayed.

        Raises `InvalidInput` (`idempotency_key_reused`) when something else was asked for with
        this key, `Conflict` (`undone`) when it was undone since: only a new generation does it
        again.
        """
        with translated():
            row = self._connection.execute(select(effects).where(*self._is_mine(item))).first()
        if row is None or is_off(Guard.LEDGER_LOOKUP):
            return None
        if row.wanted_digest != _digest(wanted):
            raise InvalidInput(
                f"{item} was asked for with the same Idempotency-Key and other content.",
                code="idempotency_key_reused",
            )
        if row.undone_at is not None:
            raise Conflict(
                f"{item} was undone in generation {self._call.generation}; only a later "
                "generation of the request makes it again.",
                code="undone",
            )
        return _effect_of(row)

    def record(self, item: str, wanted: Mapping[str, object], made: Made) -> None:
        """Keeps a success, in place of what an earlier run found; it is there for good when this
        returns.
        """
        told = {
            "effect": EffectKind.CREATED if made.created else EffectKind.ADOPTED,
            "created_by": made.created_by,
            "provider_references": dict(made.references),
            "event": made.event,
            "fence": self._call.fence,
            "recorded_at": self._clock.now(),
        }
        statement = insert(effects).values(
            request_id=self._call.request_id,
            generation=self._call.generation,
            step=self._call.step,
            item=item,
            wanted_digest=_digest(wanted),
            **told,
        )
        key = effects.primary_key.columns
        statement = statement.on_conflict_do_update(index_elements=list(key), set_=told)
        with translated():
            self._connection.execute(statement)

    def is_adopted_by_others(self, item: str) -> bool:
        """Whether another request lives on what this one created."""
        adopted = (
            select(effects.c.request_id)
            .where(
                effects.c.item == item,
                effects.c.undone_at.is_(None),
                effects.c.request_id != self._call.request_id,
                effects.c.created_by == self._call.request_id,
            )
            .limit(1)
        )
        with translated():
            return self._connection.execute(adopted).first() is not None

    def let_go(self, item: str) -> None:
        """From now on this request has no part in the item, in no generation so far."""
        mine = update(effects).where(
            effects.c.request_id == self._call.request_id,
            effects.c.step == self._call.step,
            effects.c.item == item,
            effects.c.undone_at.is_(None),
        )
        with translated():
            self._connection.execute(mine.values(undone_at=self._clock.now()))

    def _is_mine(self, item: str) -> tuple[Any, ...]:
        return (
            effects.c.request_id == self._call.request_id,
            effects.c.generation == self._call.generation,
            effects.c.step == self._call.step,
            effects.c.item == item,
        )


def _raise_fence(connection: Connection, clock: Clock, request_id: str, fence: int) -> None:
    wanted = _fence(clock, request_id, fence, is_closed=False)
    _keep_fence(connection, wanted, request_fences.c.fence < wanted.excluded.fence)
    _require_open(connection, request_id, fence)


def _close_fence(connection: Connection, clock: Clock, request_id: str, fence: int) -> None:
    wanted = _fence(clock, request_id, fence, is_closed=True)
    _keep_fence(connection, wanted, request_fences.c.fence <= wanted.excluded.fence)
    _require_highest(request_id, fence, _highest_fence(connection, request_id).fence)


def _fence(clock: Clock, request_id: str, fence: int, *, is_closed: bool) -> Insert:
    return insert(request_fences).values(
        request_id=request_id, fence=fence, raised_at=clock.now(), is_closed=is_closed
    )


def _keep_fence(connection: Connection, wanted: Insert, where: ColumnElement[bool]) -> None:
    """In place of the one that is there, where that one is as `where` says."""
    told = {name: wanted.excluded[name] for name in ("fence", "raised_at", "is_closed")}
    connection.execute(
        wanted.on_conflict_do_update(
            index_elements=[request_fences.c.request_id], set_=told, where=where
        )
    )


def _highest_fence(connection: Connection, request_id: str) -> Any:
    columns = request_fences.c
    wanted = select(columns.fence, columns.is_closed).where(columns.request_id == request_id)
    return connection.execute(wanted).one()


def _require_open(connection: Connection, request_id: str, fence: int) -> None:
    highest = _highest_fence(connection, request_id)
    _require_highest(request_id, fence, highest.fence)
    if highest.fence == fence and highest.is_closed and not is_off(Guard.FENCE):
        raise Conflict(
            f"The run that held request {request_id} with fence {fence} is over and may change "
            "nothing more.",
            code="fenced_off",
        )


def _require_highest(request_id: str, fence: int, highest: int) -> None:
    if highest > fence and not is_off(Guard.FENCE):
        raise Conflict(
            f"A newer run holds request {request_id} (fence {highest}); this one has {fence} and "
            "may change nothing more.",
            code="fenced_off",
        )


def _lock(connection: Connection, function: Any, key: int) -> None:
    connection.execute(select(function(key)))


def _unlock(connection: Connection, key: int) -> None:
    """A dead connection has lost its locks by itself."""
    if not connection.invalidated:
        with translated():
            _lock(connection, func.pg_advisory_unlock, key)


@contextmanager
def _lock_timeout(connection: Connection, seconds: float) -> Iterator[None]:
    connection.execute(text(f"SET lock_timeout = {_milliseconds(seconds)}"))
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.execute(text("RESET lock_timeout"))


def _let_go(connection: Connection) -> None:
    """Ends all locks of the connection, at the latest by ending the connection itself."""
    try:
        if not connection.invalidated:
            connection.execute(select(func.pg_advisory_unlock_all()))
    except DBAPIError as error:
        _log.warning("ledger_connection_dropped", cause=type(error).__name__)
        connection.invalidate(error)
    finally:
        connection.close()


def _effect_of(row: Row[Any]) -> RecordedEffect:
    event = None if row.event is None else ProviderEvent(row.event)
    return RecordedEffect(
        references=row.provider_references,
        event=event,
        created_by=row.created_by,
        fence=row.fence,
    )


def _digest(wanted: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


def _request_key(request_id: str) -> int:
    return _lock_key(f"request:{request_id}")


def _item_key(item: str) -> int:
    return _lock_key(f"item:{item}")


def _lock_key(name: str) -> int:
    """A bigint for PostgreSQL; two names that meet wait for each other without need."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
