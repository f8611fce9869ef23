"""A PostgreSQL that a test may kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_stack.postgres_setup import PostgresAddress, wait_until_ready
from tests.fixtures.stack import AT_ONCE, FreshDatabase, PostgresServer, child
from tests.integration.control_plane.conftest import new_database


@dataclass
class OwnPostgres:
    """A server of this test alone, which it may kill."""

    home: Path
    port: int

    @contextmanager
    def running(self) -> Iterator[Callable[[], None]]:
        """The server while the block lasts; answers what kills it."""
        environment = {
            "IDP_POSTGRES_DATA_DIR": str(self.home / "data"),
            "IDP_POSTGRES_PORT": str(self.port),
            "IDP_POSTGRES_KEYS_DIR": str(self.home / "keys"),
        }
        with child("local_stack.postgres", environment, self.home, stop=AT_ONCE) as process:
            wait_until_ready(self.address, timeout_seconds=60).close()

            def kill() -> None:
                process.kill()
                process.wait()

            self.pid = process.pid
            yield kill

    @property
    def address(self) -> PostgresAddress:
        return PostgresAddress(self.port, self.home / "keys")

    def new_database(self) -> FreshDatabase:
        """A database of the control plane in it, while it runs."""
        return new_database(PostgresServer(self.address, self.pid))
