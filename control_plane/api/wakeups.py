"""Wakes coroutines that wait for work, from whatever thread heard of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Wakeups:
    """Each waiter has an event of its own, in its own loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    @contextmanager
    def waiter(self) -> Iterator[asyncio.Event]:
        """An event that `wake` sets while the block lasts; call it inside a running loop."""
        event = asyncio.Event()
        with self._lock:
            self._waiters[event] = asyncio.get_running_loop()
        try:
            yield event
        finally:
            with self._lock:
                del self._waiters[event]

    def wake(self) -> None:
        """Sets every waiter's event; callable from any thread."""
        with self._lock:
            for event, loop in self._waiters.items():
                loop.call_soon_threadsafe(event.set)
