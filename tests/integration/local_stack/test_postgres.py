"""PostgreSQL of the embedded default: who may see what, and what a kill leaves."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from sqlalchemy import create_engine, text

from idp_kernel.errors import Unavailable
from idp_kernel.services import LOOPBACK
from local_stack.passfiles import passfile_path
from local_stack.postgres_setup import (
    APPLICATIONS_DATABASE,
    ISSUER_ROLE,
    ROLES,
    SCHEMA_ROLES,
    Connection,
    PostgresAddress,
    ensure_roles_and_databases,
    wait_until_ready,
)
from tests.fixtures.logins import IssuedLogin, Issuer, issuer_of
from tests.fixtures.stack import PostgresServer, child, free_port, private_directory


@pytest.fixture(scope="module")
def platform(postgres_server: PostgresServer) -> PostgresAddress:
    return postgres_server.ensure_platform()


def connect(address: PostgresAddress, role: str, database: str) -> Connection:
    return psycopg.connect(
        host=LOOPBACK,
        port=address.port,
        user=role,
        dbname=database,
        passfile=str(passfile_path(address.keys_dir, role)),
        autocommit=True,
    )


def test_a_fresh_database_is_reached_by_its_url(postgres_server: PostgresServer) -> None:
    database = postgres_server.create_database()
    engine = create_engine(database.url)
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE probe (id int)"))
        assert connection.scalar(text("SELECT current_database()")) == database.name
    engine.dispose()


@pytest.mark.parametrize("role", SCHEMA_ROLES)
def test_each_role_is_at_home_in_its_own_schema(platform: PostgresAddress, role: str) -> None:
    with closing(connect(platform, role, "idp")) as connection:
        assert connection.execute("SELECT current_schema()").fetchone() == (role,)
        connection.execute("CREATE TABLE IF NOT EXISTS home (id int)")


def test_dagster_owns_its_database(platform: PostgresAddress) -> None:
    with closing(connect(platform, "dagster", "dagster")) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS home (id int)")


def test_no_role_reads_the_schema_of_another(platform: PostgresAddress) -> None:
    with closing(connect(platform, "control_plane", "idp")) as owner:
        owner.execute("CREATE TABLE IF NOT EXISTS control_plane.private (id int)")
    with (
        closing(connect(platform, "ledger", "idp")) as stranger,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        stranger.execute("SELECT * FROM control_plane.private")


@pytest.mark.parametrize("role", SCHEMA_ROLES)
def test_nobody_makes_things_in_public(platform: PostgresAddress, role: str) -> None:
    with (
        closing(connect(platform, role, "idp")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("CREATE TABLE public.stray (id int)")


@pytest.mark.parametrize(
    ("role", "database"),
    [
        ("dagster", "idp"),
        ("control_plane", "dagster"),
        ("ledger", "dagster"),
        ("ledger", "postgres"),
        ("dagster", "template1"),
        ("control_plane", "applications"),
        ("ledger", "applications"),
        ("credential_issuer", "idp"),
        ("credential_issuer", "dagster"),
    ],
)
def test_no_role_enters_a_database_of_others(
    platform: PostgresAddress, role: str, database: str
) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        connect(platform, role, database)


def test_without_the_password_nobody_gets_in(platform: PostgresAddress, tmp_path: Path) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(
            host=LOOPBACK,
            port=platform.port,
            user="control_plane",
            dbname="idp",
            passfile=str(tmp_path / "none"),
        )


def test_setup_may_be_repeated_and_keeps_passwords(platform: PostgresAddress) -> None:
    files = [passfile_path(platform.keys_dir, role) for role in ROLES]
    before = [file.read_bytes() for file in files]
    ensure_roles_and_databases(platform)
    assert [file.read_bytes() for file in files] == before
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_lost_password_file_gets_a_new_password(platform: PostgresAddress) -> None:
    lost = passfile_path(platform.keys_dir, "ledger")
    before = lost.read_bytes()
    lost.unlink()
    ensure_roles_and_databases(platform)
    assert lost.read_bytes() != before
    connect(platform, "ledger", "idp").close()


@pytest.fixture
def issuer(platform: PostgresAddress) -> Iterator[Issuer]:
    with issuer_of(platform) as found:
        yield found


@pytest.fixture
def issued(issuer: Issuer) -> IssuedLogin:
    return issuer.issue(issuer.new_group(), "a")


def test_an_issued_login_is_at_home_in_the_schema_of_its_group(issued: IssuedLogin) -> None:
    with closing(issued.log_in()) as connection:
        connection.execute("CREATE TABLE kept (id int)")
        owner = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'kept'")
        assert owner.fetchone() == (issued.group,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE public.stray (id int)")


def test_two_logins_of_a_group_share_what_they_make(issuer: Issuer, issued: IssuedLogin) -> None:
    other = issuer.issue(issued.group, "b")
    with closing(issued.log_in()) as first, closing(other.log_in()) as second:
        first.execute("CREATE TABLE kept (id int)")
        second.execute("ALTER TABLE kept ADD COLUMN more int")
        second.execute("DROP TABLE kept")


def test_the_issuer_sees_and_ends_sessions_and_logins(issuer: Issuer, issued: IssuedLogin) -> None:
    query = "SELECT query FROM pg_stat_activity WHERE usename = %s"
    with closing(issued.log_in()) as connection:
        connection.execute("SELECT 42")
        seen = issuer.connection.execute(query, (issued.role,)).fetchall()
        assert seen == [("SELECT 42",)]
        issuer.end(issued)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 42")
    assert issuer.sessions(issued) == []
    with pytest.raises(psycopg.OperationalError, match="FATAL"):
        issued.log_in()


def test_a_login_without_leave_is_refused_though_its_password_is_right(
    issuer: Issuer, issued: IssuedLogin
) -> None:
    issuer.execute("ALTER ROLE {} NOLOGIN", issued.role)
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        issued.log_in()


def test_the_issuer_gives_an_ended_login_a_new_life(issuer: Issuer, issued: IssuedLogin) -> None:
    issuer.end(issued)
    issuer.execute("ALTER ROLE {} LOGIN", issued.role)
    issuer.execute("COMMENT ON ROLE {} IS 'version 3'", issued.role)
    renewed = replace(issued, password=secrets.token_urlsafe(16))
    issuer.set_password(renewed)
    renewed.log_in().close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        issued.log_in()
    comment = issuer.connection.execute(
        "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s",
        (issued.role,),
    )
    assert comment.fetchone() == ("version 3",)


def test_the_issuer_takes_everything_back(issuer: Issuer, issued: IssuedLogin) -> None:
    with closing(issued.log_in()) as connection:
        connection.execute("CREATE TABLE kept (id int)")
    issuer.execute("DROP ROLE {}", issued.role)
    issuer.execute("DROP SCHEMA {} CASCADE", issued.group)
    issuer.execute("REVOKE ALL ON DATABASE {} FROM {}", APPLICATIONS_DATABASE, issued.group)
    issuer.execute("DROP ROLE {}", issued.group)


def test_repeating_the_setup_leaves_issued_logins_alone(
    platform: PostgresAddress, issued: IssuedLogin
) -> None:
    ensure_roles_and_databases(platform)
    issued.log_in().close()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER ROLE control_plane PASSWORD NULL",
        "ALTER ROLE postgres PASSWORD NULL",
        "GRANT ledger TO credential_issuer",
        "GRANT pg_read_server_files TO credential_issuer",
        "ALTER ROLE credential_issuer SUPERUSER",
        "CREATE ROLE stray SUPERUSER",
        "CREATE DATABASE stray",
        "CREATE TABLE public.stray (id int)",
    ],
)
def test_the_issuer_reaches_no_further(issuer: Issuer, statement: LiteralString) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        issuer.execute(statement)


@pytest.mark.usefixtures("issued")
def test_the_issuer_owns_nothing(platform: PostgresAddress) -> None:
    with closing(wait_until_ready(platform, timeout_seconds=60)) as server:
        owned = "SELECT 1 FROM pg_database WHERE pg_get_userbyid(datdba) = %s"
        assert server.execute(owned, (ISSUER_ROLE,)).fetchone() is None
        anything = "SELECT 1 FROM pg_shdepend WHERE deptype = 'o' AND refobjid = %s::regrole"
        assert server.execute(anything, (ISSUER_ROLE,)).fetchone() is None


def test_the_server_is_durable_and_only_on_loopback(postgres_server: PostgresServer) -> None:
    with closing(wait_until_ready(postgres_server.address, timeout_seconds=60)) as connection:
        for name, value in (
            ("fsync", "on"),
            ("synchronous_commit", "on"),
            ("full_page_writes", "on"),
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", ""),
            ("max_connections", "200"),
        ):
            query = "SELECT setting FROM pg_settings WHERE name = %s"
            assert connection.execute(query, (name,)).fetchone() == (value,)


def test_waiting_for_no_server_ends_with_an_error(tmp_path: Path) -> None:
    address = PostgresAddress(free_port(), tmp_path)
    with pytest.raises(Unavailable, match="was not ready"):
        wait_until_ready(address, timeout_seconds=0.1)


BUSY_STATEMENT = "SELECT count(*) FROM generate_series(1, 1000000000)"
IS_BUSY = "SELECT 1 FROM pg_stat_activity WHERE query = %s AND state = 'active'"


@contextmanager
def own_server(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        "IDP_POSTGRES_DATA_DIR": str(home / "data"),
        "IDP_POSTGRES_PORT": str(port),
        "IDP_POSTGRES_KEYS_DIR": str(home / "keys"),
    }
    with child("local_stack.postgres", environment, home, stop=signal.SIGINT) as process:
        yield process


def test_committed_rows_survive_a_kill_in_the_middle_of_a_statement() -> None:
    with private_directory("idp-postgres-") as home:
        port = free_port()
        address = PostgresAddress(port, home / "keys")
        with own_server(home, port) as first, ThreadPoolExecutor(1) as pool:
            connection = wait_until_ready(address, timeout_seconds=60)
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
            with closing(wait_until_ready(address, timeout_seconds=60)) as observer:
                statement = pool.submit(connection.execute, BUSY_STATEMENT)
                while not observer.execute(IS_BUSY, (BUSY_STATEMENT,)).fetchone():
                    pass
            first.kill()
            first.wait()
            with own_server(home, port):
                with closing(wait_until_ready(address, timeout_seconds=30)) as again:
                    assert again.execute("SELECT answer FROM kept").fetchone() == (42,)
                with pytest.raises(psycopg.OperationalError):
                    statement.result()
        connection.close()


def test_a_pid_file_that_names_a_foreign_process_is_no_obstacle() -> None:
    with private_directory("idp-postgres-") as home:
        port = free_port()
        address = PostgresAddress(port, home / "keys")
        with own_server(home, port) as first:
            wait_until_ready(address, timeout_seconds=60).close()
            first.kill()
            first.wait()
        pid_file = home / "data" / "cluster" / "postmaster.pid"
        with process_of(pid_file.stat().st_uid) as foreign:
            _, *rest = pid_file.read_text(encoding="utf-8").splitlines()
            pid_file.write_text("\n".join([str(foreign.pid), *rest, ""]), encoding="utf-8")
            with own_server(home, port):
                wait_until_ready(address, timeout_seconds=30).close()


@contextmanager
def process_of(uid: int) -> Iterator[subprocess.Popen[bytes]]:
    """Some other program that the server's account runs."""
    user = uid if os.geteuid() == 0 else None
    command = [shutil.which("cat") or "/bin/cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, user=user) as process:
        yield process
        process.kill()
