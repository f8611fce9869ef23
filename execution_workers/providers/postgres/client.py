"""PostgreSQL as far as making logins needs it: the roles of one secret, their sessions, a log-in.

Each operation has a connection and a transaction of its own. No password reaches the server, a
statement or an error: roles get SCRAM verifiers, and errors are raised without the connection.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from execution_workers.ports import Marker
from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.postgres.errors import (
    BUSY,
    LOGIN_REPLACED,
    NOT_CONFIGURED,
    is_refused_login,
    of_error,
)
from idp_kernel.errors import PlatformError
from idp_kernel.telemetry.metrics import NO_STATUS

CONNECT_TIMEOUT_SECONDS = 5
APPLICATION_NAME = "execution-workers"
_DATABASE_RIGHTS_LOCK = 4_961_101
"""Rights on the database are one row for everybody: who changes them takes turns."""
_END_WITHIN_MILLISECONDS = 2_000

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Address:
    """How consumers reach the database."""

    host: str
    port: int
    database: str


@dataclass(frozen=True)
class LoginRole:
    """A login role as its comment tells."""

    name: str
    marker: Marker
    version: int | None
    """The store's version with its password; None while the platform lets it in no more."""
    can_log_in: bool


@dataclass(frozen=True)
class Rights:
    """What a role may do."""

    database: str
    role: str
    makes_roles: bool
    creates_schemas: bool
    grants_connect: bool
    acts_as_roles_it_makes: bool


_RIGHTS = """
    SELECT rolname,
           rolsuper OR rolcreaterole,
           has_database_privilege(current_database(), 'CREATE'),
           has_database_privilege(current_database(), 'CONNECT WITH GRANT OPTION'),
           rolsuper OR current_setting('createrole_self_grant', true) ~ 'set.*inherit|inherit.*set'
    FROM pg_roles WHERE rolname = current_user
"""


