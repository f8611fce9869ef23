"""What goes wrong with one call, and how that must be told."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from prometheus_client import CollectorRegistry

from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.limits import Limits
from idp_kernel.errors import PlatformError, ProviderRejected, Unavailable
from idp_kernel.telemetry.metrics import downstream_errors
from tests.fixtures.vendors.stand_in import RETRY_AFTER_SECONDS, Fault

DAY_SECONDS = 24 * 3600
NOT_THE_VENDORS = [{"message": "no route"}, "404 page not found", ["errors"], None]
"""What a proxy may say with status 404."""

IS_TOLD_AS: dict[Fault, type[PlatformError] | None] = {
    Fault.RATE_LIMITED: Unavailable,
    Fault.SECONDARY_LIMIT: ProviderRejected,
    Fault.FAILED: Unavailable,
    Fault.BAD_GATEWAY: Unavailable,
    Fault.EXPIRED: ProviderRejected,
    Fault.SLOW: Unavailable,
    Fault.RESET: Unavailable,
    Fault.TRUNCATED: Unavailable,
    Fault.SKEWED: None,
}
"""Unavailable is tried again by the engine, the other waits for a person."""


def provider_calls(name: str, *, concurrency: int = 8) -> ProviderCalls:
    """With hardly a limit: a fault is followed by the repeat at once, when each pause is over."""
    limits = Limits(calls_per_second=10_000, burst=1000, circuit_failures=1000)
    later = count(step=DAY_SECONDS)
    return ProviderCalls(
        name,
        concurrency=concurrency,
        wait_seconds=10,
        errors=downstream_errors(CollectorRegistry()),
        limits=limits,
        monotonic=lambda: float(next(later)),
    )


def assert_told(fault: Fault, provider: str, operation: str, work: Callable[[], object]) -> None:
    """The work meets the fault and says so: who, which operation, and what is to be done."""
    kind = IS_TOLD_AS[fault]
    if kind is None:
        work()
        return
    with pytest.raises(kind) as told:
        work()
    error = told.value
    assert error.message.startswith(f"{provider} did not {operation}: ")
    assert error.message.count(". ") >= 1, "a remedy follows what was found"
    if fault is Fault.RATE_LIMITED:
        assert isinstance(error, Unavailable)
        assert error.retry_after_seconds == RETRY_AFTER_SECONDS
