"""What chance chooses, the same for the same seed."""

from __future__ import annotations

from random import Random

from tests.chaos.cells import Victim, Way
from tests.chaos.trials import (
    ASKED_WITHIN_SECONDS,
    KILLED_WITHIN_SECONDS,
    REQUESTS_OF_A_TRIAL,
    chosen_by,
)


def test_everybody_dies_and_everything_is_asked_for() -> None:
    chance = Random(1)  # noqa: S311 - a repeatable choice
    trials = [chosen_by(chance) for _ in range(200)]
    assert {each.victim for each in trials} == set(Victim)
    assert {way for each in trials for way in each.ways} == set(Way)
    cancelled = [each.cancelled_after for each in trials if each.cancelled_after is not None]
    assert 40 < len(cancelled) < 95, "about one in three"
    for each in trials:
        assert len(each.ways) == len(each.asked_after) == REQUESTS_OF_A_TRIAL
        assert max(each.asked_after) <= ASKED_WITHIN_SECONDS
        assert each.killed_after <= KILLED_WITHIN_SECONDS
    assert min(cancelled) >= ASKED_WITHIN_SECONDS, "it has its answer by then, as a rule"


def test_the_same_seed_chooses_the_same() -> None:
    first, second = Random(7), Random(7)  # noqa: S311 - a repeatable choice
    assert [chosen_by(first) for _ in range(5)] == [chosen_by(second) for _ in range(5)]