class PostgresClient:
    """Logged in as the issuer's role. Thread-safe."""

    def __init__(
        self,
        issuer_url: str | None,
        consumer_url: str | None,
        calls: ProviderCalls,
        *,
        timeout_seconds: float,
    ) -> None:
        self._issuer_url = None if issuer_url is None else make_url(issuer_url)
        self._consumer_url = None if consumer_url is None else make_url(consumer_url)
        self._calls = calls
        self._timeout_seconds = timeout_seconds

    @property
    def provider(self) -> str:
        return self._calls.provider

    @property
    def address(self) -> Address:
        """Raises `ProviderRejected` (`issuer_not_configured`) without an issuer's URL."""
        return _address_of(self._consumer_url or self._issuer)

    def logins(self, group: str) -> dict[str, LoginRole]:
        """The login roles of the group by name; empty when there is no such group."""
        with self._connection("read logins") as connection:
            return _logins(connection, group)

    def set_login(
        self, group: str, role: str, password: str, *, version: int, marker: Marker
    ) -> None:
        """The role logs in with this password and no other, and then acts as the group, which is
        made when it is not there. One that has this version stays as it is.

        Raises `ProviderRejected` (`login_replaced`) when the role has a later version by now.
        """
        with self._changing("set login", group) as connection:
            verifier = _verifier(connection, role, password)
            self._ensure_group(connection, group, marker)
            standing = _version_of(connection, group, role)
            if standing is not None and standing > version:
                raise self._replaced("set login", role, standing)
            if standing == version:
                return
            _ensure_role(connection, role, group)
            statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
            connection.execute(statement.format(sql.Identifier(role), sql.Literal(verifier)))
            _set_comment(connection, role, marker, version)

    def disable_login(self, group: str, role: str, version: int | None, marker: Marker) -> None:
        """The role logs in no more and has no password.

        Raises `ProviderRejected` (`login_replaced`) when it has another version than this by now;
        one that was disabled already is fine.
        """
        with self._changing("disable login", group) as connection:
            standing = _version_of(connection, group, role)
            if standing not in (version, None):
                raise self._replaced("disable login", role, standing)
            _execute(connection, "ALTER ROLE {} NOLOGIN PASSWORD NULL", role)
            _set_comment(connection, role, marker, None)

    def rights(self) -> Rights:
        """What the issuer's role may do in its database."""
        with self._connection("read rights") as connection:
            row = connection.execute(_RIGHTS).fetchone()
            assert row is not None  # noqa: S101 - narrows for mypy: one role is logged in
            return Rights(self._database, *row)

    def sessions(self, role: str) -> int:
        """How many are logged in with the role."""
        with self._connection("count sessions") as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
            row = connection.execute(query, [role]).fetchone()
            return 0 if row is None else int(row[0])

    def end_sessions(self, role: str) -> int:
        """Ends them and waits for their end; how many they were.

        Raises `Unavailable` (`postgres_busy`) while one of them is left.
        """
        with self._connection("end sessions") as connection:
            return self._end_sessions(connection, role)

    def remove_group(self, group: str) -> bool:
        """The group with its schema, its logins and their sessions. False, and all of it is left,
        when somebody's data hangs on it.
        """
        with self._connection("remove group") as connection:
            try:
                with connection.transaction():
                    _lock_group(connection, group)
                    self._remove(connection, group)
            except psycopg.errors.DependentObjectsStillExist:
                return False
        return True

    def refusal_of(self, username: str, password: str) -> str | None:
        """Logs in once; what the server says when it refuses, None when it let the user in."""
        with self._calls.calling("log in"):
            try:
                with psycopg.connect(
                    **{**self._parameters(), "user": username, "password": password}
                ) as connection:
                    connection.execute("SELECT 1")
                    return None
            except psycopg.Error as error:
                if is_refused_login(error):
                    return "the database refuses the login"
                failure = self._failure("log in", error)
            # Raised out here, without its cause, which keeps the connection and so the password.
            raise failure

    def _ensure_group(self, connection: Connection, group: str, marker: Marker) -> None:
        if _comment(connection, group) is not None:
            return
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_DATABASE_RIGHTS_LOCK])
        _execute(connection, "CREATE ROLE {} NOLOGIN", group)
        _execute(connection, "CREATE SCHEMA {} AUTHORIZATION {}", group, group)
        _execute(connection, "GRANT CONNECT ON DATABASE {} TO {}", self._database, group)
        _set_comment(connection, group, marker, None)

    def _remove(self, connection: Connection, group: str) -> None:
        roles = _logins(connection, group)
        if _comment(connection, group) is None:
            return
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_DATABASE_RIGHTS_LOCK])
        _execute(connection, "DROP SCHEMA IF EXISTS {}", group)
        for role in roles:
            self._end_sessions(connection, role)
            _execute(connection, "DROP ROLE {}", role)
        _execute(connection, "REVOKE ALL ON DATABASE {} FROM {}", self._database, group)
        _execute(connection, "DROP ROLE {}", group)

    def _end_sessions(self, connection: Connection, role: str) -> int:
        query = "SELECT pid, backend_start FROM pg_stat_activity WHERE usename = %s"
        found = set(connection.execute(query, [role]).fetchall())
        end = "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity WHERE usename = %s"
        # All are told before one is waited for.
        for milliseconds in (0, _END_WITHIN_MILLISECONDS):
            connection.execute(end, [milliseconds, role])
        # Within a transaction the server tells again what it told first.
        connection.execute("SELECT pg_stat_clear_snapshot()")
        left = found & set(connection.execute(query, [role]).fetchall())
        if left:
            still = f"{len(left)} sessions of {role} have not ended yet"
            raise BUSY.of(self.provider, "end sessions", still)
        return len(found)

    def _replaced(self, operation: str, role: str, version: int | None) -> PlatformError:
        found = f"the role {role} has the password of version {version} by now"
        return LOGIN_REPLACED.of(self.provider, operation, found)

    @property
    def _database(self) -> str:
        return _address_of(self._issuer).database

    @property
    def _issuer(self) -> URL:
        if self._issuer_url is None:
            raise NOT_CONFIGURED.of(self.provider, "make a login", "no issuer is configured")
        return self._issuer_url

    def _parameters(self) -> dict[str, Any]:
        url, address = self._issuer, _address_of(self._issuer)
        return {
            "host": address.host,
            "port": address.port,
            "dbname": address.database,
            "user": url.username,
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": APPLICATION_NAME,
            "options": f"-c statement_timeout={round(self._timeout_seconds * 1000)}",
        }

    @contextmanager
    def _connection(self, operation: str) -> Iterator[Connection]:
        """As the issuer, one statement at a time unless a transaction is opened."""
        parameters: Mapping[str, Any] = {**self._parameters(), **self._issuer.query}
        with self._calls.calling(operation):
            try:
                with psycopg.connect(**parameters, autocommit=True) as connection:
                    yield connection
            except psycopg.Error as error:
                raise self._failure(operation, error) from None

    @contextmanager
    def _changing(self, operation: str, group: str) -> Iterator[Connection]:
        """One transaction, and no other changes the group's roles before it has ended."""
        with self._connection(operation) as connection, connection.transaction():
            _lock_group(connection, group)
            yield connection

    def _failure(self, operation: str, error: psycopg.Error) -> PlatformError:
        said = error.diag.message_primary or str(error) or type(error).__name__
        status = error.sqlstate or NO_STATUS
        return of_error(error).of(self.provider, operation, said, status=status)


