"""A database session as an application has one: log in, do something, leave.

What the server answers names roles, and here nothing of a secret's version is told: errors say in
words of our own what happened.
"""

from __future__ import annotations

from typing import Final

import psycopg

from idp_kernel.errors import ProviderRejected, Unavailable
from local_stack.consumer.store import DatabaseLogin

CONNECT_TIMEOUT_SECONDS: Final = 3
_OPTIONS: Final = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "statement_timeout": "5s",
        "lock_timeout": "2s",
        # A count that is lost in a crash hurts nobody; the disk has better things to do.
        "synchronous_commit": "off",
    }.items()
)
_AWAY: Final = (
    "the database system is",
    "too many clients",
    "too many connections",
    "remaining connection slots",
    "terminating connection",
)
"""What a server says that lets nobody in at present; every other FATAL is about this login."""

_TABLE: Final = """\
CREATE TABLE IF NOT EXISTS consumption (
    binding text PRIMARY KEY, logins bigint NOT NULL, last_login_at timestamptz NOT NULL
)"""
_USE: Final = """\
INSERT INTO consumption AS kept (binding, logins, last_login_at) VALUES (%s, 1, now())
ON CONFLICT (binding) DO UPDATE SET logins = kept.logins + 1, last_login_at = now()"""


class Session:
    """One login's session, until it is closed."""

    def __init__(self, login: DatabaseLogin) -> None:
        """Logs in. Raises `ProviderRejected` when the database refuses this login, `Unavailable`
        when it is away or takes nobody at present.
        """
        try:
            self._connection = psycopg.connect(
                host=login.host,
                port=login.port,
                dbname=login.database,
                user=login.username,
                password=login.password.get_secret_value(),
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                application_name="local-consumer",
                options=_OPTIONS,
                autocommit=True,
            )
        except psycopg.Error as error:
            if _is_about_the_login(error):
                raise ProviderRejected(
                    "The database refused the login.", code="login_refused"
                ) from error
            raise Unavailable("The database cannot be reached.", code="unreachable") from error

    def use(self, binding: str, *, makes_table: bool) -> None:
        """Counts one more login of the binding in a table of the application's own.

        Raises `Unavailable` when that fails.
        """
        try:
            if makes_table:
                self._connection.execute(_TABLE)
            self._connection.execute(_USE, (binding,))
        except psycopg.Error as error:
            raise Unavailable(
                f"The database failed after the login (SQLSTATE {error.sqlstate or 'unknown'}).",
                code="query_failed",
            ) from error

    def close(self) -> None:
        self._connection.close()


def _is_about_the_login(error: psycopg.Error) -> bool:
    """By the server's words: libpq tells no SQLSTATE of a login that failed."""
    told = str(error)
    return "FATAL:" in told and not any(each in told for each in _AWAY)
