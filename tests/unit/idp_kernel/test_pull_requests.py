from __future__ import annotations

import json

import pytest

from idp_kernel.errors import Unavailable
from idp_kernel.http.problems import error_of, problem_of
from idp_kernel.pull_requests import AwaitedMerges, addresses_of, pull_request_open

FIRST, SECOND = "https://forge.test/a/pull/1", "https://forge.test/b/pull/7"


def waits_for(address: str, look_seconds: float = 30) -> Unavailable:
    return pull_request_open(f"{address} waits.", [address], look_seconds)


def meet(merges: AwaitedMerges, wait: Unavailable) -> None:
    with merges.passed_by():
        raise wait


def test_the_addresses_outlive_the_way_between_two_services() -> None:
    problem = json.dumps(problem_of(waits_for(FIRST), "r")).encode()
    told = error_of(503, problem, party="workers", retry_after=None)
    assert isinstance(told, Unavailable)
    assert (told.code, told.retry_after_seconds) == ("pull_request_open", 30)
    assert addresses_of(told) == [FIRST]


def test_no_part_waits_for_another_ones_pull_request() -> None:
    merges, done = AwaitedMerges(), []
    for wait in (waits_for(FIRST, 900), None, waits_for(SECOND, 30)):
        with merges.passed_by():
            if wait is not None:
                raise wait
            done.append("the part in between")
    assert done == ["the part in between"]
    with pytest.raises(Unavailable) as told:
        merges.require_none()
    assert told.value.message == (
        f"2 pull requests wait to be approved and merged: {FIRST}, {SECOND}. Then the request "
        "goes on by itself."
    )
    assert (told.value.code, told.value.retry_after_seconds) == ("pull_request_open", 30)
    assert addresses_of(told.value) == [FIRST, SECOND]


def test_one_is_told_as_it_was() -> None:
    merges, wait = AwaitedMerges(), waits_for(FIRST)
    meet(merges, wait)
    with pytest.raises(Unavailable) as told:
        merges.require_none()
    assert told.value is wait


def test_parts_that_wait_for_the_same_one_name_it_once() -> None:
    merges = AwaitedMerges()
    for _ in range(2):
        meet(merges, waits_for(FIRST))
    with pytest.raises(Unavailable) as told:
        merges.require_none()
    assert addresses_of(told.value) == [FIRST]


def test_nothing_is_awaited_where_nothing_was_met_and_other_errors_come_through() -> None:
    merges = AwaitedMerges()
    away = Unavailable("away", code="forge_unreachable")
    with pytest.raises(Unavailable) as met, merges.passed_by():
        raise away
    assert met.value is away
    assert addresses_of(away) == []
    merges.require_none()
