"""Requests stand at their boundaries, somebody dies, and all have to end well by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

from tests.chaos.cells import CLAIM, COMMAND, ENDS, Cell, Victim, in_order, next_batch
from tests.chaos.oracle import Oracle
from tests.chaos.results import Finding, Kind, Results
from tests.chaos.show import Show
from tests.chaos.traffic import Asked, NotAnswered, Traffic, got_on_at
from tests.chaos.victims import Victims
from tests.e2e.platform import Platform, eventually

STANDS_WITHIN_SECONDS = 90.0
"""Less than the longest hold of a failpoint."""
_OWNER = {
    "control-plane-api": Victim.CONTROL_PLANE_API,
    "execution-workers": Victim.EXECUTION_WORKERS,
    "workflow-engine": Victim.WORKER_CHILD,
}
"""Whose process stands at a failpoint, by the beginning of its name."""


@dataclass
class Harness:
    """All that a round works with."""

    platform: Platform
    traffic: Traffic
    victims: Victims
    oracle: Oracle
    results: Results
    show: Show
    stuck_after_seconds: float = 300.0
    """How long after a kill a request may take to end."""
    _left_by: dict[str, tuple[object, ...]] = field(default_factory=dict)
    """What cancelled requests left, by their environment."""

    def found(self, findings: Iterable[Finding]) -> None:
        told = list(findings)
        self.results.findings += told
        self.show.findings(told)

    def killed(self, victim: Victim, standing: Iterable[int] = ()) -> list[int]:
        self.results.kills[victim] += 1
        return self.victims.kill(victim, standing)

    def await_ends(self, asked: Sequence[Asked], *, since: float, judged: bool = True) -> float:
        """Sees that all end and counts, unless `judged` is false, how long those that were open
        took to get on and to end; the longest time to an end.
        """
        late = self.traffic.await_ends(asked, self.stuck_after_seconds)
        self.results.requests += len(asked)
        self.found(
            Finding(Kind.STUCK, f"{each} has not ended {self.stuck_after_seconds:g} s later")
            for each in late
        )
        open_ones = [each for each in asked if each.ended_at is not None and each.ended_at > since]
        took = [each.ended_at - since for each in open_ones if each.ended_at is not None]
        if judged:
            self.results.recoveries += [got_on_at(each, since) - since for each in open_ones]
            self.results.ends += took
        self._remember(each for each in asked if each.state == "cancelled")
        return max(took, default=0.0)

    def judge(self, asked: Iterable[Asked]) -> None:
        """Asks the providers, once all is running again, about those that have ended."""
        self.victims.await_running()
        self.found(self.oracle.check([each for each in asked if each.state is not None]))

    def _remember(self, cancelled: Iterable[Asked]) -> None:
        """What there is of them: from now on nothing more may come."""
        for each in cancelled:
            if each.environment is not None:
                self._left_by[each.environment.id] = self._snapshot(each.environment.id)

    def _snapshot(self, environment_id: str) -> tuple[object, ...]:
        """Waits for whoever is away just now."""

        def look() -> tuple[object, ...] | None:
            try:
                return self.oracle.snapshot(environment_id)
            except (AssertionError, httpx.TransportError, psycopg.OperationalError):
                return None

        return eventually(look, what=f"the providers tell of {environment_id}")

    def find_late_effects(self) -> None:
        """What changed of environments since their last request was cancelled: nothing may."""
        changed = [id_ for id_, left in self._left_by.items() if self.oracle.snapshot(id_) != left]
        self.found(
            Finding(Kind.DUPLICATED, f"{id_} changed after its last request was cancelled")
            for id_ in changed
        )


@dataclass(frozen=True)
class Prepared:
    """What a batch needs is there."""

    batch: Sequence[Cell]
    asked: Sequence[Asked]
    """What its requests will be about, in the same order."""
    made: Sequence[Asked]
    """The requests that made what was missing; all have ended."""


class Preparations:
    """Of the batches that follow, each while the one before recovers."""

    def __init__(self, harness: Harness, at_once: int) -> None:
        self._harness = harness
        self._at_once = at_once
        self._begun: Future[Prepared] | None = None

    def begin(self, waiting: Sequence[Cell]) -> None:
        """Nothing where no cell waits."""
        batch = next_batch(in_order(waiting), self._at_once) if waiting else []
        if batch:
            self._begun = self._harness.traffic.start(partial(self._prepare, batch))

    def end(self) -> Prepared:
        """The batch that was begun last; raises `NotAnswered` when what it needs does not come."""
        assert self._begun is not None
        prepared = self._begun.result()
        self._harness.results.requests += len(prepared.made)
        self._harness.found(self._harness.oracle.check(prepared.made))
        return prepared

    def _prepare(self, batch: Sequence[Cell]) -> Prepared:
        traffic = self._harness.traffic
        asked, made = traffic.take_all([each.boundary.way for each in batch])
        traffic.each(traffic.prepare, asked)
        return Prepared(batch, asked, made)


def run_batch(
    harness: Harness, prepared: Prepared, once_killed: Callable[[], None]
) -> dict[Cell, str]:
    """The cells that were not hit, each with the reason. One is hit when a request stood there and
    the victim lived until it was killed.
    """
    began, standing = time.monotonic(), _Standing(harness.platform.failpoints)
    batch, asked = prepared.batch, prepared.asked
    victim, found_before = batch[0].victim, len(harness.results.findings)
    answers = _bring_to_their_places(harness, list(zip(batch, asked, strict=True)), standing)
    held = standing.pids()
    own = [pid for place, pid in held.items() if _owner_of(place) is victim]
    pids = harness.killed(victim, own)
    since = time.monotonic()
    standing.let_go()
    once_killed()
    refused = _await_answers(harness, answers, asked)
    missed = {each: why for each in batch if (why := why_missed(each, held, pids))}
    taken = [each for each in asked if each not in refused and each.request_id]
    slowest = harness.await_ends(taken, since=since)
    ended = time.monotonic()
    harness.judge(taken)
    harness.results.hit += [each.name for each in batch if each not in missed]
    if len(harness.results.findings) > found_before:
        harness.results.suspect += [each.name for each in batch]
    harness.show.line(
        f"[cyan]{victim:<18}[/cyan] {len(batch) - len(missed):>2} of {len(batch):>2} cells, "
        f"all ended {slowest:5.1f} s later; they stood after {since - began:.0f} s, "
        f"judged within {time.monotonic() - ended:.0f} s"
    )
    for cell, why in missed.items():
        harness.show.line(f"  missed {cell.name}: {why}")
    return missed


def _bring_to_their_places(
    harness: Harness, requests: Sequence[tuple[Cell, Asked]], standing: _Standing
) -> list[Future[Any]]:
    """Every request stands, or had its time to come there; the answers of those that were asked.

    The claim is every run's first place and comes first, alone; then the command, every request's;
    then whoever is held on the way; then those that stand at the end, which pass all others' places
    when these are taken. The claim of a second phase comes when nobody else claims any more.
    """

    def named(*places: str, phase: int | None = None) -> list[tuple[Cell, Asked]]:
        return [
            (cell, asked)
            for cell, asked in requests
            if cell.boundary.failpoint in places and phase in (None, cell.boundary.phase)
        ]

    claims = {asked.application.slug for _, asked in named(CLAIM)}
    middle = [
        (cell, asked)
        for cell, asked in requests
        if cell.boundary.failpoint not in (COMMAND, *ENDS) and asked.application.slug not in claims
    ]
    answers: list[Future[Any]] = []
    for group in (named(CLAIM, phase=1), named(COMMAND), middle, named(*ENDS)):
        answers += [_start(harness, cell, asked, standing) for cell, asked in group]
        standing.await_hits([cell.boundary.failpoint for cell, _ in group])
    for cell, asked in named(CLAIM, phase=2):
        answers.append(harness.traffic.start(partial(harness.traffic.ask, asked)))
        _await_second_phase(harness, asked)
        standing.arm(cell.boundary.failpoint)
        standing.await_hits([cell.boundary.failpoint])
    return answers


def _start(harness: Harness, cell: Cell, asked: Asked, standing: _Standing) -> Future[Any]:
    standing.arm(cell.boundary.failpoint)
    answer: Future[Any] = harness.traffic.start(lambda: harness.traffic.ask(asked))
    return answer


def _await_second_phase(harness: Harness, asked: Asked) -> None:
    give_up_at = time.monotonic() + STANDS_WITHIN_SECONDS
    while time.monotonic() < give_up_at:
        if asked.request_id:
            shown = harness.platform.request(asked.request_id)
            if shown["state"] == "waiting" and shown["phase"] == 2:
                return
        time.sleep(0.1)


def _await_answers(
    harness: Harness, answers: Iterable[Future[Any]], asked: Sequence[Asked]
) -> list[Asked]:
    """Those whose command was not taken."""
    for answer in answers:
        try:
            answer.result()
        except NotAnswered as error:
            harness.found([Finding(Kind.LOST, f"a command was not taken: {error}")])
    return [each for each in asked if not each.request_id]


def _owner_of(place: str) -> Victim:
    """Whose process stands at a failpoint."""
    return _OWNER[place.partition(".")[0]]


def why_missed(cell: Cell, held: dict[str, int], killed: Sequence[int]) -> str | None:
    """Why a cell was not hit; none when it was."""
    place = cell.boundary.failpoint
    if place not in held:
        return f"nobody came to stand there within {STANDS_WITHIN_SECONDS:g} s, or not to stay"
    if not killed:
        return "the victim was not there"
    if _owner_of(place) is cell.victim and held[place] not in killed:
        return "another process than the one that stood there was killed"
    return None


class _Standing:
    """Who stands at which failpoint."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._armed: list[str] = []

    def arm(self, place: str) -> None:
        self._armed.append(place)
        (self._folder / place).touch()

    def await_hits(self, places: Sequence[str]) -> None:
        """Until all are hit, or for as long as that may take."""
        give_up_at = time.monotonic() + STANDS_WITHIN_SECONDS
        while time.monotonic() < give_up_at and not all(map(self._is_hit, places)):
            time.sleep(0.05)

    def pids(self) -> dict[str, int]:
        """Of each hit place the living process that stands there; nobody comes to others now."""
        for place in self._armed:
            (self._folder / place).unlink(missing_ok=True)
        found = {
            place: int((self._folder / f"{place}.hit").read_text())
            for place in self._armed
            if self._is_hit(place)
        }
        return {place: pid for place, pid in found.items() if psutil.pid_exists(pid)}

    def let_go(self) -> None:
        for place in self._armed:
            (self._folder / f"{place}.hit").unlink(missing_ok=True)

    def _is_hit(self, place: str) -> bool:
        return (self._folder / f"{place}.hit").exists()
