"""What PostgreSQL's errors mean to us. https://www.postgresql.org/docs/current/errcodes-appendix.html

An error with an SQLSTATE is told by its class; one on connecting has none, so by its words.
"""

from __future__ import annotations

import re

import psycopg
from psycopg import errors

from execution_workers.providers.calls import Verdict
from idp_kernel.errors import InvariantBroken, ProviderRejected, Unavailable

_WAIT = "It is tried again."
_DENIED = Verdict(
    ProviderRejected, "postgres_denied", "Give the issuer's role its rights and password again."
)
_MISCONFIGURED = Verdict(
    ProviderRejected, "postgres_misconfigured", "Correct POSTGRES_ISSUER_URL and its database."
)
_BUG = Verdict(InvariantBroken, "postgres_misused", "Report this as a bug.")
_UNREACHABLE = Verdict(Unavailable, "postgres_unreachable", "See whether it runs.")
BUSY = Verdict(Unavailable, "postgres_busy", _WAIT, contended=True)
_FAILED = Verdict(Unavailable, "postgres_failed", "Look at its log.")

OF_EXCEPTION: dict[type[psycopg.Error], Verdict] = {
    psycopg.Error: _FAILED,
    psycopg.InterfaceError: _UNREACHABLE,
    psycopg.DatabaseError: _FAILED,
    psycopg.DataError: _BUG,
    psycopg.OperationalError: _UNREACHABLE,
    psycopg.IntegrityError: BUSY,
    psycopg.InternalError: BUSY,
    psycopg.ProgrammingError: _BUG,
    psycopg.NotSupportedError: _MISCONFIGURED,
    errors.ConnectionTimeout: _UNREACHABLE,
    errors.CancellationTimeout: _UNREACHABLE,
    errors.PipelineAborted: _BUG,
    errors.InsufficientPrivilege: _DENIED,
    errors.InvalidAuthorizationSpecification: _DENIED,
    errors.InvalidPassword: _DENIED,
    errors.InvalidCatalogName: _MISCONFIGURED,
    errors.ReadOnlySqlTransaction: _MISCONFIGURED,
    errors.QueryCanceled: BUSY,
    errors.LockNotAvailable: BUSY,
    errors.TooManyConnections: BUSY,
    errors.DuplicateObject: BUSY,
    errors.DuplicateSchema: BUSY,
    errors.UndefinedObject: BUSY,
    errors.InvalidSchemaName: BUSY,
}
"""By class, the nearest line of its ancestors; what two did at once is tried again."""

ON_CONNECTING: tuple[tuple[re.Pattern[str], Verdict], ...] = tuple(
    (re.compile(pattern), verdict)
    for pattern, verdict in (
        (r"password authentication failed|no password supplied", _DENIED),
        (r"not permitted to log in|role .* does not exist", _DENIED),
        (r"no pg_hba\.conf entry|permission denied for database", _DENIED),
        (r"database .* does not exist", _MISCONFIGURED),
        (r"too many (clients|connections)|connection slots", BUSY),
    )
)  # fmt: skip
"""By what the server says to who connects; the first line that fits."""

IN_USE = Verdict(
    ProviderRejected,
    "elder_credential_in_use",
    "End those sessions, for instance by restarting the applications that hold them, and rotate "
    "again; or rotate as an emergency, which ends them.",
)
NO_FREE_LOGIN = Verdict(
    ProviderRejected,
    "no_free_login",
    "Let an ordinary rotation finish first: it moves all bindings to one version.",
)
LOGIN_REPLACED = Verdict(
    ProviderRejected,
    "login_replaced",
    "A later credential is in its place, and this one's time is over: ask for a new rotation.",
)
NOT_CONFIGURED = Verdict(
    ProviderRejected,
    "issuer_not_configured",
    "Set IDP_EXECUTION_WORKERS_POSTGRES_ISSUER_URL, or let the secret have another issuer.",
)


def of_error(error: psycopg.Error) -> Verdict:
    """The line of an error."""
    if error.sqlstate is None:
        said = str(error)
        for pattern, verdict in ON_CONNECTING:
            if pattern.search(said):
                return verdict
    return next(OF_EXCEPTION[kind] for kind in type(error).__mro__ if kind in OF_EXCEPTION)


def is_refused_login(error: psycopg.Error) -> bool:
    """Whether the server was there and did not let the user in."""
    return isinstance(error, psycopg.OperationalError) and of_error(error) is _DENIED
