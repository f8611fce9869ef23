"""The exporter's answer while Dagster's database, a real PostgreSQL, refuses or hangs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from socket import IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, TCP_KEEPIDLE, TCP_USER_TIMEOUT, socket
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from idp_dagster.exporter import exporter
from idp_dagster.health import engine_health
from idp_dagster.news import NOTICES_AN_END
from idp_dagster.storage import pooled_engine
from idp_kernel.clock import SystemClock
from idp_kernel.errors import Unavailable
from idp_kernel.wire.metrics import MetricsProjection
from local_stack.postgres_setup import connect_as_superuser
from observability.prometheus import SCRAPE_TIMEOUT_SECONDS
from tests.fixtures.stack import PostgresServer
from tests.integration.idp_dagster.storage import DagsterStorage

HANGS_FOR_SECONDS = SCRAPE_TIMEOUT_SECONDS + 5
"""Then PostgreSQL itself ends what the database hangs on."""
AGAIN_WITHIN_SECONDS = 60.0


@pytest.fixture
def client(storage: DagsterStorage) -> TestClient:
    """The exporter without a control plane."""

    def away() -> MetricsProjection:
        raise Unavailable("not asked for here")

    def health() -> Any:
        return engine_health(storage.instance, datetime.now(UTC))

    return TestClient(exporter(away, health, SystemClock(), env="test"))


def is_up(client: TestClient) -> bool:
    """What a scrape says of Dagster's storage."""
    shown = client.get("/metrics").text.splitlines()
    (line,) = [each for each in shown if each.startswith("dagster_instance_up ")]
    return line.endswith(" 1.0")


def assert_is_told_to_be_away(client: TestClient) -> None:
    """Each time in time: the first finds a connection that was cut, the next one none at all."""
    for _ in range(3):
        began = time.monotonic()
        assert not is_up(client)
        assert time.monotonic() - began < SCRAPE_TIMEOUT_SECONDS


def assert_comes_back(client: TestClient) -> None:
    give_up_at = time.monotonic() + AGAIN_WITHIN_SECONDS
    while not is_up(client):
        assert time.monotonic() < give_up_at


@contextmanager
def locked_out(storage: DagsterStorage, server: PostgresServer) -> Iterator[None]:
    role = storage.engine.url.username
    with closing(connect_as_superuser(server.address, "postgres")) as connection:
        connection.execute(f'ALTER ROLE "{role}" NOLOGIN'.encode())
        try:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (role,)
            )
            yield
        finally:
            connection.execute(f'ALTER ROLE "{role}" LOGIN'.encode())


@contextmanager
def locked(storage: DagsterStorage, table: str) -> Iterator[None]:
    with storage.engine.connect() as connection:
        connection.execute(
            text(f"SET LOCAL idle_in_transaction_session_timeout = '{HANGS_FOR_SECONDS}s'")
        )
        connection.execute(text(f"LOCK TABLE {table}"))
        yield


@pytest.mark.timeout(180)
def test_a_database_that_lets_it_in_no_more_is_told_in_time(
    storage: DagsterStorage, client: TestClient, postgres_server: PostgresServer
) -> None:
    assert_comes_back(client)
    with locked_out(storage, postgres_server):
        assert_is_told_to_be_away(client)
    assert_comes_back(client)


@pytest.mark.timeout(180)
def test_a_database_that_hangs_is_told_in_time(storage: DagsterStorage, client: TestClient) -> None:
    assert_comes_back(client)
    with locked(storage, "runs"):
        assert_is_told_to_be_away(client)
    assert_comes_back(client)


def test_a_server_that_went_without_a_word_is_missed(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database().url.replace("+psycopg:", "+psycopg2:")
    with pooled_engine(url, os.getpid()).connect() as connection:
        descriptor = connection.connection.dbapi_connection.fileno()  # type: ignore[union-attr]
        with socket(fileno=os.dup(descriptor)) as used:
            assert used.getsockopt(SOL_SOCKET, SO_KEEPALIVE)
            assert used.getsockopt(IPPROTO_TCP, TCP_KEEPIDLE) == NOTICES_AN_END["keepalives_idle"]
            kept = used.getsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT)
            assert kept == NOTICES_AN_END["tcp_user_timeout"]
