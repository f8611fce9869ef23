"""Roles and databases of the platform: `python -m local_stack.postgres_setup`.

Each service has a role of its own and sees nothing of the others: `control_plane` and `ledger`
share the database `idp`, each with a schema of its name; `dagster` has the database `dagster`.
`credential_issuer` makes the applications' logins and schemas in the database `applications` and
owns nothing there itself. Repeating it changes nothing; a lost password file gets a new password.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, LiteralString
from urllib.parse import quote

import psycopg
from psycopg import sql

from idp_kernel.errors import PlatformError, Unavailable
from idp_kernel.services import LOOPBACK
from idp_kernel.settings import read_settings
from local_stack.passfiles import SUPERUSER, Passfile, ensure_passfile, passfile_path
from local_stack.store_settings import PostgresSetupSettings

PLATFORM_DATABASE = "idp"
DAGSTER_DATABASE = "dagster"
SCHEMA_ROLES = ("control_plane", "ledger")
"""Roles with a schema of their name in the platform's database."""
DAGSTER_ROLE = "dagster"
APPLICATIONS_DATABASE = "applications"
"""Where the applications' own data is, a schema for each login."""
ISSUER_ROLE = "credential_issuer"
"""Makes and ends the applications' logins, for execution-workers."""
ROLES = (*SCHEMA_ROLES, DAGSTER_ROLE, ISSUER_ROLE)

READY_TIMEOUT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True)
class PostgresAddress:
    """A local server and the directory with its passwords."""

    port: int
    keys_dir: Path

    def url(self, role: str, database: str, driver: str = "psycopg") -> str:
        """A SQLAlchemy URL that names the role's password file and holds no secret."""
        where = f"{LOOPBACK}:{self.port}/{database}"
        passfile = quote(str(passfile_path(self.keys_dir, role)))
        return f"postgresql+{driver}://{role}@{where}?passfile={passfile}"


def main() -> None:
    """Set up the server that the environment names."""
    settings = read_settings(PostgresSetupSettings)
    address = PostgresAddress(settings.port, settings.keys_dir.absolute())
    try:
        ensure_roles_and_databases(address)
    except PlatformError as error:
        raise SystemExit(error.message) from error
    sys.stdout.write(f"PostgreSQL on port {settings.port}: roles and databases are in place\n")


