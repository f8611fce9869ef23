"""What a run of the harness found, as it is written and as its exit status says it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from pathlib import Path
from typing import Any

from tests.chaos.cells import ELSEWHERE


class Kind(StrEnum):
    """What may be wrong."""

    LOST = "lost"
    """A request was forgotten, or did not do what was asked for though nothing stood against it,
    or a provider lacks what it says it did.
    """
    DUPLICATED = "duplicated"
    """A provider has an effect twice, or one that came after its request had ended."""
    STUCK = "stuck"
    """A request did not end by itself."""
    WRONG_METRICS = "wrong_metrics"
    """A counter is not what the rows say."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    kind: Kind
    what: str


@dataclass
class Results:
    """What was done and found so far."""

    hit: list[str] = field(default_factory=list)
    """Cells, each confirmed by its failpoint."""
    planned_cells: int = 0
    missed: dict[str, str] = field(default_factory=dict)
    """Cells that were planned and not hit, each with the reason."""
    suspect: list[str] = field(default_factory=list)
    """Cells in whose company something was found."""
    trials: int = 0
    faults: list[str] = field(default_factory=list)
    """Those that were brought about."""
    not_possible: dict[str, str] = field(default_factory=dict)
    """Faults that this machine does not allow, each with the reason."""
    requests: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    """By victim."""
    findings: list[Finding] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    """Seconds from a kill until each request that was open then got on: the next of its steps
    succeeded, or it ended.
    """
    ends: list[float] = field(default_factory=list)
    """Seconds from a kill to the end of each request that was open then."""
    seconds: float = 0

    @property
    def cells(self) -> int:
        return len(self.hit)

    def count(self, kind: Kind) -> int:
        return sum(finding.kind is kind for finding in self.findings)

    @property
    def is_good(self) -> bool:
        return not self.findings and not self.missed

    def document(self) -> dict[str, Any]:
        """As it stands in `results.json`."""
        return {
            "cells": self.cells,
            "trials": self.trials,
            **{kind.value: self.count(kind) for kind in Kind},
            "recovery_p50_seconds": percentile(self.recoveries, 50),
            "recovery_p99_seconds": percentile(self.recoveries, 99),
            "ended_p50_seconds": percentile(self.ends, 50),
            "ended_p99_seconds": percentile(self.ends, 99),
            "planned_cells": self.planned_cells,
            "missed_cells": self.missed,
            "suspect_cells": self.suspect,
            "never_passed": dict(ELSEWHERE),
            "faults": self.faults,
            "not_possible": self.not_possible,
            "requests": self.requests,
            "kills": dict(self.kills),
            "findings": [{"kind": each.kind.value, "what": each.what} for each in self.findings],
            "seconds": round(self.seconds, 1),
            "recoveries_seconds": [round(each, 2) for each in self.recoveries],
            "ends_seconds": [round(each, 2) for each in self.ends],
            "hit_cells": self.hit,
        }

    @classmethod
    def resumed(cls, path: Path) -> Results:
        """Goes on where a run ended: with what it counted, but for cells in whose company something
        was found, and what that was; they are to be hit again.
        """
        told = json.loads(path.read_text(encoding="utf-8"))
        suspect = set(told["suspect_cells"])
        hit = [each for each in told["hit_cells"] if each not in suspect]
        return cls(
            hit=hit,
            planned_cells=len(hit),
            trials=told["trials"],
            faults=told["faults"],
            not_possible=told["not_possible"],
            requests=told["requests"],
            kills=Counter(told["kills"]),
            recoveries=told["recoveries_seconds"],
            ends=told["ends_seconds"],
            seconds=told["seconds"],
        )

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.document(), indent=2) + "\n", encoding="utf-8")


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The smallest value that so many percent do not exceed, in whole hundredths; none of none."""
    if not values:
        return None
    rank = max(1, ceil(len(values) * percent / 100))
    return round(sorted(values)[rank - 1], 2)
