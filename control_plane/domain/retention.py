"""How long is kept what grows with traffic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Retention:
    """How long journals are kept."""

    events: timedelta
    audit: timedelta | None
    """For ever when none."""
