"""What one watcher has still to be sent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from control_plane.api import subscriptions
from control_plane.api.subscriptions import TOO_SLOW, Subscription

WITHIN_SECONDS = 10


def run(scenario: Callable[[Subscription], Awaitable[None]]) -> None:
    async def within() -> None:
        await scenario(Subscription())

    asyncio.run(asyncio.wait_for(within(), WITHIN_SECONDS))


def in_another_thread(act: Callable[[], None]) -> None:
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


def test_what_was_put_comes_in_one_piece_and_in_order() -> None:
    async def scenario(subscription: Subscription) -> None:
        in_another_thread(lambda: subscription.put([b"1", b"2"]))
        subscription.put([b"3"])
        await asyncio.sleep(0)
        assert await subscription.next() == b"123"

    run(scenario)


def test_who_waits_is_woken_from_another_thread() -> None:
    async def scenario(subscription: Subscription) -> None:
        waiting = asyncio.create_task(subscription.next())
        await asyncio.sleep(0)
        threading.Thread(target=lambda: subscription.put([b"1"])).start()
        assert await waiting == b"1"

    run(scenario)


def test_what_was_put_before_the_end_still_comes_and_nothing_after_it() -> None:
    async def scenario(subscription: Subscription) -> None:
        subscription.put([b"1"])
        subscription.end("enough")
        subscription.put([b"2"])
        subscription.end("something else")
        await asyncio.sleep(0)
        assert await subscription.next() == b"1"
        assert await subscription.next() is None
        assert await subscription.next() is None
        assert subscription.ending == "enough"

    run(scenario)


def test_it_tells_where_it_began_unless_it_ended_before() -> None:
    async def begins(subscription: Subscription) -> None:
        in_another_thread(lambda: subscription.begin(41))
        subscription.end("enough")
        assert await subscription.begun() == 41

    async def ends(subscription: Subscription) -> None:
        subscription.end("enough")
        subscription.begin(41)
        assert await subscription.begun() is None

    run(begins)
    run(ends)


def test_it_tells_how_far_it_has_come_until_it_begins_or_ends() -> None:
    async def scenario(subscription: Subscription) -> None:
        in_another_thread(lambda: subscription.reach(41))
        assert await subscription.reached() == 41
        subscription.reach(42)
        subscription.begin(43)
        await asyncio.sleep(0)
        assert (await subscription.reached(), await subscription.begun()) == (43, 43)
        subscription.end("enough")
        await asyncio.sleep(0)
        assert await subscription.reached() is None

    run(scenario)


def test_who_takes_nothing_is_cut_off_behind_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "LONGEST_BACKLOG", 3)

    async def scenario(subscription: Subscription) -> None:
        for each in (b"1", b"2", b"3"):
            subscription.put([each])
        subscription.put([b"4"])
        await asyncio.sleep(0)
        assert await subscription.next() == b"123"
        assert await subscription.next() is None
        assert subscription.ending == TOO_SLOW

    run(scenario)