def _address_of(url: URL) -> Address:
    return Address(url.host or "", url.port or 5432, url.database or "")


def _logins(connection: Connection, group: str) -> dict[str, LoginRole]:
    query = (
        "SELECT member.rolname, shobj_description(member.oid, 'pg_authid'), member.rolcanlogin"
        " FROM pg_roles AS member"
        " JOIN pg_auth_members AS membership ON membership.member = member.oid"
        " JOIN pg_roles AS role ON role.oid = membership.roleid"
        " WHERE role.rolname = %s AND member.rolname LIKE %s ORDER BY member.rolname"
    )
    pattern = group.replace("_", r"\_") + r"\__"
    rows = connection.execute(query, [group, pattern]).fetchall()
    return {row[0]: _login_of(*row) for row in rows}


def _login_of(name: str, comment: str | None, can_log_in: bool) -> LoginRole:  # noqa: FBT001 - a row
    """What a comment of ours says; another's says nothing."""
    try:
        said = json.loads(comment or "{}")
        marker = Marker(*(str(said.get(key, "")) for key in _MARKER_KEYS))
        version = said.get("version")
    except (ValueError, AttributeError):
        return LoginRole(name, Marker("", "", ""), None, can_log_in)
    return LoginRole(name, marker, version if isinstance(version, int) else None, can_log_in)


_MARKER_KEYS = ("installationId", "entityId", "requestId")


def _lock_group(connection: Connection, group: str) -> None:
    """Until the transaction ends; always before the lock of the database's rights."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [group])


def _version_of(connection: Connection, group: str, role: str) -> int | None:
    login = _logins(connection, group).get(role)
    return None if login is None else login.version


def _comment(connection: Connection, role: str) -> str | None:
    """None when there is no such role."""
    query = (
        "SELECT coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles WHERE rolname = %s"
    )
    row = connection.execute(query, [role]).fetchone()
    return None if row is None else str(row[0])


def _set_comment(connection: Connection, role: str, marker: Marker, version: int | None) -> None:
    said = {
        "installationId": marker.installation_id,
        "entityId": marker.entity_id,
        "requestId": marker.request_id,
        "version": version,
    }
    statement = sql.SQL("COMMENT ON ROLE {} IS {}")
    connection.execute(statement.format(sql.Identifier(role), sql.Literal(json.dumps(said))))


def _ensure_role(connection: Connection, role: str, group: str) -> None:
    if _comment(connection, role) is None:
        _execute(connection, "CREATE ROLE {}", role)
        _execute(connection, "GRANT {} TO {}", group, role)
        _execute(connection, "ALTER ROLE {} SET search_path = {}", role, group)
        _execute(connection, "ALTER ROLE {} SET role = {}", role, group)


def _verifier(connection: Connection, role: str, password: str) -> str:
    """What the server keeps of a password; the password stays on this side."""
    return connection.pgconn.encrypt_password(
        password.encode(), role.encode(), b"scram-sha-256"
    ).decode()


def _execute(connection: Connection, statement: LiteralString, *names: str) -> None:
    """Runs a statement whose placeholders are identifiers."""
    connection.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))
