"""A private PostgreSQL with the platform's own settings, that counts statements."""

from __future__ import annotations

import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from idp_kernel.services import LOOPBACK
from local_stack.passfiles import SUPERUSER, ensure_passfile, passfile_path
from local_stack.postgres_setup import (
    PostgresAddress,
    connect_as_superuser,
    ensure_database,
    ensure_role,
    wait_until_ready,
)
from tests.bench.processes import running
from tests.bench.usage import DatabaseCounts
from tests.fixtures.stack import free_port

READY_SECONDS = 60.0


@dataclass(frozen=True)
class BenchDatabase:
    """An empty database on a server of its own."""

    address: PostgresAddress
    pid: int
    name: str

    def url(self, driver: str) -> str:
        """Of that database for SQLAlchemy, such as `psycopg`; its password is in a file."""
        return self.address.url(self.name, self.name, driver)

    def url_with_password(self, scheme: str = "postgresql") -> str:
        """The same for those that take no password file."""
        password = ensure_passfile(self.address.keys_dir, self.name, self.address.port).password
        return f"{scheme}://{self.name}:{password}@{LOOPBACK}:{self.address.port}/{self.name}"

    @property
    def counts(self) -> DatabaseCounts:
        return superuser_counts(self.address)


def superuser_counts(address: PostgresAddress) -> DatabaseCounts:
    """The statistics of a server of the embedded default."""
    return DatabaseCounts(superuser_conninfo(address, "postgres"))


def superuser_conninfo(address: PostgresAddress, database: str) -> str:
    """How its superuser connects."""
    passfile = passfile_path(address.keys_dir, SUPERUSER)
    return (
        f"host={LOOPBACK} port={address.port} user={SUPERUSER} dbname={database}"
        f" passfile={passfile}"
    )


@contextmanager
def bench_database(folder: Path) -> Iterator[BenchDatabase]:
    """The server runs inside the block."""
    address = PostgresAddress(free_port(), folder / "keys")
    make_counting_cluster(folder / "data", address, folder / "postgres.log")
    with postgres(folder / "data", address, folder / "postgres.log") as pid:
        counts = superuser_counts(address)
        counts.prepare()
        name = f"bench_{secrets.token_hex(4)}"
        passfile = ensure_passfile(address.keys_dir, name, address.port)
        with closing(connect_as_superuser(address, "postgres")) as server:
            ensure_role(server, name, passfile)
            ensure_database(server, name, owner=name)
        yield BenchDatabase(address, pid, name)


def make_counting_cluster(data_dir: Path, address: PostgresAddress, log: Path) -> None:
    """Makes a cluster whose next server counts statements."""
    with postgres(data_dir, address, log), closing(connect_as_superuser(address, "postgres")) as it:
        it.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")


@contextmanager
def postgres(data_dir: Path, address: PostgresAddress, log: Path) -> Iterator[int]:
    """The server, ready; yields its process id."""
    environment = {
        "IDP_POSTGRES_DATA_DIR": str(data_dir),
        "IDP_POSTGRES_PORT": str(address.port),
        "IDP_POSTGRES_KEYS_DIR": str(address.keys_dir),
    }
    command = (sys.executable, "-m", "local_stack.postgres")
    with running(command, environment, log, stop=signal.SIGINT) as process:
        wait_until_ready(address, timeout_seconds=READY_SECONDS).close()
        yield process.pid
