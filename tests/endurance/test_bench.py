"""`make bench`, for a short time and of two contenders, from the command to the results file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.processes import ROOT
from tests.bench.table import HEADINGS
from tests.e2e.conftest import PORT_OFFSET

SECONDS = 240
OFFSET = PORT_OFFSET + 900
"""Another platform's ports than those of the tests beside."""


@pytest.mark.nightly
@pytest.mark.timeout(SECONDS)
def test_the_engine_and_what_it_stands_on_are_measured(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "tests.bench", "compare", "--short"),
            *("--only", "engine", "celery", "--out", str(out)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads(out.read_text())
    assert found["celery_runs_per_minute"] > found["engine_runs_per_minute"] > 0
    for each in found["contenders"]:
        measured = each["measured"]
        assert 0 < measured["idle"]["first_step"]["p50"] <= measured["idle"]["final_state"]["p50"]
        assert measured["statements_per_request"] > 6
        assert measured["cpu_seconds_per_request"] > 0
        assert measured["pss_mebibytes"] > 50
    assert len(found["contenders"]) == 2
    assert HEADINGS[1].split()[0] in ran.stdout


@pytest.mark.system
@pytest.mark.timeout(SECONDS)
def test_more_workers_at_redis_and_replicas_behind_a_proxy_are_measured(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "tests.bench", "scaling", "--short"),
            *("--port-offset", str(OFFSET), "--out", str(out)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads(out.read_text())["scaling"]
    workers = found["workers"]["redis_2"]
    assert workers["runs_per_minute"] > 0
    costs = workers["cpu_seconds_per_request"]
    assert all(costs[name] > 0 for name in ("worker", "daemon", "code-server", "postgres"))
    behind = found["replicas"]["2"]["behind_the_proxy"]
    for each in (behind["commands"], behind["queries"]):
        assert each["per_second"] > 0
        assert 0 < each["seconds"]["p50"] <= each["seconds"]["p99"]
