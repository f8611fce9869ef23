"""What a look of a step asks, and with whose leave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from idp_dagster.patience import each_in_a_call, in_one_call
from idp_dagster.ports import CallPermit


class Calls:
    """Gives a leave of its own to each call, one after the other."""

    def __init__(self) -> None:
        self.given: list[CallPermit] = []
        self.is_open = False

    @contextmanager
    def call(self) -> Iterator[CallPermit]:
        assert not self.is_open
        self.is_open = True
        self.given.append(CallPermit(f"token-{len(self.given)}", "key"))
        yield self.given[-1]
        self.is_open = False


def test_a_look_that_asks_once_has_one_leave() -> None:
    calls = Calls()
    assert in_one_call(lambda permit: permit.run_token)(calls.call) == "token-0"
    assert len(calls.given) == 1


def test_each_question_of_a_long_look_has_a_fresh_leave() -> None:
    calls = Calls()
    look = each_in_a_call([lambda permit: permit.run_token] * 3)
    assert look(calls.call) == ["token-0", "token-1", "token-2"]
    assert look(calls.call) == ["token-3", "token-4", "token-5"]
    assert len(calls.given) == 6
