"""What is counted, written and said at the end."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from tests.chaos.results import Finding, Kind, Results, percentile
from tests.chaos.show import Show


def test_what_was_found_is_written(tmp_path: Path) -> None:
    results = Results(hit=["a", "b", "c"], planned_cells=4, trials=2, recoveries=[1.0, 2.0, 30.0])
    results.findings = [Finding(Kind.STUCK, "a"), Finding(Kind.STUCK, "b"), Finding(Kind.LOST, "c")]
    results.kills = Counter({"daemon": 2})
    path = tmp_path / "deep" / "results.json"
    results.write(path)
    written = json.loads(path.read_text())
    assert {name: written[name] for name in ("cells", "trials", "recovery_p50_seconds")} == {
        "cells": 3,
        "trials": 2,
        "recovery_p50_seconds": 2.0,
    }
    counts = [written[name] for name in ("lost", "duplicated", "stuck", "wrong_metrics")]
    assert counts == [1, 0, 2, 0]
    assert written["recovery_p99_seconds"] == 30.0
    assert written["findings"][0] == {"kind": "stuck", "what": "a"}


@pytest.mark.parametrize("kind", Kind)
def test_anything_that_is_wrong_fails_the_run(kind: Kind) -> None:
    assert not Results(findings=[Finding(kind, "x")]).is_good


def test_a_cell_that_was_not_hit_fails_the_run() -> None:
    assert Results(hit=["x"], planned_cells=1).is_good
    assert not Results(missed={"x": "nobody came"}).is_good


def test_a_run_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    first = Results(
        hit=["a", "b", "c"], suspect=["b"], planned_cells=9, missed={"d": "nobody came"}
    )
    first.findings, first.recoveries = [Finding(Kind.LOST, "of b")], [1.25, 2.5]
    first.ends = [7.5]
    first.requests, first.kills = 7, Counter({"daemon": 2})
    path = tmp_path / "results.json"
    first.write(path)
    second = Results.resumed(path)
    assert (second.hit, second.planned_cells) == (["a", "c"], 2), "b is to be hit again"
    assert second.is_good
    assert (second.recoveries, second.ends) == (first.recoveries, first.ends)
    assert (second.requests, second.kills) == (7, Counter({"daemon": 2}))


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(each) for each in range(100, 0, -1)]
    assert percentile(values, 50) == 50.0
    assert percentile(values, 99) == 99.0
    assert percentile([7.0], 99) == 7.0
    assert percentile([], 50) is None


def test_the_table_has_every_count_and_what_was_not_possible() -> None:
    results = Results(
        trials=5, not_possible={"clock jump": "no namespace"}, missed={"a/b": "nobody came"}
    )
    results.findings = [Finding(Kind.LOST, "shop is not there")]
    output = io.StringIO()
    Show(Console(file=output, width=120)).table(results)
    told = output.getvalue()
    for word in (
        *Kind,
        "recovery_p99_seconds",
        "no namespace",
        "a/b: nobody came",
        "shop is not there",
    ):
        assert word in told
