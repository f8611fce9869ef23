"""When a provider is left alone: a rate, the pauses that it asks for, and a circuit breaker.

    closed ──(failures in a row)──▶ open ──(cool-down)──▶ half-open ──(the probe's answer)──▶ closed
                                     ▲                        │
                                     └──(none: twice as long)─┘

Half-open lets one call through; all others are refused until that one has ended. An answer is
whatever the provider itself says, a refusal too. Time comes from a monotonic clock, in seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from idp_kernel.downstream import CircuitState, Refusal
from idp_kernel.errors import PlatformError, Unavailable
from idp_kernel.telemetry.metrics import NO_STATUS, PROVIDER_CIRCUIT, PROVIDER_REFUSALS

Monotonic = Callable[[], float]
PROBE_SECONDS: Final = 5.0
"""When who is refused because of a probe may come again."""
CONTENDED: Final = "contended"
"""Marks, in an error's details, that somebody else was at the same thing."""
_MOST_DOUBLINGS = 16


@dataclass(frozen=True)
class Limits:
    """How one provider is called from one process."""

    calls_per_second: float = 50.0
    burst: int = 50
    """Calls that may begin at once after a rest."""
    circuit_failures: int = 5
    """In a row, which open the circuit."""
    circuit_cool_down_seconds: float = 15.0
    """The first; it doubles with each probe that fails."""
    circuit_longest_cool_down_seconds: float = 300.0
    longest_pause_seconds: float = 3600.0
    """Of those that a provider asks for."""


