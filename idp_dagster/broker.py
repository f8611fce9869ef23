"""PostgreSQL as Celery's broker, quick and tidy.

kombu's transport looks once a second and keeps each message it has delivered; neither is a
setting. This one hears of each message by `NOTIFY`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.sqlalchemy import Channel, Transport
from sqlalchemy import text
from sqlalchemy.exc import (
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
)
from sqlalchemy.orm import Session

from idp_dagster.news import News

POLLING_INTERVAL_SECONDS = 0.1
"""How often it looks where nobody tells: on another database, and while it may take no message."""
LOOK_EVERY_SECONDS = 2.0
"""How often it looks for what was not told."""
MESSAGES_CHANNEL = "idp_messages"
"""Of `NOTIFY`: a message was put."""


_PUT = text(f"""
    WITH put AS (
        INSERT INTO kombu_message (id, visible, payload, version, queue_id)
        SELECT nextval('message_id_sequence'), true, :payload, 1, id
        FROM kombu_queue WHERE name = :queue
        RETURNING id
    )
    SELECT pg_notify('{MESSAGES_CHANNEL}', '') FROM put
""")  # noqa: S608 - the channel above
_TAKE = text("""
    DELETE FROM kombu_message WHERE id = (
        SELECT message.id
        FROM kombu_message message JOIN kombu_queue queue ON queue.id = message.queue_id
        WHERE queue.name = :queue AND message.visible
        ORDER BY message.id LIMIT 1
        FOR UPDATE OF message SKIP LOCKED
    )
    RETURNING payload
""")


class TidyChannel(Channel):
    """Tells of what is put, and deletes what is delivered; nothing is ever delivered twice.

    In PostgreSQL each is one statement on the base's tables, where the base takes five.
    """

    def _put(self, queue: str, payload: Any, **options: Any) -> None:  # type: ignore[override]  # kombu's bases differ among themselves
        if not self._is_postgresql:
            super()._put(queue, payload, **options)  # type: ignore[no-untyped-call]
            return
        named = {"queue": queue, "payload": json.dumps(payload)}
        with self._committed() as session:
            if session.execute(_PUT, named).first() is None:
                self._new_queue(queue)  # type: ignore[no-untyped-call]
                session.execute(_PUT, named)

    def _get(self, queue: str, timeout: float | None = None) -> Any:  # noqa: ARG002 - of the base
        if not self._is_postgresql:
            return self._got_by_base(queue)
        with self._committed() as session:
            payload = session.execute(_TAKE, {"queue": queue}).scalar_one_or_none()
        if payload is None:
            raise Empty
        return json.loads(payload)

    def news(self) -> News | None:
        """Of the database the messages are in; none of one that tells nothing."""
        return News(self.session.bind.url, MESSAGES_CHANNEL) if self._is_postgresql else None

    @property
    def _is_postgresql(self) -> bool:
        return bool(self.session.bind.name == "postgresql")

    @contextmanager
    def _committed(self) -> Iterator[Session]:
        """A transaction of the channel's session."""
        session: Session = self.session
        try:
            yield session
            session.commit()
        except SQLAlchemyError:
            session.rollback()
            raise

    def _got_by_base(self, queue: str) -> Any:
        message = super()._get(queue)  # type: ignore[no-untyped-call]
        self.session.query(self.message_cls).filter(self.message_cls.visible.is_(False)).delete()
        self.session.commit()
        return message


class QuickTransport(Transport):
    """Looks for messages as soon as it is told that there is one."""

    Channel = TidyChannel
    polling_interval = POLLING_INTERVAL_SECONDS
    connection_errors: tuple[type[Exception], ...] = (  # type: ignore[assignment] # kombu knows one
        OperationalError, InterfaceError, PendingRollbackError,
    )  # fmt: skip
    """Celery connects anew after these, and ends after others. The last is what kombu's session
    says at its end when the database went away between two statements.
    """
    _news: News | None = None

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:  # type: ignore[override]  # noqa: ARG002 - kombu's bases differ among themselves
        """Delivers one message; raises `TimeoutError` when none came in time."""
        give_up_at = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                self.cycle.get(self._deliver, timeout=timeout)  # type: ignore[union-attr]  # set by the base
            except Empty:
                if give_up_at is not None and time.monotonic() >= give_up_at:
                    raise TimeoutError from None
                left = None if give_up_at is None else give_up_at - time.monotonic()
                self._rest(left)
            else:
                return

    def close_connection(self, connection: Any) -> None:
        if self._news is not None:
            self._news.close()
            self._news = None
        super().close_connection(connection)  # type: ignore[no-untyped-call]

    def _rest(self, left: float | None) -> None:
        channels = self.channels
        may_take = bool(channels) and all(each.qos.can_consume() for each in channels)
        if may_take and self._news is None:
            self._news = channels[0].news()
        news = self._news if may_take else None
        seconds = LOOK_EVERY_SECONDS if news is not None else POLLING_INTERVAL_SECONDS
        seconds = seconds if left is None else max(0.0, min(seconds, left))
        if news is None:
            time.sleep(seconds)
        else:
            news.wait(seconds)


def use_quick_transport() -> None:
    """From here on `sqla+…` broker URLs of this process mean `QuickTransport`."""
    TRANSPORT_ALIASES["sqla"] = f"{__name__}:{QuickTransport.__name__}"
