"""What is asked that does not answer, or late."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from threading import Event

import pytest

from idp_dagster.bounded_read import READING, TOO_SLOW, BoundedRead
from idp_kernel.errors import NotAllowed, Unavailable

LONG_SECONDS = 60.0
"""Far more than any of it takes."""
ASKERS = 20


def test_each_read_is_a_new_one() -> None:
    found = iter((1, 2))
    read = BoundedRead(lambda: next(found), LONG_SECONDS)
    assert [read(), read()] == [1, 2]


def test_an_error_is_the_askers_and_the_next_is_asked_anew() -> None:
    errors = [NotAllowed("not you"), TimeoutError("its own")]

    def look() -> str:
        if errors:
            raise errors.pop(0)
        return "here"

    read = BoundedRead(look, LONG_SECONDS)
    with pytest.raises(NotAllowed, match="not you"):
        read()
    with pytest.raises(TimeoutError, match="its own"):
        read()
    assert read() == "here"


def test_what_takes_too_long_is_told_and_asked_anew_once_it_has_ended() -> None:
    asked: list[int] = []
    ends, began = Event(), time.monotonic()

    def look() -> int:
        asked.append(len(asked) + 1)
        assert ends.wait(LONG_SECONDS)
        return len(asked)

    read = BoundedRead(look, 3)
    for _ in range(3):
        with pytest.raises(Unavailable, match="after 3 s") as told:
            read()
        assert told.value.code == TOO_SLOW
        assert asked == [1]
    assert 3 <= time.monotonic() - began < 3 * 3, "waited for once, not three times"
    ends.set()
    for each in threading.enumerate():
        if each.name == READING:
            each.join(LONG_SECONDS)
    assert read() == 2


def test_who_asks_meanwhile_gets_the_same() -> None:
    asked: list[int] = []

    def look() -> int:
        asked.append(1)
        Event().wait(0.2)
        return len(asked)

    read = BoundedRead(look, LONG_SECONDS)
    with ThreadPoolExecutor(ASKERS) as pool:
        found = list(pool.map(lambda _: read(), range(ASKERS)))
    assert len(asked) == max(found) < ASKERS


def test_it_reads_in_the_context_of_who_asked() -> None:
    whose: ContextVar[str] = ContextVar("whose", default="nobody's")
    whose.set("mine")
    assert BoundedRead(whose.get, LONG_SECONDS)() == "mine"
