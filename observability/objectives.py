"""What is promised of each workflow, and the recorded shares that tell how it is kept.

An objective leaves a budget of failures over thirty days. A burn rate of 1 uses it up in exactly
that time. A fast burn that lasts pages; a slow one is a ticket. Each rule looks at a long window,
which tells that it matters, and a short one, which tells that it still goes on. With few requests a
share says nothing: one failure of one is all of them. So these rules ask for a number of requests
at least, and rules for low traffic count instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from idp_kernel.telemetry.metrics import WORKFLOW_RUN_DURATION
from idp_kernel.workflows import WORKFLOWS, WorkflowName, WorkflowResult
from observability.promql import Matcher, increase, matching, other_than, series

SUCCESS_OBJECTIVE = 0.99
"""Of the requests that ended, but for those that somebody cancelled."""
IN_TIME_OBJECTIVE = 0.95
"""Of the requests that succeeded."""
DONE_WITHIN_SECONDS: dict[WorkflowName, float] = {
    WorkflowName.APPLICATION_ONBOARDING: 60.0,
    WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING: 60.0,
    WorkflowName.APPLICATION_ENVIRONMENT_DECOMMISSIONING: 120.0,
    WorkflowName.SECRET_ROTATION: 120.0,
    WorkflowName.SECRET_REVOCATION: 60.0,
    WorkflowName.APPLICATION_DECOMMISSIONING: 60.0,
    WorkflowName.COMPENSATION: 60.0,
}
"""From the command on, waiting left out; each is a bound of the histogram's buckets."""
LEAST_ENDS = 10
"""Requests that must have ended in a long window before a share of them says something."""

WINDOWS = ("5m", "10m", "30m", "1h", "2h", "6h", "1d", "3d")


@dataclass(frozen=True)
class Burn:
    """How fast a budget may go, looked at over a long and a short window."""

    rate: float
    long: str
    short: str


FAST_BURNS = (Burn(14.4, "1h", "5m"), Burn(6, "6h", "30m"))
"""2 % of the budget in an hour, 5 % in six."""
SLOW_BURNS = (Burn(3, "1d", "2h"), Burn(1, "3d", "6h"))
"""10 % of the budget in a day, or in three."""


@dataclass(frozen=True)
class Recording:
    """A series that Prometheus keeps of an expression."""

    name: str
    expression: str


def failures(window: str) -> str:
    """The record of how many requests failed or ran out of time."""
    return f"workflow:failed_requests:increase{window}"


def ends(window: str) -> str:
    """The record of how many requests ended, but for those that somebody cancelled."""
    return f"workflow:ended_requests:increase{window}"


def slow_successes(window: str) -> str:
    """The record of how many requests succeeded later than promised."""
    return f"workflow:slow_requests:increase{window}"


def successes(window: str) -> str:
    """The record of how many requests succeeded."""
    return f"workflow:succeeded_requests:increase{window}"


def failure_share(window: str) -> str:
    """The share of failures, no number at all where nothing ended."""
    return f"({failures(window)} / {ends(window)})"


def slow_share(window: str) -> str:
    """The share of late ones among the successes, no number at all where there is none."""
    return f"({slow_successes(window)} / {successes(window)})"


def recordings() -> list[Recording]:
    """The records of each window, in the order they build on each other."""
    return [recording for window in WINDOWS for recording in _recordings(window)]


def ended(**labels: str | Matcher) -> str:
    """The selector of how many requests ended, but for those that somebody cancelled."""
    return _count(other_than(WorkflowResult.CANCELLED), **labels)


def succeeded(**labels: str | Matcher) -> str:
    """The selector of how many requests succeeded."""
    return _count(WorkflowResult.SUCCESS, **labels)


def _failed() -> str:
    return _count(matching(f"{WorkflowResult.ERROR}|{WorkflowResult.TIMEOUT}"))


def _count(result: str | Matcher, **labels: str | Matcher) -> str:
    return series(WORKFLOW_RUN_DURATION, "count", **labels, result=result)


def success_rate(window: str, **labels: str | Matcher) -> str:
    """The share of successes by workflow, no series where nothing ended."""
    successful = increase(succeeded(**labels), window, "workflow")
    return f"{successful} / ({increase(ended(**labels), window, 'workflow')} > 0)"


def _recordings(window: str) -> list[Recording]:
    return [
        Recording(failures(window), increase(_failed(), window, "workflow")),
        Recording(ends(window), increase(ended(), window, "workflow")),
        Recording(successes(window), increase(succeeded(), window, "workflow")),
        Recording(slow_successes(window), f"{successes(window)} - ({_in_time(window)})"),
    ]


def _in_time(window: str) -> str:
    of_each = (
        increase(
            series(
                WORKFLOW_RUN_DURATION,
                "bucket",
                workflow=name,
                result=WorkflowResult.SUCCESS,
                le=f"{DONE_WITHIN_SECONDS[name]}",
            ),
            window,
            "workflow",
        )
        for name in WORKFLOWS
    )
    return " or ".join(of_each)
