"""What is left to chance: who dies, when, and what is asked for at the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from random import Random
from typing import Any

from idp_kernel.errors import Unavailable
from tests.chaos.cells import Victim, Way
from tests.chaos.results import Finding, Kind
from tests.chaos.rounds import Harness
from tests.chaos.traffic import Asked, NotAnswered

REQUESTS_OF_A_TRIAL = 4
ASKED_WITHIN_SECONDS = 2.0
KILLED_WITHIN_SECONDS = 6.0
_OFTEN = {Way.ROTATION: 3, Way.PROVISIONING: 3, Way.ONBOARDING: 2}
"""The others once."""
PAUSE_BETWEEN_KILLS_SECONDS = (2.0, 8.0)


def run_trial(harness: Harness) -> None:
    """Some requests, each asked for at its own moment, one of which may be cancelled; one kill."""
    chance = harness.traffic.chosen
    ways = chance.choices(list(Way), [_OFTEN.get(way, 1) for way in Way], k=REQUESTS_OF_A_TRIAL)
    asked, made = harness.traffic.take_all(ways)
    harness.results.requests += len(made)
    for each in asked:
        harness.traffic.prepare(each)
    answers = [_ask_later(harness, each, chance) for each in asked]
    cancelled = _cancel_later(harness, asked, chance)
    victim = chance.choice(list(Victim))
    time.sleep(chance.uniform(0, KILLED_WITHIN_SECONDS))
    harness.killed(victim)
    since = time.monotonic()
    taken = _taken(harness, asked, answers)
    wait(cancelled)
    slowest = harness.await_ends(taken, since=since)
    harness.results.trials += 1
    told = ", ".join(f"{each.way}{' (cancelled)' if each.is_cancelled else ''}" for each in asked)
    harness.show.line(f"[cyan]{victim:<18}[/cyan] {told}; all ended {slowest:5.1f} s later")


def _ask_later(harness: Harness, asked: Asked, chance: Random) -> Future[Any]:
    seconds = chance.uniform(0, ASKED_WITHIN_SECONDS)

    def ask() -> None:
        time.sleep(seconds)
        harness.traffic.ask(asked)

    answer: Future[Any] = harness.traffic.start(ask)
    return answer


def _cancel_later(harness: Harness, asked: Sequence[Asked], chance: Random) -> list[Future[Any]]:
    """One in three trials calls off what it asked for first."""
    seconds = chance.uniform(ASKED_WITHIN_SECONDS, KILLED_WITHIN_SECONDS)
    if chance.random() > 1 / 3:
        return []

    def cancel() -> None:
        time.sleep(seconds)
        harness.traffic.cancel(asked[0])

    return [harness.traffic.start(cancel)]


def _taken(harness: Harness, asked: Sequence[Asked], answers: Sequence[Future[Any]]) -> list[Asked]:
    """Those whose command was answered; the others are lost."""
    for answer in answers:
        try:
            answer.result()
        except NotAnswered as error:
            harness.found([Finding(Kind.LOST, f"a command was not taken: {error}")])
    return [each for each in asked if each.request_id]


def run_crowd(harness: Harness, requests: int, environments: int, seconds: float) -> None:
    """So many requests for so many environments, all at once, while somebody dies every few seconds
    for so long; those of one environment come one after the other.
    """
    over = threading.Event()
    each = requests // environments
    lanes = [harness.traffic.start(lambda: _live(harness, each)) for _ in range(environments)]
    killer = threading.Thread(target=_kill_on, args=(harness, seconds, over), name="killer")
    killer.start()
    wait(lanes)
    over.set()
    killer.join()
    harness.victims.await_running()
    asked = [one for lane in lanes for one in lane.result()]
    harness.show.line(f"{len(asked)} requests for {environments} environments have ended")
    harness.await_ends(asked, since=time.monotonic(), judged=False)


def _live(harness: Harness, requests: int) -> list[Asked]:
    """An application's life, in so many requests; it goes on after what did not succeed."""
    traffic, asked = harness.traffic, []
    lived = traffic.take(Way.ONBOARDING)
    ways = [Way.ONBOARDING, Way.PROVISIONING, *[Way.ROTATION, Way.EMERGENCY] * requests]
    for way in ways[:requests]:
        one = traffic.following(lived, way)
        try:
            traffic.prepare(one)
            traffic.ask(one)
        except NotAnswered as error:
            harness.found([Finding(Kind.LOST, f"a command was not taken: {error}")])
            break
        asked.append(one)
        if traffic.await_ends([one], harness.stuck_after_seconds) or one.state != "succeeded":
            break
        lived = one
    return asked


def _kill_on(harness: Harness, seconds: float, over: threading.Event) -> None:
    """Until the time is over or all requests have ended."""
    chance, until = Random(harness.traffic.chosen.random()), time.monotonic() + seconds  # noqa: S311
    while time.monotonic() < until and not over.wait(chance.uniform(*PAUSE_BETWEEN_KILLS_SECONDS)):
        victim = chance.choice(list(Victim))
        with suppress(Unavailable, AssertionError):
            harness.killed(victim)
            harness.show.line(f"[cyan]{victim}[/cyan] killed")