class LimitMetrics:
    """What the limits of all providers tell; targets and reasons come from closed sets."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._circuit = PROVIDER_CIRCUIT.gauge(registry)
        self._refusals: Counter = PROVIDER_REFUSALS.counter(registry)

    def circuit(self, target: str, state: CircuitState) -> None:
        """The circuit is in this state and in no other."""
        for each in CircuitState:
            self._circuit.labels(target, each).set(each is state)

    def shows(self, target: str) -> None:
        """Each refusal has its series from the first call on: an increase needs one to begin at."""
        for reason in Refusal:
            self._refusals.labels(target, reason)

    def refused(self, target: str, reason: Refusal) -> None:
        """A call was not made."""
        self._refusals.labels(target, reason).inc()


class Pace:
    """A token bucket whose callers queue: each is told how long to wait for its turn.
    Thread-safe.
    """

    def __init__(self, per_second: float, burst: int, monotonic: Monotonic) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._tokens = self._burst
        self._filled_at = monotonic()

    def turn(self, *, within_seconds: float) -> tuple[bool, float]:
        """Whether there is a turn within that time, and in how many seconds it comes; one that
        comes too late is not taken.
        """
        with self._lock:
            now = self._monotonic()
            gained = (now - self._filled_at) * self._per_second
            self._tokens = min(self._burst, self._tokens + gained)
            self._filled_at = now
            seconds = max(0.0, (1 - self._tokens) / self._per_second)
            if seconds > within_seconds:
                return False, seconds
            self._tokens -= 1
            return True, seconds


class Gate:
    """Closed while the provider asked for a pause or its circuit is open. Thread-safe."""

    def __init__(
        self,
        provider: str,
        limits: Limits,
        metrics: LimitMetrics,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self._provider = provider
        self._limits = limits
        self._metrics = metrics
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._paused_until = float("-inf")
        self._opens_until = float("-inf")
        self._failures = 0
        self._failed_probes = 0
        self._is_probing = False
        self._state = CircuitState.CLOSED
        metrics.circuit(provider, self._state)

    @property
    def state(self) -> CircuitState:
        return self._state

    def check(self, operation: str) -> None:
        """Raises as `passing` does, and takes no place."""
        with self._lock:
            self._require_open(operation)

    @contextmanager
    def passing(self, operation: str) -> Iterator[None]:
        """Around one call at the provider, whose outcome decides over later ones. A pause that its
        error asks for is cut to the longest there is.

        Raises `Unavailable` with the rest of the time: `provider_paused` or `circuit_open`.
        """
        is_probe = self._enter(operation)
        try:
            yield
        except PlatformError as error:
            self._bound_pause(error)
            self._leave(error, is_probe=is_probe)
            raise
        except BaseException:
            # Nothing is known of the provider: the next call is the probe.
            with self._lock:
                self._is_probing = self._is_probing and not is_probe
            raise
        self._leave(None, is_probe=is_probe)

    def _enter(self, operation: str) -> bool:
        """Whether this call is the probe."""
        with self._lock:
            self._require_open(operation)
            if self._state is CircuitState.CLOSED:
                return False
            self._be(CircuitState.HALF_OPEN)
            self._is_probing = True
            return True

    def _require_open(self, operation: str) -> None:
        now = self._monotonic()
        if now < self._paused_until:
            raise self._refused(operation, Refusal.PAUSED, self._paused_until - now)
        if now < self._opens_until:
            raise self._refused(operation, Refusal.CIRCUIT_OPEN, self._opens_until - now)
        if self._is_probing:
            raise self._refused(operation, Refusal.CIRCUIT_OPEN, PROBE_SECONDS)

    def _leave(self, error: PlatformError | None, *, is_probe: bool) -> None:
        with self._lock:
            if is_probe:
                self._is_probing = False
            if (pause := _pause_of(error)) is not None:
                self._paused_until = max(self._paused_until, self._monotonic() + pause)
            if is_outage(error):
                self._failed(is_probe=is_probe)
            elif is_probe or self._state is CircuitState.CLOSED:
                self._answered()

    def _bound_pause(self, error: PlatformError) -> None:
        if isinstance(error, Unavailable) and error.retry_after_seconds is not None:
            longest = self._limits.longest_pause_seconds
            error.retry_after_seconds = min(error.retry_after_seconds, longest)

    def _failed(self, *, is_probe: bool) -> None:
        if is_probe:
            self._failed_probes += 1
            self._open()
        elif self._state is CircuitState.CLOSED:
            self._failures += 1
            if self._failures >= self._limits.circuit_failures:
                self._open()

    def _open(self) -> None:
        doubled = 2 ** min(self._failed_probes, _MOST_DOUBLINGS)
        cool_down = min(
            self._limits.circuit_cool_down_seconds * doubled,
            self._limits.circuit_longest_cool_down_seconds,
        )
        self._opens_until = self._monotonic() + cool_down
        self._be(CircuitState.OPEN)

    def _answered(self) -> None:
        self._failures = self._failed_probes = 0
        self._opens_until = float("-inf")
        self._be(CircuitState.CLOSED)

    def _be(self, state: CircuitState) -> None:
        if state is not self._state:
            self._state = state
            self._metrics.circuit(self._provider, state)

    def _refused(self, operation: str, reason: Refusal, seconds: float) -> Unavailable:
        self._metrics.refused(self._provider, reason)
        return refusal(self._provider, operation, reason, seconds)


_WORDS: dict[Refusal, str] = {
    Refusal.BUSY: "too many calls to it are in flight. It is tried again.",
    Refusal.RATE_LIMITED: (
        "calls to it are at the rate that this platform keeps to. It is tried again in "
        "{seconds:.0f} s."
    ),
    Refusal.PAUSED: "it asked to be left alone. It is called again in {seconds:.0f} s.",
    Refusal.CIRCUIT_OPEN: (
        "it failed or was away several times in a row. See whether it runs; it is tried again in "
        "{seconds:.0f} s."
    ),
}


def refusal(provider: str, operation: str, reason: Refusal, seconds: float) -> Unavailable:
    """The error of a call that was not made."""
    return Unavailable(
        f"{provider} was not asked to {operation}: {_WORDS[reason].format(seconds=seconds)}",
        code=reason.value,
        details={"target": provider, "targetStatus": NO_STATUS},
        retry_after_seconds=seconds,
    )


def is_outage(error: PlatformError | None) -> bool:
    """Whether an error says that the provider is away: it gave no answer, or one of its own
    trouble, and did not say when to come again. Somebody else at the same thing is none.
    """
    if not isinstance(error, Unavailable) or _pause_of(error) is not None:
        return False
    status = str(error.details.get("targetStatus", NO_STATUS))
    refused = len(status) == 3 and status.startswith("4") and status not in ("408", "429")
    return not refused and not error.details.get(CONTENDED, False)


def _pause_of(error: PlatformError | None) -> float | None:
    """How long the provider wants to be left alone; None when it does not say."""
    if not isinstance(error, Unavailable) or not error.retry_after_seconds:
        return None
    return None if error.details.get(CONTENDED, False) else error.retry_after_seconds
