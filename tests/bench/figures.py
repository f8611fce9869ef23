"""Figures of samples: spreads, and how far a ratio can be trusted."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Of samples in one unit, which stands in the name of whoever holds it."""

    p50: float
    p95: float
    p99: float


def spread(samples: Sequence[float]) -> Spread:
    """Each is one of the samples: the smallest that as many of them do not exceed."""
    ordered = sorted(samples)
    return Spread(*(percentile(ordered, each) for each in (0.50, 0.95, 0.99)))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of samples in order, by nearest rank; raises `ValueError` when there is none."""
    if not ordered:
        raise ValueError("no samples")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True)
class Ratio:
    """With the interval that holds it with 95 % confidence."""

    value: float
    low: float
    high: float


def ratio_of_medians(
    blocks: Sequence[Sequence[float]],
    base: Sequence[Sequence[float]],
    *,
    resamples: int = 2000,
    seed: int = 1,
) -> Ratio:
    """How much larger the median of `blocks` is than that of `base`.

    Blocks are drawn again and again with their samples (bootstrap): what all samples of a block
    have in common, such as another program at work beside it, widens the interval.
    """
    drawing = random.Random(seed)  # noqa: S311 - nothing secret is drawn
    drawn = sorted(
        _median(drawing.choices(blocks, k=len(blocks)))
        / _median(drawing.choices(base, k=len(base)))
        for _ in range(resamples)
    )
    return Ratio(
        _median(blocks) / _median(base), percentile(drawn, 0.025), percentile(drawn, 0.975)
    )


def _median(blocks: Sequence[Sequence[float]]) -> float:
    return statistics.median([sample for block in blocks for sample in block])
