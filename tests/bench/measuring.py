"""How a contender is measured: at saturation, alone, and at half of what it can."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.bench.contender import Running
from tests.bench.figures import Spread, spread
from tests.bench.processes import NotInTime
from tests.bench.stub import StubCalls
from tests.bench.usage import Counted, cpu_seconds, pss_mebibytes

_LOOK_EVERY_SECONDS = 0.05
_ASK_EVERY_SECONDS = 0.2


@dataclass(frozen=True)
class Plan:
    """How long each part takes."""

    warm_up_requests: int
    saturation_seconds: float
    outstanding: int
    """Requests that are kept waiting or at work, at saturation."""
    idle_requests: int
    half_load_seconds: float
    patience_seconds: float = 120.0
    """For requests to end, before a contender counts as stuck."""

    def at(self, pace: float) -> Plan:
        """The plan for a contender that does little: fewer requests in about the time."""
        if pace >= 1:
            return self
        few = max(1, round(self.idle_requests * pace))
        return Plan(
            warm_up_requests=1,
            saturation_seconds=self.saturation_seconds,
            outstanding=min(self.outstanding, 6),
            idle_requests=min(few, 3),
            half_load_seconds=0.0,
            patience_seconds=self.patience_seconds * 3,
        )


@dataclass(frozen=True)
class Latencies:
    """From the acceptance of a request, in seconds."""

    first_step: Spread
    final_state: Spread
    requests: int


@dataclass(frozen=True)
class Measured:
    """What was found of one contender."""

    runs_per_minute: float
    requests: int
    """That ended at saturation, within the time measured."""
    idle: Latencies
    half_load: Latencies | None
    """None of one that does too little for it."""
    cpu_seconds_per_request: float
    statements_per_request: float | None
    database_bytes_per_request: float | None
    pss_mebibytes: float


@dataclass
class Requests:
    """Those submitted so far, and what is known of them."""

    contender: Running
    calls: StubCalls
    accepted: dict[str, float] = field(default_factory=dict)
    finished: dict[str, float] = field(default_factory=dict)

    def submit(self, number: int) -> None:
        self.accepted.update(self.contender.submit(number))

    def called_through(self) -> int:
        """How many have made their last call."""
        self.calls.look()
        return sum(len(self.calls.steps_of(each)) >= self.contender.steps for each in self.accepted)

    def await_finished(self, seconds: float, *, ask_every_seconds: float) -> None:
        """Until all are; raises `NotInTime` after `seconds`."""
        give_up_at = time.monotonic() + seconds
        while (through := self.called_through()) < len(self.accepted):
            if time.monotonic() > give_up_at:
                raise NotInTime(
                    f"{through} of {len(self.accepted)} requests were through in {seconds:g} s"
                )
            time.sleep(_LOOK_EVERY_SECONDS)
        while missing := [each for each in self.accepted if each not in self.finished]:
            self.finished.update(self.contender.finished(missing))
            if time.monotonic() > give_up_at:
                raise NotInTime(f"{len(missing)} requests were not finished in {seconds:g} s")
            time.sleep(ask_every_seconds)

    def latencies(self) -> Latencies:
        return latencies_of(
            self.accepted,
            {each: self.calls.steps_of(each) for each in self.accepted},
            self.finished,
        )


def latencies_of(
    accepted: Mapping[str, float],
    steps: Mapping[str, Mapping[str, float]],
    finished: Mapping[str, float],
) -> Latencies:
    """Of requests that are all finished. A step that began before its request's acceptance was
    answered took no time.
    """
    return Latencies(
        first_step=spread([max(0.0, min(steps[e].values()) - at) for e, at in accepted.items()]),
        final_state=spread([max(0.0, finished[e] - at) for e, at in accepted.items()]),
        requests=len(accepted),
    )


def measure(contender: Running, calls: StubCalls, plan: Plan) -> Measured:
    """All parts, one after the other."""
    warm_up = Requests(contender, calls)
    warm_up.submit(plan.warm_up_requests)
    warm_up.await_finished(plan.patience_seconds, ask_every_seconds=_ASK_EVERY_SECONDS)
    idle = measure_idle(contender, calls, plan)
    before = _read(contender)
    saturated = saturate(contender, calls, plan)
    memory = pss_mebibytes(contender.roots)
    saturated.await_finished(plan.patience_seconds, ask_every_seconds=_ASK_EVERY_SECONDS)
    after = _read(contender)
    requests = len(saturated.accepted)
    rate, counted = throughput(list(saturated.finished.values()), plan.outstanding)
    half = None
    if plan.half_load_seconds:
        half = measure_under_load(contender, calls, rate / 60 / 2, plan)
    return Measured(
        runs_per_minute=rate,
        requests=counted,
        idle=idle,
        half_load=half,
        cpu_seconds_per_request=(after.cpu_seconds - before.cpu_seconds) / requests,
        statements_per_request=_each(before.counted, after.counted, "statements", requests),
        database_bytes_per_request=_each(before.counted, after.counted, "bytes", requests),
        pss_mebibytes=memory,
    )


def measure_idle(contender: Running, calls: StubCalls, plan: Plan) -> Latencies:
    """One request at a time, at moments that keep no step with anybody's interval."""
    all_of_them = Requests(contender, calls)
    for number in range(plan.idle_requests):
        one = Requests(contender, calls)
        one.submit(1)
        one.await_finished(plan.patience_seconds, ask_every_seconds=_LOOK_EVERY_SECONDS)
        all_of_them.accepted.update(one.accepted)
        all_of_them.finished.update(one.finished)
        time.sleep(0.1 + (number * 0.37) % 0.5)
    return all_of_them.latencies()


