"""Server-sent streams (`text/event-stream`, section 9.2 of the HTML standard), written and read.

A reader who was cut off names the last id it saw, and the stream goes on after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

EVENT_STREAM = "text/event-stream"
LAST_EVENT_ID = "Last-Event-ID"
HEARTBEAT_SECONDS = 15.0
"""A server that has nothing to tell says so after this while."""


@dataclass(frozen=True)
class Message:
    """What a stream tells, and where it then stands; without data it only says that."""

    id: str
    data: str = ""
    type: str = ""
    """What kind of thing is told; the usual one of the stream has no name."""


def encoded(message: Message) -> bytes:
    """The message as it is sent. No part may hold a line break; JSON on one line has none."""
    data = f"data: {message.data}\n" if message.data else ""
    type_ = f"event: {message.type}\n" if message.type else ""
    return f"id: {message.id}\n{type_}{data}\n".encode()


def comment(text: str) -> bytes:
    """What readers pass over; it shows that the connection lives, and people what goes on."""
    return f": {text}\n\n".encode()


def pause_before_resuming(seconds: float) -> bytes:
    """How long a reader waits before it connects again."""
    return f"retry: {round(seconds * 1000)}\n\n".encode()


def messages_in(chunks: Iterable[bytes]) -> Iterator[Message]:
    """The messages of a stream, each when it is whole; what was cut off within is none."""
    rest, id_, told_id, type_, data = b"", "", "", "", list[str]()
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            field, _, value = line.rstrip(b"\r").decode().partition(":")
            if field == "id":
                id_ = value.removeprefix(" ")
            elif field == "event":
                type_ = value.removeprefix(" ")
            elif field == "data":
                data.append(value.removeprefix(" "))
            elif not line.rstrip(b"\r"):
                if data or id_ != told_id:
                    yield Message(id_, "\n".join(data), type_)
                told_id, type_, data = id_, "", []
