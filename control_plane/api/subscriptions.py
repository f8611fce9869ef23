"""What one watcher has still to be sent, between the thread that tells and its own coroutine."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

LONGEST_BACKLOG: Final = 1000
TOO_SLOW: Final = "too far behind"


class Subscription:
    """Made in the coroutine's running loop; `reach`, `begin`, `put` and `end` may come from any
    thread, from a signal handler too, and take effect in their order.

    At most `LONGEST_BACKLOG` messages lie here. A watcher who falls further behind is cut off after
    them, and goes on from there when it connects again.
    """

    def __init__(self) -> None:
        self.ending: str | None = None
        """Why it ended; none while it lasts."""
        self._loop = asyncio.get_running_loop()
        self._position: int | None = None
        self._reached = asyncio.Event()
        self._begun: asyncio.Future[int | None] = self._loop.create_future()
        self._waiting: deque[bytes] = deque()
        self._woken = asyncio.Event()

    def reach(self, position: int) -> None:
        """What came up to `position` may be read; nothing is put here yet."""
        self._loop.call_soon_threadsafe(self._reach, position)

    def begin(self, position: int) -> None:
        """From now on, all that came after `position` is put here."""
        self._loop.call_soon_threadsafe(self._begin, position)

    def put(self, messages: Sequence[bytes]) -> None:
        self._loop.call_soon_threadsafe(self._put, messages)

    def end(self, why: str) -> None:
        """Nothing comes after what lies here."""
        self._loop.call_soon_threadsafe(self._end, why)

    async def reached(self) -> int | None:
        """The position it has come to, the last one where it began; none when it has ended."""
        await self._reached.wait()
        return self._position if self.ending is None else None

    async def begun(self) -> int | None:
        """The position it began at; none when it has ended before."""
        return await self._begun

    async def next(self) -> bytes | None:
        """All that lies here, in one piece, as soon as there is something; none at the end."""
        await self._woken.wait()
        if not self._waiting:
            return None
        messages = b"".join(self._waiting)
        self._waiting.clear()
        if self.ending is None:
            self._woken.clear()
        return messages

    def _reach(self, position: int) -> None:
        self._position = position
        self._reached.set()

    def _begin(self, position: int) -> None:
        self._reach(position)
        if not self._begun.done():
            self._begun.set_result(position)

    def _put(self, messages: Sequence[bytes]) -> None:
        if self.ending is not None:
            return
        if len(self._waiting) + len(messages) > LONGEST_BACKLOG:
            self._end(TOO_SLOW)
            return
        self._waiting.extend(messages)
        self._woken.set()

    def _end(self, why: str) -> None:
        self.ending = self.ending or why
        self._woken.set()
        self._reached.set()
        if not self._begun.done():
            self._begun.set_result(None)
