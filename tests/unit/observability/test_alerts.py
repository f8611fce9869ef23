"""Every rule asks for what is shown, and says whom it calls and what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from idp_kernel.workflows import WORKFLOWS
from observability.alerts import ALERTS, Severity
from observability.generate import FOLDER
from observability.objectives import (
    DONE_WITHIN_SECONDS,
    FAST_BURNS,
    IN_TIME_OBJECTIVE,
    SLOW_BURNS,
    SUCCESS_OBJECTIVE,
    WINDOWS,
)
from tests.docs.pages import ROOT
from tests.fixtures.promql import named_by, shown_series, unknown_names

RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "prometheus" / "rules.yaml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTING = [rule for rule in RULES if "alert" in rule]
OF_EACH = pytest.mark.parametrize("rule", ALERTING, ids=lambda rule: rule["alert"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_asks_for_what_is_shown(rule: dict[str, Any]) -> None:
    assert named_by(rule["expr"]).series
    assert unknown_names(rule["expr"]) == []


def test_names_stand_for_one_rule() -> None:
    names = [rule.get("alert") or rule["record"] for rule in RULES]
    assert len(names) == len(set(names))
    assert [rule["alert"] for rule in ALERTING] == [alert.name for alert in ALERTS]


@OF_EACH
def test_an_alert_says_whom_it_calls_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in set(Severity)
    annotations = rule["annotations"]
    assert (ROOT / annotations["runbook"]).exists()
    assert annotations["runbook_url"].endswith("/" + annotations["runbook"].rpartition("/")[2])


@OF_EACH
def test_a_summary_names_labels_that_the_alert_has(rule: dict[str, Any]) -> None:
    named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    expression = named_by(rule["expr"])
    of_series = [shown_series()[name] for name in expression.series]
    assert named <= (expression.groups or set.intersection(*of_series))


def test_every_workflow_is_promised_something() -> None:
    assert DONE_WITHIN_SECONDS.keys() == WORKFLOWS.keys()


def test_budgets_can_burn_as_fast_as_the_alerts_ask() -> None:
    """Else a limit would be a share above one, which no failure reaches."""
    for burn in (*FAST_BURNS, *SLOW_BURNS):
        assert burn.rate * (1 - SUCCESS_OBJECTIVE) < 1
        assert burn.rate * (1 - IN_TIME_OBJECTIVE) < 1
        assert {burn.long, burn.short} <= set(WINDOWS)
