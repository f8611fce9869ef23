"""What the platform tells as it happens, whatever cuts the connection in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from idp_cli.api import Api
from idp_kernel.errors import PlatformError, Unavailable
from idp_kernel.http.event_stream import Message
from idp_kernel.wire.base import WireModel

SILENCE_SECONDS = 60.0
"""How long the platform may not answer before watching ends."""
RESUME_AFTER_SECONDS = 1.0

Item = TypeVar("Item", bound=WireModel)


def streamed(
    api: Api,
    path: str,
    item: type[Item],
    query: Mapping[str, str | int] | None = None,
    *,
    after: str | None = None,
    tell: Callable[[Message], None] | None = None,
) -> Iterator[Item]:
    """Each item of a stream once, after the message `after`; a stream that is cut is resumed.
    Messages of another type are no items: they go to `tell`.

    Raises `Unavailable` when nothing answered for a minute, and at once what else stands against
    it; see `is_not_offered` for a server that has no such stream.
    """
    answered_at = time.monotonic()
    while True:
        try:
            with api.stream(path, query, after=after) as messages:
                for message in _until_cut(messages):
                    after = message.id
                    if message.type:
                        if tell is not None:
                            tell(message)
                    elif message.data:
                        yield item.model_validate_json(message.data)
            answered_at = time.monotonic()
        except Unavailable:
            if time.monotonic() - answered_at > SILENCE_SECONDS:
                raise
        time.sleep(RESUME_AFTER_SECONDS)


def is_not_offered(error: PlatformError) -> bool:
    """Whether the server is an older one, without streams."""
    return error.code == "no_such_route"


def _until_cut(messages: Iterator[Message]) -> Iterator[Message]:
    try:
        yield from messages
    except Unavailable:
        return  # the next connection goes on after the last message, or says what is wrong
