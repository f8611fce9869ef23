"""The database: engine, transactions, and the one place where its errors become ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from prometheus_client import Counter
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from idp_kernel.errors import Conflict, InvariantBroken, PlatformError, Unavailable
from idp_kernel.telemetry.metrics import NO_STATUS, OWN_DATABASE
from idp_kernel.wire.engine import ROW_HELD

POOL_SIZE: Final = 10
POOL_OVERFLOW: Final = 10
POOL_TIMEOUT_SECONDS: Final = 5
CONNECT_TIMEOUT_SECONDS: Final = 3
STATEMENT_TIMEOUT_SECONDS: Final = 20
LOCK_TIMEOUT_SECONDS: Final = 3
IDLE_TRANSACTION_TIMEOUT_SECONDS: Final = 60
RETRY_AFTER_SECONDS: Final = 1.0
DATABASE_UNAVAILABLE: Final = "database_unavailable"
_OUTAGES: Final = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)
"""What is raised while the database, or a connection to it, is not to be had."""

_SESSION_OPTIONS: Final = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
        "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{IDLE_TRANSACTION_TIMEOUT_SECONDS}s",
        "timezone": "UTC",
    }.items()
)

_TAKEN: dict[str, tuple[str, str]] = {
    "uq_teams_slug": ("team_exists", "A team of this slug is there already."),
    "uq_environments_slug": (
        "environment_exists",
        "An environment of this slug is there already.",
    ),
    "uq_applications_team_id_slug": (
        "application_exists",
        "The team has an application of this slug already.",
    ),
    "uq_application_repositories_owner_name": (
        "repository_name_taken",
        "Another application of the team has a repository of that name already; take another slug.",
    ),
    "uq_request_attempts_run_id": (
        "run_already_used",
        "This run has claimed another attempt; every attempt is a run of its own.",
    ),
    "uq_workflow_subjects_active": (
        "workflow_active",
        "Another request is at work on one of its subjects; wait for its end.",
    ),
}
"""Unique constraints that a caller can meet, and how each is told."""


def new_engine(url: str) -> Engine:
    """A pooled engine that looks whether a connection lives before it hands it out."""
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        json_serializer=_to_json,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "options": _SESSION_OPTIONS,
            "application_name": "control-plane-api",
        },
    )


def count_outages(engine: Engine, errors: Counter) -> None:
    """Counts what goes wrong with the database itself; a row that somebody holds is no such."""

    @event.listens_for(engine, "handle_error")
    def count(context: ExceptionContext) -> None:
        met = context.original_exception
        if _unavailability(context.sqlalchemy_exception or met) == DATABASE_UNAVAILABLE:
            status = met.sqlstate if isinstance(met, psycopg.Error) else None
            errors.labels(OWN_DATABASE, DATABASE_UNAVAILABLE, status or NO_STATUS).inc()


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction, committed at the end of the block; its errors are of our tree."""
    with database_errors(), engine.begin() as connection:
        yield connection


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads. All its statements see the same commits: what is put together
    of several of them is as it stood at one moment.
    """
    with database_errors(), engine.connect() as connection:
        reading = connection.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        with reading.begin():
            yield reading


@contextmanager
def one_read(engine: Engine) -> Iterator[Connection]:
    """For a single statement that reads, which sees one moment by itself: no transaction has to be
    begun and ended around it.
    """
    with database_errors(), engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def database_errors() -> Iterator[None]:
    """Translates what SQLAlchemy and psycopg raise inside."""
    try:
        yield
    except PlatformError:
        raise
    except IntegrityError as error:
        raise _taken(error) from error
    except (SQLAlchemyError, psycopg.Error) as error:
        code = _unavailability(error)
        if code is None:
            raise
        raise _unavailable(error, code) from error


def _taken(error: IntegrityError) -> PlatformError:
    cause = error.orig
    name = cause.diag.constraint_name if isinstance(cause, psycopg.Error) else None
    if name in _TAKEN:
        code, message = _TAKEN[name]
        return Conflict(message, code=code)
    return InvariantBroken(f"The database refused a row that broke {name}.")


def _unavailability(error: BaseException) -> str | None:
    """The code of an error after which the same may go well; `None` is of any other."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.errors.LockNotAvailable):
        return ROW_HELD
    is_cut_off = isinstance(error, DBAPIError) and error.connection_invalidated
    return DATABASE_UNAVAILABLE if is_cut_off or isinstance(cause, _OUTAGES) else None


def _unavailable(error: Exception, code: str) -> Unavailable:
    what = (
        "Somebody else is at work on the same thing."
        if code == ROW_HELD
        else f"The database gave no answer ({type(error).__name__})."
    )
    return Unavailable(
        f"{what} Nothing was changed; try again.",
        code=code,
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )


def storable(text: str) -> str:
    """The text without what PostgreSQL cannot hold and a provider's message may: NUL, and halves
    of characters.
    """
    return text.replace("\x00", "").encode("utf-8", "ignore").decode()


def _to_json(value: object) -> str:
    return json.dumps(_storable(value), separators=(",", ":"))


def _storable(value: object) -> object:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {key: _storable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(each) for each in value]
    return value
