"""Errors of SQLAlchemy and psycopg, translated: nothing foreign gets through where it matters."""

from __future__ import annotations

from types import SimpleNamespace

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import exc

from control_plane.adapters.database import (
    DATABASE_UNAVAILABLE,
    _to_json,
    count_outages,
    database_errors,
    new_engine,
)
from idp_kernel.errors import Conflict, InvariantBroken, PlatformError, Unavailable
from idp_kernel.telemetry.metrics import downstream_errors


def wrapped(error: type[exc.DBAPIError], cause: psycopg.Error) -> exc.DBAPIError:
    return error("SELECT 1", {}, cause)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (wrapped(exc.OperationalError, psycopg.errors.AdminShutdown()), Unavailable),
        (wrapped(exc.OperationalError, psycopg.errors.DeadlockDetected()), Unavailable),
        (wrapped(exc.OperationalError, psycopg.errors.SerializationFailure()), Unavailable),
        (wrapped(exc.OperationalError, psycopg.errors.QueryCanceled()), Unavailable),
        (wrapped(exc.InterfaceError, psycopg.InterfaceError()), Unavailable),
        (exc.TimeoutError("pool"), Unavailable),
        (psycopg.OperationalError("gone"), Unavailable),
        (wrapped(exc.IntegrityError, psycopg.errors.UniqueViolation()), InvariantBroken),
        (Conflict("ours"), Conflict),
    ],
)
def test_every_error_that_a_database_makes_is_ours(
    raised: Exception, told: type[PlatformError]
) -> None:
    with pytest.raises(told), database_errors():
        raise raised


@pytest.mark.parametrize(
    "met",
    [
        wrapped(exc.OperationalError, psycopg.errors.AdminShutdown()),
        wrapped(exc.OperationalError, psycopg.errors.LockNotAvailable()),
        wrapped(exc.InterfaceError, psycopg.InterfaceError()),
        wrapped(exc.ProgrammingError, psycopg.errors.UndefinedTable()),
        wrapped(exc.IntegrityError, psycopg.errors.UniqueViolation()),
        exc.DBAPIError("SELECT 1", {}, psycopg.Error(), connection_invalidated=True),
    ],
    ids=lambda met: type(met.orig).__name__,
)
def test_what_is_told_as_an_outage_is_counted_as_one(met: exc.DBAPIError) -> None:
    registry = CollectorRegistry()
    engine = new_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    count_outages(engine, downstream_errors(registry))
    engine.dialect.dispatch.handle_error(
        SimpleNamespace(original_exception=met.orig, sqlalchemy_exception=met)
    )
    counted = [
        sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "downstream_errors_total"
    ]
    with pytest.raises((PlatformError, exc.ProgrammingError)) as told, database_errors():
        raise met
    is_outage = getattr(told.value, "code", None) == DATABASE_UNAVAILABLE
    assert counted == [1] * is_outage


def test_a_bug_of_ours_stays_what_it_is() -> None:
    with pytest.raises(exc.ProgrammingError), database_errors():
        raise wrapped(exc.ProgrammingError, psycopg.errors.UndefinedTable())


def test_json_is_written_without_what_postgres_cannot_hold() -> None:
    assert (
        _to_json({"a": ["x\x00y\ud800", {"b": "\\u0000"}], "n": 1})
        == '{"a":["xy",{"b":"\\\\u0000"}],"n":1}'
    )
