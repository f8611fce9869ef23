"""Errors of the database in our terms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from prometheus_client import Counter
from psycopg.errors import LockNotAvailable
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from idp_kernel.errors import Unavailable
from idp_kernel.telemetry.metrics import NO_STATUS, OWN_DATABASE

RETRY_AFTER_SECONDS = 2.0
LEDGER_UNAVAILABLE = "ledger_unavailable"


def count_outages(engine: Engine, errors: Counter) -> None:
    """Counts each time the database is away; what a call waits for in vain is no such error."""

    @event.listens_for(engine, "handle_error")
    def count(context: ExceptionContext) -> None:
        met, error = context.original_exception, context.sqlalchemy_exception
        if isinstance(error, DBAPIError) and _is_outage(error):
            status = met.sqlstate if isinstance(met, psycopg.Error) else None
            errors.labels(OWN_DATABASE, LEDGER_UNAVAILABLE, status or NO_STATUS).inc()


@contextmanager
def translated() -> Iterator[None]:
    """`Unavailable` for what passes by itself; a wrong statement stays what it is, our bug.

    Codes: `ledger_unavailable` (the database is away), `workers_busy` (no connection was free in
    time), `item_busy` (another call did not let go in time).
    """
    try:
        yield
    except PoolTimeout as error:
        raise workers_busy() from error
    except DBAPIError as error:
        if isinstance(error.orig, LockNotAvailable):
            raise _unavailable("Another call still works on the same.", "item_busy") from error
        if not _is_outage(error):
            raise
        raise _unavailable("The ledger's database is away.", LEDGER_UNAVAILABLE) from error


def workers_busy() -> Unavailable:
    """The process works on as much as it may."""
    return _unavailable("The workers are busy with other calls.", "workers_busy")


def _is_outage(error: DBAPIError) -> bool:
    if isinstance(error.orig, LockNotAvailable):
        return False
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


def _unavailable(message: str, code: str) -> Unavailable:
    return Unavailable(message, code=code, retry_after_seconds=RETRY_AFTER_SECONDS)
