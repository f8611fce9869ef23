"""Rates and latencies from what stub and contender tell, on contenders that are made up."""

from __future__ import annotations

import pytest

from tests.bench.measuring import Plan, latencies_of, throughput
from tests.bench.processes import NotInTime

PLAN = Plan(
    warm_up_requests=8,
    saturation_seconds=30.0,
    outstanding=24,
    idle_requests=20,
    half_load_seconds=20.0,
)


def test_a_steady_flow_has_its_rate_whatever_was_outstanding() -> None:
    ended = [100.0 + number * 0.25 for number in range(200)]
    rate, counted = throughput(ended, 24)
    assert rate == pytest.approx(240.0)
    assert counted == 200 - 24 - 5


def test_a_slow_beginning_and_the_emptying_at_the_end_do_not_count() -> None:
    """While it fills nothing ends, and at last what is left ends all at once."""
    steady = [100.0 + number for number in range(100)]
    ended = [50.0, *steady, *[199.0] * 24]
    rate, _ = throughput(ended, 24)
    assert rate == pytest.approx(60.0)


def test_few_requests_are_all_counted() -> None:
    rate, counted = throughput([10.0, 50.0, 90.0], 6)
    assert rate == pytest.approx(1.5)
    assert counted == 3


def test_one_request_is_no_rate() -> None:
    with pytest.raises(NotInTime, match="too few"):
        throughput([10.0], 6)


def test_latencies_run_from_the_acceptance() -> None:
    found = latencies_of(
        {"a": 10.0, "b": 20.0},
        {"a": {"one": 10.2, "two": 10.4}, "b": {"two": 20.9, "one": 20.6}},
        {"a": 10.5, "b": 21.0},
    )
    assert found.requests == 2
    assert found.first_step.p50 == pytest.approx(0.2)
    assert found.first_step.p99 == pytest.approx(0.6)
    assert found.final_state.p50 == pytest.approx(0.5)
    assert found.final_state.p99 == pytest.approx(1.0)


def test_a_step_before_the_answer_took_no_time() -> None:
    found = latencies_of({"a": 10.0}, {"a": {"one": 9.9}}, {"a": 10.5})
    assert found.first_step.p50 == 0.0


def test_a_slow_contender_is_asked_for_less_and_given_more_time() -> None:
    slow = PLAN.at(0.02)
    assert slow.idle_requests == 1
    assert slow.half_load_seconds == 0
    assert slow.outstanding < PLAN.outstanding
    assert slow.patience_seconds > PLAN.patience_seconds
    assert PLAN.at(1.0) == PLAN
