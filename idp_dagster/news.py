"""Waits that end as soon as somebody says that there is something to do: PostgreSQL's `NOTIFY`."""

from __future__ import annotations

import time
from typing import Any, cast

import psycopg
import structlog
from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import make_url

DRIVER = "postgresql+psycopg"
"""The driver that can wait; the URLs of the same database for others say others."""

NOTICES_AN_END = {
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""Of a connection: who waits for a server that went without a word hears of that within a minute,
whether it only listens or has asked. In seconds, the last in milliseconds.
"""

AWAY_SECONDS = 2.0
"""How long whoever waits rests while the database is away."""

_log = structlog.get_logger(__name__)


class News:
    """What is told on a channel of a database, heard on a connection of its own.

    Told between two waits, it ends the second at once. While the database is away, a wait lasts no
    longer than `AWAY_SECONDS`: whoever waits looks for itself then.
    """

    def __init__(self, url: str, channel: str) -> None:
        self._engine = create_engine(
            make_url(url).set(drivername=DRIVER), poolclass=NullPool, connect_args=NOTICES_AN_END
        )
        self._channel = channel
        self._connection: psycopg.Connection[Any] | None = None

    def wait(self, seconds: float) -> bool:
        """Until something is told, but no longer than `seconds`; answers whether it was."""
        began = time.monotonic()
        try:
            connection = self._connection or self._connected()
            return any(True for _ in connection.notifies(timeout=seconds, stop_after=1))
        except psycopg.Error as error:
            _log.warning("news_not_heard", channel=self._channel, detail=str(error))
            self.close()
            left = seconds - (time.monotonic() - began)
            time.sleep(max(0.0, min(left, AWAY_SECONDS)))
            return False

    def close(self) -> None:
        """Ends the connection; a further wait makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection[Any]:
        """One that listens. What was told before nobody heard: the wait that follows is none."""
        pooled = self._engine.raw_connection()
        connection = cast("psycopg.Connection[Any]", pooled.driver_connection)
        pooled.detach()
        connection.autocommit = True
        connection.execute(f'LISTEN "{self._channel}"')
        connection.execute(f'NOTIFY "{self._channel}"')
        self._connection = connection
        return connection
