"""Reads that nobody waits for longer than they may take, whatever hangs below them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from idp_kernel.errors import Unavailable

TOO_SLOW = "read_too_slow"
"""The code of a read that took too long."""
READING = "bounded-read"
"""The name of threads that read."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class _UnderWay(Generic[Found]):
    """A read that has begun."""

    waited_for_until: float
    """On the monotonic clock."""
    found: Future[Found] = field(default_factory=Future)


class BoundedRead(Generic[Found]):
    """Reads in a thread of its own, one read at a time: none piles up behind one that hangs.

    Who asks while a read is under way gets what that finds. Once a read has taken `within_seconds`
    it is waited for no more: until it ends, whoever asks is told so at once. A process can end with
    a read under way. Raises what the read raises, and `Unavailable` with the code `read_too_slow`.
    Thread-safe.
    """

    def __init__(self, read: Callable[[], Found], within_seconds: float) -> None:
        self._read = read
        self._within_seconds = within_seconds
        self._lock = threading.Lock()
        self._under_way: _UnderWay[Found] | None = None

    def __call__(self) -> Found:
        with self._lock:
            if self._under_way is None or self._under_way.found.done():
                self._under_way = self._begun()
            asked = self._under_way
        wait([asked.found], max(0.0, asked.waited_for_until - time.monotonic()))
        if not asked.found.done():
            message = f"There is no answer after {self._within_seconds:g} s."
            raise Unavailable(message, code=TOO_SLOW)
        return asked.found.result()

    def _begun(self) -> _UnderWay[Found]:
        begun = _UnderWay[Found](time.monotonic() + self._within_seconds)
        # In the asker's context, which spans and log lines take whose they are from.
        run = partial(copy_context().run, self._do, begun.found)
        threading.Thread(target=run, name=READING, daemon=True).start()
        return begun

    def _do(self, found: Future[Found]) -> None:
        try:
            found.set_result(self._read())
        except BaseException as error:  # noqa: BLE001 - whoever asks gets it
            found.set_exception(error)
