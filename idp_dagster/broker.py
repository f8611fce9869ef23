"""PostgreSQL as Celery's broker, quick and tidy.

kombu's transport looks once a second and keeps each message it has delivered; neither is a
setting. This one hears of each message by `NOTIFY`.
"""

from __future__ import annotations

import time
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.sqlalchemy import Channel, Transport
from sqlalchemy import text
from sqlalchemy.exc import InterfaceError, OperationalError, PendingRollbackError

from idp_dagster.news import News

POLLING_INTERVAL_SECONDS = 0.1
"""How often it looks where nobody tells: on another database, and while it may take no message."""
LOOK_EVERY_SECONDS = 2.0
"""How often it looks for what was not told."""
MESSAGES_CHANNEL = "idp_messages"
"""Of `NOTIFY`: a message was put."""


class TidyChannel(Channel):
    """Tells of what is put, and deletes what was delivered; nothing is ever delivered twice."""

    def _put(self, queue: str, payload: Any, **options: Any) -> None:  # type: ignore[override]  # kombu's bases differ among themselves
        if self.session.bind.name == "postgresql":
            # Heard when the base commits, together with the message.
            self.session.execute(text(f"NOTIFY {MESSAGES_CHANNEL}"))
        super()._put(queue, payload, **options)  # type: ignore[no-untyped-call]

    def _get(self, queue: str, timeout: float | None = None) -> Any:  # noqa: ARG002 - of the base
        message = super()._get(queue)  # type: ignore[no-untyped-call]
        self.session.query(self.message_cls).filter(self.message_cls.visible.is_(False)).delete()
        self.session.commit()
        return message

    def news(self) -> News | None:
        """Of the database the messages are in; none of one that tells nothing."""
        engine = self.session.bind
        if engine.name != "postgresql":
            return None
        return News(engine.url, MESSAGES_CHANNEL)


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
