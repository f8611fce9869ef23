"""What every call to a provider has: a bound on how many, a span, and its errors counted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from opentelemetry.trace import SpanKind
from prometheus_client import Counter

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
        details = {"target": provider, "targetStatus": status}
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
        self, provider: str, *, concurrency: int, wait_seconds: float, errors: Counter
    ) -> None:
        self.provider = provider
        self._wait_seconds = wait_seconds
        self._slots = threading.BoundedSemaphore(concurrency)
        self._errors = errors

    @contextmanager
    def calling(self, operation: str) -> Iterator[None]:
        """Around one call; `operation` says what it does, from a closed set.

        Errors of the block are counted, logged and raised again. Raises `Unavailable`
        (`provider_busy`) when too many calls are in flight for too long.
        """
        with span(f"{self.provider} {operation}", kind=SpanKind.CLIENT):
            try:
                with self._slot():
                    yield
            except PlatformError as error:
                self._tell(operation, error)
                raise

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(timeout=self._wait_seconds):
            raise Unavailable(
                f"Too many calls to {self.provider} are in flight.",
                code="provider_busy",
                details={"target": self.provider, "targetStatus": NO_STATUS},
                retry_after_seconds=1,
            )
        try:
            yield
        finally:
            self._slots.release()

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
