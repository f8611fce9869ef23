"""How often and how long a run looks at what others bring about."""

from __future__ import annotations

from dagster import Config


class Patience(Config):
    """In seconds."""

    look_every_seconds: float = 0.25
    longest_seconds: float = 60.0
    wait_seconds: float = 60.0
    """How long the request then waits before the next run looks again."""


class ReconciliationPatience(Patience):
    """Beside it, how long bad health may last."""

    degraded_seconds: float = 10.0
    """An agent may pass through bad health while it applies; longer than this it will stay."""
