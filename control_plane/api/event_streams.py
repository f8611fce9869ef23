"""The answer that goes on: a server-sent stream that nobody can hold up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Message as AsgiMessage
from starlette.types import Send

from control_plane.api.subscriptions import Subscription
from idp_kernel.errors import Unavailable
from idp_kernel.http.event_stream import EVENT_STREAM, HEARTBEAT_SECONDS, Message, comment, encoded
from idp_kernel.wire.base import WireModel

TAKES_WITHIN_SECONDS: Final = 15.0
"""Whoever takes nothing for so long is cut off, and goes on by id."""
_HEARTBEAT: Final = comment("still here")
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""No cache keeps it, and no proxy holds it back."""
_log = structlog.get_logger(__name__)


class _StopsTaking(Exception):
    """The reader does not take what is sent."""


class EventStreamResponse(StreamingResponse):
    """Sends what the generator yields, with heartbeats while it yields nothing, whatever it waits
    for; ends with it, and closes it however the sending ends.
    """

    media_type = EVENT_STREAM

    def __init__(self, messages: AsyncGenerator[bytes]) -> None:
        self._messages = _kept_alive(_until_unavailable(messages))
        super().__init__(self._messages, headers=_HEADERS)

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._messages):
            try:
                await super().stream_response(_in_time(send))
            except _StopsTaking:
                _log.warning("watcher_cut_off", takes_nothing_for_seconds=TAKES_WITHIN_SECONDS)


async def sent_by(subscription: Subscription) -> AsyncGenerator[bytes]:
    """All that is put there, and in the end why it ended."""
    while (messages := await subscription.next()) is not None:
        yield messages
    yield comment(str(subscription.ending))


def described(message: Message, model: type[WireModel], description: str) -> dict[str, Any]:
    """A stream in the API's description: a text, with the schema of what its `data` lines hold."""
    schema = {
        "type": "string",
        "contentMediaType": EVENT_STREAM,
        "contentSchema": {"$ref": f"#/components/schemas/{model.__name__}"},
    }
    content = {"schema": schema, "example": encoded(message).decode()}
    headers = {name: {"schema": {"const": value}} for name, value in _HEADERS.items()}
    return {"description": description, "headers": headers, "content": {EVENT_STREAM: content}}


async def _until_unavailable(messages: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """The status has been sent by then: the reader goes on by id once there is a database."""
    try:
        async with aclosing(messages):
            async for each in messages:
                yield each
    except Unavailable as error:
        yield comment(error.message)


async def _kept_alive(messages: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Every message, and a heartbeat whenever none comes for a while."""
    coming = asyncio.create_task(_next(messages))
    try:
        while True:
            if not (await asyncio.wait({coming}, timeout=HEARTBEAT_SECONDS))[0]:
                yield _HEARTBEAT
            elif (message := coming.result()) is None:
                return
            else:
                yield message
                coming = asyncio.create_task(_next(messages))
    finally:
        # What still waits ends by being cancelled, and cannot be closed meanwhile.
        if not coming.cancel():
            await messages.aclose()


async def _next(messages: AsyncGenerator[bytes]) -> bytes | None:
    return await anext(messages, None)


def _in_time(send: Send) -> Send:
    async def send_in_time(message: AsgiMessage) -> None:
        try:
            async with asyncio.timeout(TAKES_WITHIN_SECONDS):
                await send(message)
        except TimeoutError as error:
            raise _StopsTaking from error

    return send_in_time
