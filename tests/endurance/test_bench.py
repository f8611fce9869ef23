"""`make bench`, for a short time and of two contenders, from the command to the results file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.processes import ROOT
from tests.bench.table import HEADINGS
from tests.e2e.conftest import PORT_OFFSET

SECONDS = 900
"""Then it hangs; four parts share the machine."""
OFFSET = PORT_OFFSET + 900
"""Another platform's ports than those of the tests beside."""


def measured(out: Path, *arguments: str) -> dict[str, Any]:
    """The results file, and what was printed under `printed`."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.bench", *arguments, "--short", "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    return {**found, "printed": ran.stdout}


@pytest.mark.nightly
@pytest.mark.timeout(SECONDS)
def test_the_engine_and_what_it_stands_on_are_measured(tmp_path: Path) -> None:
    found = measured(tmp_path / "results.json", "compare", "--only", "engine", "celery")
    assert found["celery_runs_per_minute"] > found["engine_runs_per_minute"] > 0
    for each in found["contenders"]:
        figures = each["measured"]
        assert 0 < figures["idle"]["first_step"]["p50"] <= figures["idle"]["final_state"]["p50"]
        assert figures["statements_per_request"] > 6
        assert figures["cpu_seconds_per_request"] > 0
        assert figures["pss_mebibytes"] > 50
    assert len(found["contenders"]) == 2
    assert HEADINGS[1].split()[0] in found["printed"]


@pytest.mark.system
@pytest.mark.timeout(SECONDS)
def test_more_workers_at_redis_and_replicas_behind_a_proxy_are_measured(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    found = measured(out, "scaling", "--port-offset", str(OFFSET))["scaling"]
    workers = found["workers"]["redis_2"]
    assert workers["runs_per_minute"] > 0
    costs = workers["cpu_seconds_per_request"]
    assert all(costs[name] > 0 for name in ("worker", "daemon", "code-server", "postgres"))
    behind = found["replicas"]["2"]["behind_the_proxy"]
    for each in (behind["commands"], behind["queries"]):
        assert each["per_second"] > 0
        assert 0 < each["seconds"]["p50"] <= each["seconds"]["p99"]
