"""`docs/alerts.md`, made from the rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from idp_kernel.settings_reference import GENERATED_NOTE
from observability.alerts import ALERTS, Alert
from observability.objectives import (
    DONE_WITHIN_SECONDS,
    FAST_BURNS,
    IN_TIME_OBJECTIVE,
    LEAST_ENDS,
    SLOW_BURNS,
    SUCCESS_OBJECTIVE,
    Burn,
)

_INTRODUCTION = f"""{GENERATED_NOTE}

# Alerts

Who is called when, and the page that says what to do. The rules are in
[observability/prometheus/rules.yaml](../observability/prometheus/rules.yaml), made from
[observability/alerts.py](../observability/alerts.py). A `page` is for somebody now, a `ticket` for
the team's working days. [Observability](observability.md) says how to have them watched.
"""

_PROMISES = """## What is promised of workflows

Over thirty days, in which cancelled requests do not count:

"""

_BURNS = f"""
A share of failures uses up a budget. An alert looks at a long window and a short one, and asks for
at least {LEAST_ENDS} requests in the long one; with fewer, the alerts for low traffic count.

"""


def alerts_page() -> str:
    """All of the page."""
    alerts = _table(("Alert", "Severity", "After", "Says", "What to do"), map(_alert, ALERTS))
    promises = _table(("Workflow", "Succeeds", "Of these, done in time"), _promises())
    burns = _table(
        ("Severity", "Budget burns", "Long window", "Short window"),
        [*_burns("page", FAST_BURNS), *_burns("ticket", SLOW_BURNS)],
    )
    return f"{_INTRODUCTION}\n{alerts}\n{_PROMISES}{promises}{_BURNS}{burns}"


def _alert(alert: Alert) -> Sequence[str]:
    runbook = f"[runbook](operations/{alert.page})"
    after = f"{alert.hold_minutes}m" if alert.hold_minutes else "at once"
    return (alert.name, alert.severity, after, _said(alert.summary), runbook)


def _said(summary: str) -> str:
    """A template's text, its labels as `<label>`."""
    labels = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"`<\1>`", summary)
    return re.sub(r"\{\{ \$value[^}]*\}\}", "…", labels)


def _promises() -> Iterable[Sequence[str]]:
    return (
        (name, f"{SUCCESS_OBJECTIVE:.0%}", f"{IN_TIME_OBJECTIVE:.0%} within {seconds:g} s")
        for name, seconds in DONE_WITHIN_SECONDS.items()
    )


def _burns(severity: str, burns: Iterable[Burn]) -> list[Sequence[str]]:
    return [(severity, f"{each.rate:g} times as fast", each.long, each.short) for each in burns]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
