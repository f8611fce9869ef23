"""Waking waiters from other threads."""

from __future__ import annotations

import asyncio
import threading

from control_plane.api.wakeups import Wakeups


def test_every_waiter_wakes_from_another_thread() -> None:
    wakeups = Wakeups()

    async def wait(ready: asyncio.Event) -> None:
        with wakeups.waiter() as woken:
            ready.set()
            await asyncio.wait_for(woken.wait(), 5)

    async def scenario() -> None:
        ready = [asyncio.Event(), asyncio.Event()]
        waiting = [asyncio.create_task(wait(each)) for each in ready]
        await asyncio.gather(*(each.wait() for each in ready))
        threading.Thread(target=wakeups.wake).start()
        await asyncio.gather(*waiting)

    asyncio.run(scenario())
    wakeups.wake()
