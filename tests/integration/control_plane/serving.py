"""The control plane on a real socket, in a thread of the test's process, and who reads from it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from control_plane.api.feed import Feed
from control_plane.main import Server, build_app
from control_plane.settings import ControlPlaneSettings
from idp_kernel.clock import Clock
from idp_kernel.http.event_stream import EVENT_STREAM, LAST_EVENT_ID, Message, messages_in
from idp_kernel.services import LOOPBACK
from idp_kernel.wire.api import Event, WorkflowRequest
from tests.fixtures.stack import free_port

EVENTS = "/v1/events/stream"
WATCH = "/v1/workflow-requests/{}/watch"
HEARTBEAT = b": still here\n\n"
STOPS_WITHIN_SECONDS = 10


@dataclass(frozen=True)
class Serving:
    """A server that runs."""

    url: str
    port: int
    feed: Feed

    @property
    def watches(self) -> int:
        """How many streams are being told."""
        return len(self.feed._watches)

    @property
    def watches_begun(self) -> int:
        """How many of them miss nothing from now on."""
        return sum(each.has_begun for each in list(self.feed._watches))


@contextmanager
def serving(
    settings: ControlPlaneSettings, clock: Clock | None = None, *, port: int | None = None
) -> Iterator[Serving]:
    """The server while the block lasts; it ends as on SIGTERM."""
    port = port or free_port()
    app = build_app(settings, clock)
    server = Server(app, settings.model_copy(update={"port": port}))
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Serving(f"http://{LOOPBACK}:{port}", port, app.state.services.feed)
    finally:
        server.handle_exit(signal.SIGTERM, None)
        thread.join(STOPS_WITHIN_SECONDS)
        assert not thread.is_alive()


class Reading:
    """One stream, read as far as a test wants to."""

    def __init__(self, response: httpx.Response) -> None:
        self.text = b""
        self._response = response
        self.pieces = self._chunks()
        self._messages = messages_in(self.pieces)

    def message(self) -> Message:
        """The next one."""
        return next(self._messages)

    def event(self) -> Event:
        return Event.model_validate_json(self.message().data)

    def state(self) -> WorkflowRequest:
        return WorkflowRequest.model_validate_json(self.message().data)

    def heartbeat(self) -> None:
        """Reads on until the server has said that it is still there, again."""
        before = self.text.count(HEARTBEAT)
        while self.text.count(HEARTBEAT) == before:
            next(self.pieces)

    def rest(self) -> list[Message]:
        """All there is until the server ends the stream."""
        return list(self._messages)

    def _chunks(self) -> Iterator[bytes]:
        for chunk in self._response.iter_raw():
            self.text += chunk
            yield chunk


@dataclass(frozen=True)
class Watcher:
    """Somebody with a token."""

    serving: Serving
    token: str

    @contextmanager
    def reading(self, path: str, *, after: str | None = None, **query: str) -> Iterator[Reading]:
        """The stream, after the message `after`, as long as the block lasts."""
        headers = {"Authorization": f"Bearer {self.token}"}
        if after is not None:
            headers[LAST_EVENT_ID] = after
        url = httpx.URL(self.serving.url).join(path).copy_merge_params(query)
        with httpx.stream("GET", url, headers=headers, timeout=30) as response:
            assert response.status_code == 200, response.read()
            assert response.headers["Content-Type"].startswith(EVENT_STREAM)
            yield Reading(response)

    @contextmanager
    def new_events(self, **query: str) -> Iterator[Reading]:
        """The stream of the events that are committed from now on."""
        with self.reading(EVENTS, after=None, **query) as reading:
            assert not reading.message().data
            yield reading
