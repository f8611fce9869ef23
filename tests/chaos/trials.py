"""What is left to chance: who dies, when, and what is asked for at the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from idp_kernel.errors import Unavailable
from tests.chaos.cells import Victim, Way
from tests.chaos.results import Finding, Kind
from tests.chaos.rounds import Harness
from tests.chaos.traffic import Asked, NotAnswered

TRIALS_AT_ONCE = 4
TRIALS_OF_A_BLOCK = 20
SPARE = 6
"""Applications and environments that are made beside what a trial lacks, for those that follow."""
REQUESTS_OF_A_TRIAL = 4
ASKED_WITHIN_SECONDS = 2.0
KILLED_WITHIN_SECONDS = 6.0
_OFTEN = {Way.ROTATION: 3, Way.PROVISIONING: 3, Way.ONBOARDING: 2}
"""The others once."""
PAUSE_BETWEEN_KILLS_SECONDS = (2.0, 8.0)


@dataclass(frozen=True)
class Trial:
    """What chance chose: times are in seconds from its begin."""

    ways: tuple[Way, ...]
    asked_after: tuple[float, ...]
    cancelled_after: float | None
    """Of the first request, in one of three trials."""
    victim: Victim
    killed_after: float


def chosen_by(chance: Random) -> Trial:
    """The next one."""
    weights = [_OFTEN.get(way, 1) for way in Way]
    cancelled_after = chance.uniform(ASKED_WITHIN_SECONDS, KILLED_WITHIN_SECONDS)
    return Trial(
        ways=tuple(chance.choices(list(Way), weights, k=REQUESTS_OF_A_TRIAL)),
        asked_after=tuple(
            chance.uniform(0, ASKED_WITHIN_SECONDS) for _ in range(REQUESTS_OF_A_TRIAL)
        ),
        cancelled_after=cancelled_after if chance.random() < 1 / 3 else None,
        victim=chance.choice(list(Victim)),
        killed_after=chance.uniform(0, KILLED_WITHIN_SECONDS),
    )


def run_trials(harness: Harness, number: int) -> None:
    """So many, some of them at a time. All that a block of them was about is judged when nobody
    dies: who is asked has to be there.
    """
    chance = Random(harness.traffic.chosen.random())  # noqa: S311 - a repeatable choice
    trials = [chosen_by(chance) for _ in range(number)]
    for begin in range(0, number, TRIALS_OF_A_BLOCK):
        _run_block(harness, trials[begin : begin + TRIALS_OF_A_BLOCK])


def _run_block(harness: Harness, trials: Sequence[Trial]) -> None:
    free = threading.BoundedSemaphore(TRIALS_AT_ONCE)
    with ThreadPoolExecutor(TRIALS_AT_ONCE, thread_name_prefix="trial") as lanes:
        under_way: list[Future[list[Asked]]] = []
        for trial in trials:
            free.acquire()
            asked, made = harness.traffic.take_all(trial.ways, spare=SPARE)
            harness.results.requests += len(made)
            work = lanes.submit(run_trial, harness, trial, asked)
            work.add_done_callback(lambda _: free.release())
            under_way.append(work)
    harness.judge([each for work in under_way for each in work.result()])


def run_trial(harness: Harness, trial: Trial, asked: Sequence[Asked]) -> list[Asked]:
    """Some requests, each asked for at its own moment, one of which may be cancelled; one kill.
    Those that were taken.
    """
    harness.traffic.each(harness.traffic.prepare, asked)
    began = time.monotonic()
    answers = [
        _later(harness, after, partial(harness.traffic.ask, each))
        for each, after in zip(asked, trial.asked_after, strict=True)
    ]
    cancelled = []
    if trial.cancelled_after is not None:
        cancel = partial(harness.traffic.cancel, asked[0])
        cancelled = [_later(harness, trial.cancelled_after, cancel)]
    time.sleep(max(0.0, trial.killed_after - (time.monotonic() - began)))
    harness.killed(trial.victim)
    since = time.monotonic()
    taken = _taken(harness, asked, answers)
    wait(cancelled)
    slowest = harness.await_ends(taken, since=since)
    harness.results.trials += 1
    told = ", ".join(f"{each.way}{' (cancelled)' if each.is_cancelled else ''}" for each in asked)
    harness.show.line(f"[cyan]{trial.victim:<18}[/cyan] {told}; all ended {slowest:5.1f} s later")
    return taken


def _later(harness: Harness, seconds: float, work: Callable[[], Any]) -> Future[Any]:
    def wait_and_work() -> None:
        time.sleep(seconds)
        work()

    begun: Future[Any] = harness.traffic.start(wait_and_work)
    return begun


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
    lanes = [
        harness.traffic.start(lambda: _live(harness, each, seconds)) for _ in range(environments)
    ]
    killer = threading.Thread(target=_kill_on, args=(harness, seconds, over), name="killer")
    killer.start()
    wait(lanes)
    over.set()
    killer.join()
    asked = [one for lane in lanes for one in lane.result()]
    harness.show.line(
        f"{len(asked)} of {requests} requests for {environments} environments were asked for"
    )
    ended = [one for one in asked if one.state is not None]
    harness.await_ends(ended, since=time.monotonic(), judged=False)
    harness.judge(ended)


def _live(harness: Harness, requests: int, seconds: float) -> list[Asked]:
    """An application's life, in so many requests; it is over with one that does not end, which is
    told, or does not succeed, which the oracle tells.
    """
    traffic, asked = harness.traffic, []
    # Under kills nothing has to end; what is open when they are over has its time from then on.
    within_seconds = seconds + harness.stuck_after_seconds
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
        if traffic.await_ends([one], within_seconds):
            what = (
                f"{one} has not ended {within_seconds:g} s later, {seconds:g} s of kills in between"
            )
            harness.found([Finding(Kind.STUCK, what)])
        if one.state != "succeeded":
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
