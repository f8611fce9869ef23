"""Answers that wait for there to be something to answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool

from control_plane.api.wakeups import Wakeups

WaitSeconds = Annotated[float, Query(alias="waitSeconds", ge=0, le=20)]

Found = TypeVar("Found")


async def waited_for(
    request: Request, wakeups: Wakeups, look: Callable[[], Sequence[Found]], seconds: float
) -> tuple[Found, ...]:
    """What `look` finds now, or once it is woken, within `seconds`; nothing when nobody waits for
    the answer any more.
    """
    until = time.monotonic() + seconds
    with wakeups.waiter() as woken:
        while True:
            woken.clear()
            found = await run_in_threadpool(look)
            left = until - time.monotonic()
            if found or left <= 0 or wakeups.is_closed:
                return tuple(found)
            await pause(woken, left)
            if await request.is_disconnected():
                return ()


async def pause(woken: asyncio.Event, seconds: float) -> None:
    """Until woken, but no longer than `seconds`."""
    try:
        await asyncio.wait_for(woken.wait(), seconds)
    except TimeoutError:
        return
