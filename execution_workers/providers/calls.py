"""What every call to a provider has: limits, a span, and its errors counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry, Counter

from execution_workers.providers.limits import (
    CONTENDED,
    Gate,
    LimitMetrics,
    Limits,
    Monotonic,
    Pace,
    refusal,
)
from idp_kernel.downstream import Refusal
from idp_kernel.errors import InvariantBroken, PlatformError, ProviderRejected, Unavailable
from idp_kernel.telemetry.logs import redact
from idp_kernel.telemetry.metrics import NO_STATUS, count_downstream_error
from idp_kernel.telemetry.traces import span

_LONGEST_FOUND_CHARACTERS = 400
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Verdict:
    """What a provider's error means to us: one line of an error table."""

    error: type[Unavailable | ProviderRejected | InvariantBroken]
    code: str
    remedy: str
    contended: bool = False
    """Of `Unavailable`: somebody else was at the same thing, and the provider itself is well."""

    def of(
        self,
        provider: str,
        operation: str,
        found: str,
        *,
        status: str = NO_STATUS,
        retry_after_seconds: float | None = None,
    ) -> PlatformError:
        """The error to raise; names the provider, the operation, what was found, the remedy."""
        message = f"{provider} did not {operation}: {_short(found)}. {self.remedy}"
        details: dict[str, object] = {"target": provider, "targetStatus": status}
        if self.contended:
            details[CONTENDED] = True
        if issubclass(self.error, Unavailable):
            return self.error(
                message,
                code=self.code,
                details=details,
                retry_after_seconds=retry_after_seconds,
            )
        return self.error(message, code=self.code, details=details)


class ProviderCalls:
    """The way all calls to one provider take. Thread-safe."""

    def __init__(
        self,
        provider: str,
        *,
        concurrency: int,
        wait_seconds: float,
        errors: Counter,
        limits: Limits | None = None,
        metrics: LimitMetrics | None = None,
        monotonic: Monotonic = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`metrics` may be left out where nobody looks at them."""
        limits = limits or Limits()
        self.provider = provider
        self._wait_seconds = wait_seconds
        self._slots = threading.BoundedSemaphore(concurrency)
        self._errors = errors
        self._metrics = metrics or LimitMetrics(CollectorRegistry())
        self._metrics.shows(provider)
        self._gate = Gate(provider, limits, self._metrics, monotonic)
        self._pace = Pace(limits.calls_per_second, limits.burst, monotonic)
        self._sleep = sleep

    @contextmanager
    def calling(self, operation: str) -> Iterator[None]:
        """Around one call; `operation` says what it does, from a closed set.

        Errors of the block are counted, logged and raised again, and decide whether later calls
        are made. Raises `Unavailable` instead of calling: `provider_busy` when too many calls are
        in flight for too long, `provider_rate_limited` when a turn is too far away,
        `provider_paused` while the provider wants to be left alone, `circuit_open` while it does
        not answer.
        """
        with span(f"{self.provider} {operation}", kind=SpanKind.CLIENT):
            try:
                self._gate.check(operation)
                waited = self._await_turn(operation)
                with (
                    self._slot(operation, self._wait_seconds - waited),
                    self._gate.passing(operation),
                ):
                    yield
            except PlatformError as error:
                self._tell(operation, error)
                raise

    def _await_turn(self, operation: str) -> float:
        """How many seconds that took."""
        has_turn, seconds = self._pace.turn(within_seconds=self._wait_seconds)
        if not has_turn:
            raise self._refused(operation, Refusal.RATE_LIMITED, seconds)
        if seconds > 0:
            self._sleep(seconds)
        return seconds

    @contextmanager
    def _slot(self, operation: str, wait_seconds: float) -> Iterator[None]:
        if not self._slots.acquire(timeout=wait_seconds):
            raise self._refused(operation, Refusal.BUSY, 1)
        try:
            yield
        finally:
            self._slots.release()

    def _refused(self, operation: str, reason: Refusal, seconds: float) -> Unavailable:
        self._metrics.refused(self.provider, reason)
        return refusal(self.provider, operation, reason, seconds)

    def _tell(self, operation: str, error: PlatformError) -> None:
        status = str(error.details.get("targetStatus", NO_STATUS))
        count_downstream_error(self._errors, self.provider, error)
        _log.warning(
            "provider_call_failed",
            target=self.provider,
            operation=operation,
            code=error.code,
            status=status,
            detail=error.message,
        )


def _short(found: str) -> str:
    """On one line, without what looks like a credential."""
    return redact(" ".join(found.split()))[:_LONGEST_FOUND_CHARACTERS].rstrip(".")
