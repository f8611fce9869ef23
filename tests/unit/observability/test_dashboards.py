"""The dashboards ask for what is shown, say what to do, and are what is checked in."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest

from idp_kernel.workflows import WORKFLOWS, event_names
from observability.dashboards import DASHBOARDS
from observability.dashboards.model import PROMETHEUS_UID, TEMPO_UID, Dashboard
from observability.dashboards.workflows import BEGINNINGS
from observability.generate import FOLDER, files
from tests.docs.pages import ROOT
from tests.fixtures.promql import unknown_names

BY_UID = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.uid)
RED = "**When it is red:** "


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
def test_every_panel_says_what_to_do_when_it_is_red(dashboard: Dashboard) -> None:
    for panel in panels(dashboard):
        meaning, told, advice = panel["description"].partition(RED)
        assert meaning.strip(), panel["title"]
        assert told, panel["title"]
        assert len(advice) > 20, panel["title"]
        pages = re.findall(r"docs/[\w/-]+\.md", advice)
        assert [page for page in pages if not (ROOT / page).exists()] == [], panel["title"]


@BY_UID
def test_every_panel_of_numbers_turns_red(dashboard: Dashboard) -> None:
    for panel in panels(dashboard):
        if panel["datasource"]["type"] == "prometheus":
            steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
            assert "red" in [each["color"] for each in steps], panel["title"]


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
