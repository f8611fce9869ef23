"""The feed asks who may watch, whenever a watch begins."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

from control_plane.api.feed import NOT_LET_IN, Feed
from control_plane.api.watches import EventWatch
from control_plane.application.access import Caller
from control_plane.application.queries import EventFilter, Period, Queries

WITHIN_SECONDS = 10


class NothingHappens:
    """A read side without events."""

    def newest_sequence(self) -> int:
        return 7

    def events_after(self, _sequence: int, _limit: int) -> Sequence[Any]:
        return []


class Doors:
    """Who has a token that opens something."""

    def __init__(self, *token_ids: str) -> None:
        self.open_to = {each: caller(each) for each in token_ids}

    def __call__(self, token_ids: Collection[str]) -> Mapping[str, Caller]:
        return {each: self.open_to[each] for each in token_ids if each in self.open_to}


def caller(token_id: str) -> Caller:
    return Caller("ana", True, {}, token_id, datetime(2100, 1, 1, tzinfo=UTC))


def watch_of(token_id: str) -> EventWatch:
    wanted = EventFilter(None, None, None, None, Period(None, None))
    return EventWatch(caller=caller(token_id), wanted=wanted)


@contextmanager
def running(doors: Doors) -> Iterator[Feed]:
    feed = Feed(cast("Queries", NothingHappens()), doors)
    feed.start()
    try:
        yield feed
    finally:
        feed.stop()


def test_a_watch_whose_token_was_revoked_just_before_it_began_is_told_nothing() -> None:
    doors = Doors("first", "second")

    async def scenario(feed: Feed) -> None:
        with feed.watched(watch_of("first")) as first:
            assert await asyncio.wait_for(first.begun(), WITHIN_SECONDS) == 7
            del doors.open_to["second"]
            with feed.watched(watch_of("second")) as second:
                await asyncio.wait_for(second.begun(), WITHIN_SECONDS)
                await asyncio.sleep(0)
                assert second.ending == NOT_LET_IN
            assert first.ending is None

    with running(doors) as feed:
        asyncio.run(scenario(feed))
