"""How many calls a bearer token may make."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class RatePolicy:
    """So many calls a second for long, so many at once."""

    per_second: float
    burst: int

    @property
    def window_seconds(self) -> int:
        """After how long an empty bucket is full again."""
        return max(1, math.ceil(self.burst / self.per_second))
