"""Durations as people write them: `90d`, `12h`, `45m`, `1d12h`."""

from __future__ import annotations

import re

from idp_kernel.errors import InvalidInput

SECONDS_BY_UNIT = {"d": 24 * 3600, "h": 3600, "m": 60, "s": 1}
"""From the longest unit to the shortest, the order they are written in."""
DURATION_FORM = "whole numbers with d, h, m or s, such as 90d, 12h, 45m or 1d12h"

_DURATION = re.compile("".join(rf"(?:(\d{{1,9}}){unit})?" for unit in SECONDS_BY_UNIT))


def parse_duration(text: str) -> int:
    """Seconds; raises `InvalidInput` (`duration_invalid`) that says what fits."""
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None or not any(found.groups()):
        raise InvalidInput(
            f"{text!r} is no duration; what fits: {DURATION_FORM}.", code="duration_invalid"
        )
    counts = (int(count or 0) for count in found.groups())
    return sum(
        count * seconds for count, seconds in zip(counts, SECONDS_BY_UNIT.values(), strict=True)
    )


def duration_text(seconds: int) -> str:
    """The shortest way to write it, which `parse_duration` reads back."""
    parts = []
    rest = seconds
    for unit, size in SECONDS_BY_UNIT.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def rough_duration_text(seconds: int) -> str:
    """In its longest unit alone, rounded down: `3d` for three days and a half."""
    for unit, size in SECONDS_BY_UNIT.items():
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return "0s"
