"""What goes wrong with one call, and how that must be told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from idp_kernel.errors import PlatformError, ProviderRejected, Unavailable
from tests.fixtures.vendors.stand_in import RETRY_AFTER_SECONDS, Fault

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