def saturate(contender: Running, calls: StubCalls, plan: Plan) -> Requests:
    """Keeps `outstanding` requests with the contender for the time, then lets them end."""
    requests = Requests(contender, calls)
    end_at = time.monotonic() + plan.saturation_seconds
    while time.monotonic() < end_at:
        missing = plan.outstanding - (len(requests.accepted) - requests.called_through())
        if missing > 0:
            # A few at a time, so that the first of them do not wait for the last one's answer.
            requests.submit(min(missing, 8))
        else:
            time.sleep(_LOOK_EVERY_SECONDS)
    return requests


def throughput(finished_at: Sequence[float], outstanding: int) -> tuple[float, int]:
    """Requests a minute, and of how many: between the end of the first few and the moment from
    which nothing new was handed over, when `outstanding` were left.
    """
    ended = sorted(finished_at)
    few = max(1, min(outstanding // 4, len(ended) // 4))
    last = len(ended) - min(outstanding, len(ended) // 4)
    counted = ended[few - 1 : last]
    if len(counted) < 2 or counted[-1] <= counted[0]:
        counted = ended
    if len(counted) < 2 or counted[-1] <= counted[0]:
        raise NotInTime(f"{len(ended)} requests ended, too few for a rate")
    return (len(counted) - 1) / (counted[-1] - counted[0]) * 60, len(counted)


def measure_under_load(
    contender: Running, calls: StubCalls, per_second: float, plan: Plan
) -> Latencies:
    """Requests at even distances, however long those before take."""
    requests = Requests(contender, calls)
    began = time.monotonic()
    number = 0
    while (now := time.monotonic() - began) < plan.half_load_seconds:
        due = int(now * per_second) + 1
        if number < due:
            requests.submit(1)
            number += 1
        else:
            time.sleep(max(0.0, min(0.02, due / per_second - now)))
    requests.await_finished(plan.patience_seconds, ask_every_seconds=_ASK_EVERY_SECONDS)
    return requests.latencies()


@dataclass(frozen=True)
class _Reading:
    cpu_seconds: float
    counted: Counted | None


def _read(contender: Running) -> _Reading:
    counts = contender.counts
    return _Reading(cpu_seconds(contender.roots), counts.read() if counts is not None else None)


def _each(before: Counted | None, after: Counted | None, name: str, requests: int) -> float | None:
    if before is None or after is None:
        return None
    found: int = getattr(after, name) - getattr(before, name)
    return found / requests
