"""Wakes coroutines that wait for work, from whatever thread heard of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Wakeups:
    """Each waiter has an event of its own, in its own loop."""

    def __init__(self) -> None:
        # A signal handler may wake while its own thread is inside: hence re-entrant, and a copy.
        self._lock = threading.RLock()
        self._closed = False
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
            for event, loop in list(self._waiters.items()):
                loop.call_soon_threadsafe(event.set)

    def close(self) -> None:
        """Nobody should wait any more: the process is about to end."""
        self._closed = True
        self.wake()

    @property
    def is_closed(self) -> bool:
        return self._closed
