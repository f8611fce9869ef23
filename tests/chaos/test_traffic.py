"""When a request got on after a kill, and when it ended."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.chaos.cells import Way
from tests.chaos.traffic import Application, Asked, got_on_at


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def ended(steps: list[dict[str, Any]], seconds_ago: float) -> Asked:
    """A request that ended so long ago."""
    asked = Asked(Way.ONBOARDING, Application("", "shop", ""), None, shown={"steps": steps})
    asked.ended_at = time.monotonic() - seconds_ago
    return asked


def test_it_gets_on_with_the_next_step_that_succeeds() -> None:
    asked = ended(
        [
            {"state": "succeeded", "endedAt": ago(50)},
            {"state": "failed", "endedAt": ago(28)},
            {"state": "succeeded", "endedAt": ago(10)},
            {"state": "succeeded", "endedAt": ago(20)},
            {"state": "running", "endedAt": None},
        ],
        seconds_ago=5,
    )
    killed = time.monotonic() - 30
    assert got_on_at(asked, killed) - killed == pytest.approx(10, abs=1)


def test_without_a_further_step_it_gets_on_by_ending() -> None:
    asked = ended([{"state": "succeeded", "endedAt": ago(50)}], seconds_ago=5)
    assert got_on_at(asked, time.monotonic() - 30) == asked.ended_at
