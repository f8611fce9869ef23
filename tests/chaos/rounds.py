"""Requests stand at their boundaries, somebody dies, and all have to end well by themselves."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.cells import CLAIM, COMMAND, ENDS, Cell, Victim
from tests.chaos.oracle import Oracle
from tests.chaos.results import Finding, Kind, Results
from tests.chaos.show import Show
from tests.chaos.traffic import Asked, NotAnswered, Traffic
from tests.chaos.victims import Victims
from tests.e2e.platform import Platform

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
        """Sees that all end, counts how long it took those that were open, asks the providers;
        the longest recovery.
        """
        late = self.traffic.await_ends(asked, self.stuck_after_seconds)
        self.results.requests += len(asked)
        self.found(
            Finding(Kind.STUCK, f"{each} has not ended {self.stuck_after_seconds:g} s later")
            for each in late
        )
        took = [
            each.ended_at - since
            for each in asked
            if each.ended_at is not None and each.ended_at > since
        ]
        if judged:
            self.results.recoveries += took
        self.victims.await_running()
        self.found(self.oracle.check([each for each in asked if each.state is not None]))
        self._remember([each for each in asked if each.state == "cancelled"])
        return max(took, default=0.0)

    def _remember(self, cancelled: Iterable[Asked]) -> None:
        for each in cancelled:
            if each.environment is not None:
                self._left_by[each.environment.id] = self.oracle.snapshot(each.environment.id)

    def find_late_effects(self) -> None:
        """What changed of environments since their last request was cancelled: nothing may."""
        changed = [id_ for id_, left in self._left_by.items() if self.oracle.snapshot(id_) != left]
        self.found(
            Finding(Kind.DUPLICATED, f"{id_} changed after its last request was cancelled")
            for id_ in changed
        )


def run_batch(harness: Harness, batch: Sequence[Cell]) -> list[Cell]:
    """The cells that were hit: a request stood there, and the victim lived until it was killed."""
    standing = _Standing(harness.platform.failpoints)
    victim = batch[0].victim
    asked, made = harness.traffic.take_all([each.boundary.way for each in batch])
    harness.results.requests += len(made)
    harness.found(harness.oracle.check(made))
    for each in asked:
        harness.traffic.prepare(each)
    answers = _bring_to_their_places(harness, list(zip(batch, asked, strict=True)), standing)
    held = standing.pids()
    own = [pid for place, pid in held.items() if _owner_of(place) is victim]
    pids = harness.killed(victim, own)
    since = time.monotonic()
    standing.let_go()
    refused = _await_answers(harness, answers, asked)
    hit = [each for each in batch if _is_hit(each, held, pids)]
    slowest = harness.await_ends(
        [each for each in asked if each not in refused and each.request_id], since=since
    )
    harness.results.cells += len(hit)
    harness.show.line(
        f"[cyan]{victim:<18}[/cyan] {len(hit):>2} of {len(batch):>2} cells, "
        f"all ended {slowest:5.1f} s later"
    )
    return hit


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


def _is_hit(cell: Cell, held: dict[str, int], killed: Sequence[int]) -> bool:
    place = cell.boundary.failpoint
    if place not in held or not killed:
        return False
    is_its_own = _owner_of(place) is cell.victim
    return held[place] in killed if is_its_own else True


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
