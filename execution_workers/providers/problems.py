"""Parties that answer with our own problem documents: the platform's forge and agent.

The kernel's client has turned each into an error of the tree, but told as our caller's fault. Here
it becomes what it is for the caller of execution-workers; each party has its own table.
"""

from __future__ import annotations

from collections.abc import Mapping

from execution_workers.providers.calls import Verdict
from idp_kernel.errors import PlatformError, Unavailable
from idp_kernel.http.problems import status_of
from idp_kernel.telemetry.metrics import NO_STATUS

ErrorTable = Mapping[type[PlatformError], Verdict]


def expect(error: PlatformError, code: str) -> None:
    """An answer that is no failure where it is caught; one with another code is raised again."""
    if error.code != code:
        raise error


def translate(
    table: ErrorTable, error: PlatformError, provider: str, operation: str
) -> PlatformError:
    """The error for our caller, by the table's line for its class."""
    answered = error.code != "unreachable"
    return table[type(error)].of(
        provider,
        operation,
        error.message,
        status=str(status_of(error)) if answered else NO_STATUS,
        retry_after_seconds=error.retry_after_seconds if isinstance(error, Unavailable) else None,
    )
