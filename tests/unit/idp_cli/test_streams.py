"""Streams that are cut, refused, or not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import httpx
import pytest

from idp_cli import streams
from idp_cli.api import EVENT_STREAM, Api
from idp_cli.streams import is_not_offered, streamed
from idp_kernel.errors import NotFound, Unauthenticated, Unavailable
from idp_kernel.http.client import ServiceClient
from idp_kernel.http.event_stream import (
    EVENT_STREAM as EVENT_STREAM_TYPE,
)
from idp_kernel.http.event_stream import (
    LAST_EVENT_ID,
    Message,
    comment,
    encoded,
)
from idp_kernel.http.problems import problem_of, status_of
from idp_kernel.wire.api import Event


def event(sequence: int) -> bytes:
    told = Event.model_validate(
        {
            "sequence": sequence,
            "id": "01930000-0000-7000-8000-000000000000",
            "type": "team_created",
            "occurred_at": "2026-01-01T00:00:00Z",
            "subject": "team/x",
            "actor": "ana",
        }
    )
    return encoded(Message(str(sequence), told.model_dump_json()))


class Cut(httpx.SyncByteStream):
    """What arrives before the connection breaks."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        raise httpx.ReadError("connection reset")


def stream(*chunks: bytes, is_cut: bool = False) -> httpx.Response:
    headers = {"Content-Type": EVENT_STREAM_TYPE}
    if is_cut:
        return httpx.Response(200, headers=headers, stream=Cut(*chunks))
    return httpx.Response(200, headers=headers, content=b"".join(chunks))


class Server:
    """Answers what is next in a list; remembers after what each connection asked to go on."""

    def __init__(self, *answers: Callable[[], httpx.Response]) -> None:
        self._answers = iter(answers)
        self.asked_after: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked_after.append(request.headers.get(LAST_EVENT_ID))
        assert request.headers["Accept"] == EVENT_STREAM_TYPE
        return next(self._answers)()

    def events(
        self, *, after: str | None = None, tell: Callable[[Message], None] | None = None
    ) -> Iterator[Event]:
        transport = httpx.MockTransport(self)
        api = Api(ServiceClient("http://platform", party="control-plane-api", transport=transport))
        return streamed(api, EVENT_STREAM, Event, {"team": "payments"}, after=after, tell=tell)


def refused(error: Unauthenticated | NotFound | Unavailable) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(status_of(error), json=problem_of(error, "1"))


def away() -> httpx.Response:
    raise httpx.ConnectError("nobody there")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "RESUME_AFTER_SECONDS", 0)


def test_a_stream_that_is_cut_goes_on_after_the_last_message_that_came_whole() -> None:
    server = Server(
        lambda: stream(encoded(Message("4")), event(5), event(6), event(7)[:-3], is_cut=True),
        away,
        lambda: stream(comment("still here"), is_cut=True),
        lambda: stream(event(7)),
        lambda: stream(event(8)),
    )
    assert [each.sequence for each in islice(server.events(), 4)] == [5, 6, 7, 8]
    assert server.asked_after == [None, "6", "6", "6", "7"]


def test_a_stream_that_is_cut_before_its_first_event_goes_on_where_it_began() -> None:
    server = Server(lambda: stream(encoded(Message("41")), is_cut=True), lambda: stream(event(42)))
    assert next(server.events()).sequence == 42
    assert server.asked_after == [None, "41"]


def test_where_events_are_missing_is_told_and_is_no_event() -> None:
    gone = Message("7", '{"detail": "gone"}', "events_gone")
    server = Server(lambda: stream(encoded(gone), event(8), is_cut=True), lambda: stream(event(9)))
    told: list[Message] = []
    assert [each.sequence for each in islice(server.events(after="3", tell=told.append), 2)] == [
        8,
        9,
    ]
    assert told == [gone]
    assert server.asked_after == ["3", "8"]


def test_a_stream_begins_after_what_was_seen() -> None:
    server = Server(lambda: stream(event(4)))
    assert next(server.events(after="3")).sequence == 4
    assert server.asked_after == ["3"]


def test_a_token_that_was_revoked_ends_it() -> None:
    revoked = Unauthenticated("It was revoked.", code="token_revoked")
    server = Server(lambda: stream(event(1)), refused(revoked))
    events = server.events()
    assert next(events).sequence == 1
    with pytest.raises(Unauthenticated) as told:
        next(events)
    assert told.value.code == "token_revoked"


def test_a_server_that_is_away_for_a_while_is_waited_for() -> None:
    restarting = refused(Unavailable("The database gave no answer.", code="database_unavailable"))
    server = Server(away, restarting, lambda: stream(event(1)))
    assert next(server.events()).sequence == 1


def test_a_long_silence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SILENCE_SECONDS", -1)
    with pytest.raises(Unavailable) as told:
        next(Server(away).events())
    assert told.value.code == "unreachable"


def test_a_silence_counts_from_the_end_of_the_last_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]

    def after_an_hour() -> httpx.Response:
        now[0] += 3600
        return stream(event(1))

    monkeypatch.setattr("idp_cli.streams.time.monotonic", lambda: now[0])
    server = Server(after_an_hour, away, lambda: stream(event(2)))
    assert [each.sequence for each in islice(server.events(), 2)] == [1, 2]


def test_a_server_without_streams_is_told_apart_from_a_thing_that_is_not_there() -> None:
    older = NotFound("There is nothing at this address.", code="no_such_route")
    missing = NotFound("There is no request x.")
    for error, says in ((older, True), (missing, False)):
        with pytest.raises(NotFound) as told:
            next(Server(refused(error)).events())
        assert is_not_offered(told.value) is says
