"""The broker in PostgreSQL, when that goes away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kombu import transport
from kombu.connection import Connection
from kombu.simple import SimpleQueue
from kombu.transport import TRANSPORT_ALIASES
from sqlalchemy import create_engine, event, text

from idp_dagster.broker import QuickTransport, use_quick_transport
from tests.fixtures.stack import PostgresServer

pytestmark = pytest.mark.filterwarnings(
    # kombu's model of a queue uses a loader that SQLAlchemy is about to drop.
    "ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning"
)


def test_to_go_away_between_two_statements_is_a_lost_connection_too(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery's worker connects anew after that; any other error ends it."""
    monkeypatch.setattr(transport, "_transport_cache", {})
    monkeypatch.setitem(TRANSPORT_ALIASES, "sqla", TRANSPORT_ALIASES["sqla"])
    use_quick_transport()
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
