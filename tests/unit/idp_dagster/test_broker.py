"""The broker over SQL, quick and tidy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kombu import transport
from kombu.connection import Connection
from kombu.simple import SimpleQueue
from kombu.transport import TRANSPORT_ALIASES
from sqlalchemy import create_engine, text

from idp_dagster.broker import POLLING_INTERVAL_SECONDS, use_quick_transport

pytestmark = pytest.mark.filterwarnings(
    # kombu's model of a queue uses a loader that SQLAlchemy is about to drop.
    "ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning"
)


@pytest.fixture
def broker_url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    # What this process resolved before is remembered there.
    monkeypatch.setattr(transport, "_transport_cache", {})
    monkeypatch.setitem(TRANSPORT_ALIASES, "sqla", TRANSPORT_ALIASES["sqla"])
    use_quick_transport()
    return f"sqla+sqlite:///{tmp_path}/broker.db"


def test_it_looks_ten_times_a_second(broker_url: str) -> None:
    with Connection(broker_url) as connection:  # type: ignore[no-untyped-call]
        assert connection.transport.polling_interval == POLLING_INTERVAL_SECONDS == 0.1


def test_what_is_delivered_is_gone_and_in_order(broker_url: str) -> None:
    with connected(broker_url) as runs:
        for number in range(3):
            runs.put(number)
        assert [runs.get(timeout=5).payload for _ in range(2)] == [0, 1]
        assert kept(broker_url) == 1
        assert runs.get(timeout=5).payload == 2
    assert kept(broker_url) == 0


@contextmanager
def connected(broker_url: str) -> Iterator[Any]:
    connection = Connection(broker_url)  # type: ignore[no-untyped-call]
    with connection, SimpleQueue(connection, "runs", no_ack=True) as runs:  # type: ignore[no-untyped-call]
        yield runs


def kept(broker_url: str) -> int:
    engine = create_engine(broker_url.removeprefix("sqla+"))
    try:
        with engine.connect() as connection:
            count = connection.execute(text("SELECT count(*) FROM kombu_message"))
            return int(count.scalar_one())
    finally:
        engine.dispose()
