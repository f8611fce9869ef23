"""Errors of SQLAlchemy and psycopg, translated: nothing foreign gets through where it matters."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import exc

from control_plane.adapters.database import _to_json, database_errors
from idp_kernel.errors import Conflict, InvariantBroken, PlatformError, Unavailable


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


def test_a_bug_of_ours_stays_what_it_is() -> None:
    with pytest.raises(exc.ProgrammingError), database_errors():
        raise wrapped(exc.ProgrammingError, psycopg.errors.UndefinedTable())


def test_json_is_written_without_what_postgres_cannot_hold() -> None:
    assert (
        _to_json({"a": ["x\x00y\ud800", {"b": "\\u0000"}], "n": 1})
        == '{"a":["xy",{"b":"\\\\u0000"}],"n":1}'
    )
