"""What a run of the benchmarks found, as `results.json` has it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.comparing import Outcome
from tests.bench.machine import Machine
from tests.bench.measuring import Plan

RATE_KEY = "{}_runs_per_minute"
"""At the top of `results.json`, for each contender that could be measured."""

Document = dict[str, Any]


def comparison(outcomes: Iterable[Outcome], machine: Machine, plan: Plan, at: datetime) -> Document:
    """The part of the contenders: their rates first, then all that is known of each."""
    told = list(outcomes)
    return {
        **{
            RATE_KEY.format(each.contender.key): round(each.measured.runs_per_minute, 1)
            for each in told
            if each.measured is not None
        },
        "machine": asdict(machine),
        "plan": asdict(plan),
        "compared_at": at.isoformat(timespec="seconds"),
        "contenders": [_contender(each) for each in told],
    }


def _contender(outcome: Outcome) -> Document:
    contender = outcome.contender
    return {
        "key": contender.key,
        "title": contender.title,
        "versions": dict(contender.versions),
        "settings": dict(contender.settings),
        "measured": None if outcome.measured is None else _rounded(asdict(outcome.measured)),
        "error": outcome.error,
    }


def _rounded(found: Any) -> Any:
    """With as many digits as can mean anything."""
    if isinstance(found, float):
        return round(found, 4)
    if isinstance(found, Mapping):
        return {name: _rounded(each) for name, each in found.items()}
    return found


def part(name: str, found: Mapping[str, Any], at: datetime) -> Document:
    """Another part, under its name."""
    return {name: {**_rounded(found), "measured_at": at.isoformat(timespec="seconds")}}


def kept_with(path: Path, found: Mapping[str, Any]) -> Document:
    """Writes what was found; parts that were measured earlier stay. Answers all of it."""
    before: Document = json.loads(path.read_text()) if path.exists() else {}
    document = {**before, **found}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    return document


def now() -> datetime:
    return datetime.now(UTC)
