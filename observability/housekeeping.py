"""Old rows that do not go: rules and panels ask for the same."""

from __future__ import annotations

from idp_kernel.telemetry.metrics import HOUSEKEEPING_AGE
from observability.promql import series


def since_done() -> str:
    """For how long each table has waited; of several replicas it is enough that one was through."""
    return f"min by (job, table) ({series(HOUSEKEEPING_AGE)})"