def ensure_roles_and_databases(
    address: PostgresAddress, *, timeout_seconds: float = READY_TIMEOUT_SECONDS
) -> None:
    """Bring roles, passwords, databases, schemas and rights to what the platform needs.

    Waits for the server first; raises `Unavailable` when it is not ready in time.
    """
    with closing(wait_until_ready(address, timeout_seconds=timeout_seconds)) as server:
        for database in ("postgres", "template1"):
            _close_database(server, database)
        for role in ROLES:
            passfile = ensure_passfile(address.keys_dir, role, address.port)
            ensure_role(server, role, passfile, makes_roles=role == ISSUER_ROLE)
        ensure_database(server, PLATFORM_DATABASE, owner=SUPERUSER)
        ensure_database(server, DAGSTER_DATABASE, owner=DAGSTER_ROLE)
        ensure_database(server, APPLICATIONS_DATABASE, owner=SUPERUSER)
        _enable_issuer(server)
    with closing(connect_as_superuser(address, PLATFORM_DATABASE)) as platform:
        _execute(platform, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
        for role in SCHEMA_ROLES:
            _ensure_schema(platform, role)
    with closing(connect_as_superuser(address, APPLICATIONS_DATABASE)) as applications:
        _execute(applications, "REVOKE ALL ON SCHEMA public FROM PUBLIC")


def wait_until_ready(address: PostgresAddress, *, timeout_seconds: float) -> Connection:
    """The first superuser connection the server accepts; `Unavailable` after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            return connect_as_superuser(address, "postgres")
        except (psycopg.OperationalError, FileNotFoundError) as error:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"PostgreSQL on port {address.port} was not ready after "
                    f"{timeout_seconds:g} s: {error}. Look at its log.",
                    code="postgres_not_ready",
                ) from error
        time.sleep(_POLL_SECONDS)


def connect_as_superuser(address: PostgresAddress, database: str) -> Connection:
    """An autocommit connection; the password comes from the superuser's file."""
    if not passfile_path(address.keys_dir, SUPERUSER).exists():
        raise FileNotFoundError(f"no superuser password below {address.keys_dir} yet")
    passfile = ensure_passfile(address.keys_dir, SUPERUSER, address.port)
    return psycopg.connect(
        host=LOOPBACK,
        port=address.port,
        user=SUPERUSER,
        dbname=database,
        passfile=str(passfile.path),
        connect_timeout=5,
        autocommit=True,
    )


def ensure_role(
    server: Connection, role: str, passfile: Passfile, *, makes_roles: bool = False
) -> None:
    """A role with the password of its file that can log in and, at most, make other roles."""
    if not _exists(server, "SELECT 1 FROM pg_roles WHERE rolname = %s", role):
        _execute(server, "CREATE ROLE {}", role)
    # The server gets the SCRAM verifier only; the password stays on this side.
    verifier = server.pgconn.encrypt_password(
        passfile.password.encode(), role.encode(), b"scram-sha-256"
    )
    statement = sql.SQL(
        "ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOREPLICATION NOBYPASSRLS {} PASSWORD {}"
    )
    attribute = sql.SQL("CREATEROLE" if makes_roles else "NOCREATEROLE")
    password = sql.Literal(verifier.decode())
    server.execute(statement.format(sql.Identifier(role), attribute, password))


def ensure_database(server: Connection, database: str, *, owner: str) -> None:
    """A database that only its owner, and whom it is granted to, can connect to."""
    if not _exists(server, "SELECT 1 FROM pg_database WHERE datname = %s", database):
        _execute(server, "CREATE DATABASE {} OWNER {} TEMPLATE template0", database, owner)
    _close_database(server, database)


def _close_database(server: Connection, database: str) -> None:
    _execute(server, "REVOKE ALL ON DATABASE {} FROM PUBLIC", database)


def _enable_issuer(server: Connection) -> None:
    """What the issuer needs to make a group with a schema and logins, and to end their sessions.

    Of roles it did not make it can change none, and end no session.
    """
    database, role = APPLICATIONS_DATABASE, ISSUER_ROLE
    _execute(server, "GRANT CONNECT ON DATABASE {} TO {} WITH GRANT OPTION", database, role)
    _execute(server, "GRANT CREATE ON DATABASE {} TO {}", database, role)
    # An elder setup gave these; it needs neither for the sessions of roles that it made.
    _execute(server, "REVOKE pg_signal_backend, pg_read_all_stats FROM {}", role)
    # Whoever makes a role may manage it, but acts as it, to give it a schema, only by this.
    _execute(server, "ALTER ROLE {} SET createrole_self_grant = 'set, inherit'", role)


def _ensure_schema(platform: Connection, role: str) -> None:
    """The role's schema in the platform's database, and the role at home in it."""
    _execute(platform, "GRANT CONNECT ON DATABASE {} TO {}", PLATFORM_DATABASE, role)
    _execute(platform, "CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}", role, role)
    _execute(platform, "REVOKE ALL ON SCHEMA {} FROM PUBLIC", role)
    _execute(
        platform, "ALTER ROLE {} IN DATABASE {} SET search_path = {}", role, PLATFORM_DATABASE, role
    )


def _exists(server: Connection, query: LiteralString, name: str) -> bool:
    return server.execute(query, (name,)).fetchone() is not None


def _execute(server: Connection, statement: LiteralString, *names: str) -> None:
    """Run a statement whose placeholders are identifiers."""
    server.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))


if __name__ == "__main__":
    main()
