"""The dashboards ask for what is shown, say what to do, and are what is checked in."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest

from idp_kernel.workflows import WORKFLOWS, event_names
from local_stack.consumer.usage import LoginResult
from observability.alerts import ALERTS
from observability.dashboards import DASHBOARDS
from observability.dashboards.model import (
    PROMETHEUS_UID,
    PROMISE,
    RATE_WINDOW,
    TEMPO_UID,
    Dashboard,
    Panel,
    Red,
    Traces,
)
from observability.dashboards.overview import LOGGED_IN
from observability.dashboards.workflows import BEGINNINGS
from observability.generate import FOLDER, files
from observability.limits import DAY_SECONDS
from tests.docs.pages import ROOT
from tests.fixtures.promql import named_by, unknown_names

BY_UID = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.uid)
RED, FROM_HERE = "**When it is red:** ", "**From here:** "


def panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    """All that show something, as Grafana reads them."""
    return [each for each in _read(dashboard)["panels"] if each["type"] != "row"]


def _read(dashboard: Dashboard) -> dict[str, Any]:
    path = FOLDER / "grafana" / "dashboards" / f"{dashboard.uid}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", files())
def test_what_is_checked_in_is_what_the_code_says(name: str) -> None:
    path = FOLDER / name
    assert path.exists(), "write it with: make docs"
    assert path.read_text(encoding="utf-8") == files()[name], "write it again with: make docs"


def test_there_are_the_two_that_were_promised() -> None:
    assert {each.uid: _read(each)["title"] for each in DASHBOARDS} == {
        "idp-observability": "IDP Observability",
        "idp-workflows-detail": "IDP Workflows Detail",
    }


@BY_UID
def test_every_expression_asks_for_what_is_shown(dashboard: Dashboard) -> None:
    expressions = [
        target["expr"]
        for panel in panels(dashboard)
        for target in panel["targets"]
        if target["datasource"]["type"] == "prometheus"
    ]
    assert expressions
    assert expressions == dashboard.expressions()
    assert {each: found for each in expressions if (found := unknown_names(each))} == {}


@BY_UID
def test_every_panel_says_what_to_do_when_it_is_red_or_where_to_look(dashboard: Dashboard) -> None:
    for panel in panels(dashboard):
        meaning, told, advice = panel["description"].partition(RED if _red(panel) else FROM_HERE)
        assert meaning.strip(), panel["title"]
        assert told, panel["title"]
        assert len(advice) > 20, panel["title"]
        pages = re.findall(r"docs/[\w/-]+\.md", advice)
        assert [page for page in pages if not (ROOT / page).exists()] == [], panel["title"]


def _red(panel: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps from which on, or up to which, the panel is red."""
    if panel["datasource"]["type"] != "prometheus":
        return []
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return [each for each in steps if each["color"] == "red"]


RED_PANELS = [
    (panel, panel.red)
    for dashboard in DASHBOARDS
    for row in dashboard.rows
    for panel in row.panels
    if isinstance(panel, Panel) and panel.red is not None
]


@pytest.mark.parametrize(
    ("panel", "red"),
    [each for each in RED_PANELS if each[1].by != PROMISE],
    ids=lambda each: each.title if isinstance(each, Panel) else each.by,
)
def test_a_panel_is_red_where_its_alert_fires(panel: Panel, red: Red) -> None:
    """At the alert's own limit, over the alert's own windows."""
    expressions = [query.expression for query in panel.queries]
    (alert,) = [each for each in ALERTS if each.name == red.by]
    conditions = {condition for all_of in alert.any_of for condition in all_of}
    limits = [
        _limit(condition.comparison) / (DAY_SECONDS if panel.unit == "d" else 1)
        for condition in conditions
    ]
    assert any(0 <= red.limit - limit <= 1 for limit in limits), limits
    windows = {each for one in conditions for each in _windows(one.value)}
    assert {each for one in expressions for each in _windows(one)} <= windows
    named = {name for one in conditions for name in named_by(one.value).series}
    assert any(named_by(each).series.keys() <= named for each in expressions)


def _limit(comparison: str) -> float:
    operator, number = comparison.split()
    return 1.0 if (operator, number) == ("==", "0") else float(number)


def _windows(expression: str) -> set[str]:
    """Those it looks at, and those of records it names."""
    found = re.findall(r"\[([^\]]+)\]|:increase(\d+[mhd])", expression)
    return {window for pair in found for window in pair if window}


def test_promises_are_kept_over_what_is_shown_or_a_window_that_stands_still() -> None:
    promised = [panel for panel, red in RED_PANELS if red.by == PROMISE]
    expressions = [query.expression for panel in promised for query in panel.queries]
    assert expressions
    assert [each for each in expressions if RATE_WINDOW in each] == []


def test_numbers_are_of_now_and_lines_of_all_that_is_shown() -> None:
    for dashboard in DASHBOARDS:
        for panel in panels(dashboard):
            for target in panel["targets"]:
                if panel["datasource"]["type"] == "prometheus":
                    is_number = panel["type"] == "stat"
                    assert (target["instant"], target["range"]) == (is_number, not is_number)


def test_the_result_of_a_log_in_that_went_well_is_the_consumers() -> None:
    assert LOGGED_IN == LoginResult.SUCCESS


def test_the_traces_of_an_attempt_are_found_by_an_error_below_it() -> None:
    """A run's own span ends well though a step in it failed."""
    for dashboard in DASHBOARDS:
        for row in dashboard.rows:
            for panel in row.panels:
                if isinstance(panel, Traces) and "error" in panel.query:
                    assert re.fullmatch(
                        r'{ name =~ "run \([\w|]+\)" } >> { status = error }', panel.query
                    )


@BY_UID
def test_panels_lie_beside_each_other(dashboard: Dashboard) -> None:
    every = _read(dashboard)["panels"]
    assert len({each["id"] for each in every}) == len(every)
    for place in (each["gridPos"] for each in every):
        assert place["x"] + place["w"] <= 24
    for one, other in combinations([each["gridPos"] for each in every], 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        ), (one, other)


def test_every_workflow_has_its_row() -> None:
    (detail,) = [each for each in DASHBOARDS if each.uid == "idp-workflows-detail"]
    assert [row.title for row in detail.rows] == list(WORKFLOWS)
    for row in detail.rows:
        assert any("traces" in panel.title or "error" in panel.title for panel in row.panels)


@pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=lambda each: each.name)
def test_events_of_a_workflow_are_events(workflow: Any) -> None:
    assert {BEGINNINGS[workflow.name], workflow.completed_event, workflow.failed_event} <= (
        event_names()
    )


@BY_UID
def test_data_sources_are_those_that_are_provisioned(dashboard: Dashboard) -> None:
    used = {panel["datasource"]["uid"] for panel in panels(dashboard)}
    assert used == {PROMETHEUS_UID, TEMPO_UID}
