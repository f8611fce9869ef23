"""The broker in PostgreSQL: who waits for a message is told, also after that went away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kombu import transport
from kombu.connection import Connection
from kombu.simple import SimpleQueue
from kombu.transport import TRANSPORT_ALIASES
from sqlalchemy import create_engine, event, text

from idp_dagster import broker
from idp_dagster.broker import QuickTransport, use_quick_transport
from tests.fixtures.stack import PostgresServer

pytestmark = pytest.mark.filterwarnings(
    # kombu's model of a queue uses a loader that SQLAlchemy is about to drop.
    "ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning"
)
AT_ONCE_SECONDS = 15.0
"""Far more than it takes, far less than a wait without being told."""
LONG_SECONDS = 100.0


@pytest.fixture(autouse=True)
def quick_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_transport_cache", {})
    monkeypatch.setitem(TRANSPORT_ALIASES, "sqla", TRANSPORT_ALIASES["sqla"])
    use_quick_transport()


def test_a_message_is_delivered_when_it_is_put_not_when_one_looks(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "LOOK_EVERY_SECONDS", LONG_SECONDS)
    broker_url = f"sqla+{postgres_server.create_database().url}"
    with connected(broker_url) as taking, connected(broker_url) as putting:
        with pytest.raises(taking.Empty):
            taking.get(timeout=0.5)  # from here on it listens
        later = threading.Timer(0.3, putting.put, ["a run"])
        later.start()
        began = time.monotonic()
        assert taking.get(timeout=LONG_SECONDS).payload == "a run"
        assert time.monotonic() - began < AT_ONCE_SECONDS
        later.join()


def test_a_queue_that_was_forgotten_is_made_again(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database().url
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with connected(f"sqla+{url}") as runs, server.connect() as other:
        other.execute(text("DELETE FROM kombu_queue"))
        runs.put("a run")
        assert runs.get(timeout=5).payload == "a run"
    server.dispose()


def test_each_message_is_taken_by_one_and_in_order(postgres_server: PostgresServer) -> None:
    broker_url = f"sqla+{postgres_server.create_database().url}"
    with connected(broker_url) as putting, connected(broker_url) as taking:
        for number in range(4):
            putting.put(number)
        takers = (taking, putting, taking, putting)
        assert [each.get(timeout=5).payload for each in takers] == [0, 1, 2, 3]


def test_to_go_away_between_two_statements_is_a_lost_connection_too(
    postgres_server: PostgresServer,
) -> None:
    """Celery's worker connects anew after that; any other error ends it."""
    url = postgres_server.create_database().url
    server = create_engine(url, isolation_level="AUTOCOMMIT")

    def cut(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FOR UPDATE" in statement:
            pid = connection.connection.dbapi_connection.info.backend_pid
            with server.connect() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})

    with connected(f"sqla+{url}") as runs:
        runs.put(1)
        engine = runs.channel.session.bind
        event.listen(engine, "before_cursor_execute", cut)
        with pytest.raises(QuickTransport.connection_errors):
            runs.get(timeout=5)
        event.remove(engine, "before_cursor_execute", cut)
    with connected(f"sqla+{url}") as runs:
        assert runs.get(timeout=5).payload == 1
    engine.dispose()
    server.dispose()


@contextmanager
def connected(broker_url: str) -> Iterator[Any]:
    connection = Connection(broker_url)  # type: ignore[no-untyped-call]
    with connection, SimpleQueue(connection, "runs", no_ack=True) as runs:  # type: ignore[no-untyped-call]
        yield runs
