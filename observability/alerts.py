"""When somebody is called, and where it says what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from idp_kernel.services import ServiceName
from idp_kernel.telemetry.metrics import (
    DAGSTER_FAILED_SCHEDULED_RUNS,
    DAGSTER_FAILED_TICKS,
    DAGSTER_HEARTBEAT_AGE,
    DAGSTER_UP,
    PROJECTION_UP,
    SECRET_EXPIRY,
    SECRETS_OVERDUE,
    WORKFLOW_LAPSED_LEASE,
    WORKFLOW_LEASE_LOSSES,
    WORKFLOW_OLDEST_PENDING,
    WORKFLOW_PROVIDER_WAIT,
)
from observability import errors, limits, objectives
from observability.housekeeping import since_done
from observability.objectives import Burn
from observability.promql import UP, increase, matching, other_than, series

RUNBOOKS = "docs/operations"
"""The folder of the pages that say what to do."""


class Severity(StrEnum):
    """Whom an alert calls."""

    PAGE = "page"
    """Somebody, now: requests fail or stand still."""
    TICKET = "ticket"
    """The team, within its working days."""


@dataclass(frozen=True)
class Condition:
    """A value and what is wrong with it."""

    value: str
    comparison: str

    def __str__(self) -> str:
        return f"{self.value} {self.comparison}"


@dataclass(frozen=True)
class Alert:
    """A rule: it fires when in one of the alternatives every condition has held for long enough."""

    name: str
    severity: Severity
    any_of: tuple[tuple[Condition, ...], ...]
    hold_minutes: int
    """For how long it must hold; 0 for a single look."""
    summary: str
    """One line, as Prometheus' template."""

    @property
    def page(self) -> str:
        """The runbook's file name."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", self.name).lower() + ".md"

    @property
    def runbook(self) -> str:
        """The runbook, as seen from the root."""
        return f"{RUNBOOKS}/{self.page}"

    @property
    def expression(self) -> str:
        """What Prometheus evaluates."""
        return "\nor\n".join("\nand ".join(map(str, all_of)) for all_of in self.any_of)


Record = Callable[[str], str]
"""What is recorded, by its window."""


def _burn(share: Record, ends: Record, burn: Burn, budget: float) -> tuple[Condition, ...]:
    limit = f"> {burn.rate * budget:.4g}"
    return (
        Condition(share(burn.long), limit),
        Condition(share(burn.short), limit),
        Condition(ends(burn.long), f">= {objectives.LEAST_ENDS}"),
    )


def _burns(
    share: Record, ends: Record, burns: tuple[Burn, ...], objective: float
) -> tuple[tuple[Condition, ...], ...]:
    return tuple(_burn(share, ends, burn, 1 - objective) for burn in burns)


_FAILED, _ENDED = objectives.failure_share, objectives.ends
_SLOW, _SUCCEEDED = objectives.slow_share, objectives.successes
_TWO = f"> {2 - limits.ESTIMATE}"
_NOT_KEPT = "{{ $labels.workflow }} does not keep its"
_SUCCESS = f"{_NOT_KEPT} {objectives.SUCCESS_OBJECTIVE:.0%} of successes"
_IN_TIME = f"{_NOT_KEPT} {objectives.IN_TIME_OBJECTIVE:.0%} of requests done in time"
_FAST, _SLOWLY = ": the month's budget is gone in days.", " if it goes on like this."


WORKFLOW_ALERTS = (
    Alert(
        "WorkflowSuccessBurnsFast",
        Severity.PAGE,
        _burns(_FAILED, _ENDED, objectives.FAST_BURNS, objectives.SUCCESS_OBJECTIVE),
        2,
        _SUCCESS + _FAST,
    ),
    Alert(
        "WorkflowSuccessBurnsSlowly",
        Severity.TICKET,
        _burns(_FAILED, _ENDED, objectives.SLOW_BURNS, objectives.SUCCESS_OBJECTIVE),
        15,
        _SUCCESS + _SLOWLY,
    ),
    Alert(
        "WorkflowFailsAtLowTraffic",
        Severity.TICKET,
        (
            (
                Condition(objectives.failures("6h"), _TWO),
                Condition(objectives.failure_share("6h"), ">= 0.5"),
                Condition(objectives.ends("6h"), f"< {objectives.LEAST_ENDS}"),
            ),
        ),
        0,
        "{{ $labels.workflow }} failed more often than not within six hours, of few requests.",
    ),
    Alert(
        "WorkflowFailureSpike",
        Severity.PAGE,
        (
            (
                Condition(
                    objectives.failures(limits.FAILURES_WITHIN),
                    f"> {limits.FAILURES - limits.ESTIMATE}",
                ),
                Condition(objectives.failure_share(limits.FAILURES_WITHIN), "> 0.5"),
            ),
        ),
        0,
        "{{ $labels.workflow }} failed five times within ten minutes: most of its requests.",
    ),
    Alert(
        "WorkflowTimeToDoneBurnsFast",
        Severity.PAGE,
        _burns(_SLOW, _SUCCEEDED, objectives.FAST_BURNS, objectives.IN_TIME_OBJECTIVE),
        2,
        _IN_TIME + _FAST,
    ),
    Alert(
        "WorkflowTimeToDoneBurnsSlowly",
        Severity.TICKET,
        _burns(_SLOW, _SUCCEEDED, objectives.SLOW_BURNS, objectives.IN_TIME_OBJECTIVE),
        15,
        _IN_TIME + _SLOWLY,
    ),
    Alert(
        "WorkflowSlowAtLowTraffic",
        Severity.TICKET,
        (
            (
                Condition(objectives.slow_successes("6h"), _TWO),
                Condition(objectives.slow_share("6h"), ">= 0.5"),
                Condition(objectives.successes("6h"), f"< {objectives.LEAST_ENDS}"),
            ),
        ),
        0,
        "{{ $labels.workflow }} was late more often than not within six hours, of few requests.",
    ),
    Alert(
        "RequestsPendingTooLong",
        Severity.PAGE,
        ((Condition(series(WORKFLOW_OLDEST_PENDING), f"> {limits.OLDEST_PENDING_SECONDS}"),),),
        1,
        "A request of {{ $labels.workflow }} has waited {{ $value | humanizeDuration }} for a run.",
    ),
    Alert(
        "RequestsWaitTooLong",
        Severity.PAGE,
        ((Condition(series(WORKFLOW_PROVIDER_WAIT), f"> {limits.PROVIDER_WAIT_SECONDS}"),),),
        1,
        "A request of {{ $labels.workflow }} has waited {{ $value | humanizeDuration }} for a"
        " provider.",
    ),
    Alert(
        "StuckLease",
        Severity.PAGE,
        ((Condition(series(WORKFLOW_LAPSED_LEASE), f"> {limits.LAPSED_LEASE_SECONDS}"),),),
        1,
        "A lease of {{ $labels.workflow }} ended {{ $value | humanizeDuration }} ago, and"
        " nobody releases the request.",
    ),
    Alert(
        "LeasesLost",
        Severity.TICKET,
        (
            (
                Condition(
                    increase(series(WORKFLOW_LEASE_LOSSES), limits.LEASE_LOSSES_WITHIN, "workflow"),
                    f"> {limits.LEASE_LOSSES - limits.ESTIMATE}",
                ),
            ),
        ),
        0,
        "Runs of {{ $labels.workflow }} were lost three times and more within half an hour.",
    ),
)


def _schedule_failed(offset: str = "") -> str:
    failed = series(DAGSTER_FAILED_TICKS, name=matching(".*_schedule"))
    return f"max_over_time({failed}[{limits.SCHEDULE_GAP}]{offset})"


SERVICE_ALERTS = (
    Alert(
        "HttpServerErrors",
        Severity.PAGE,
        (
            (
                Condition(errors.server_error_share("service"), f"> {limits.HTTP_ERROR_SHARE}"),
                Condition(errors.server_errors("service"), f"> {limits.HTTP_ERRORS}"),
            ),
        ),
        2,
        "{{ $labels.service }} answers {{ $value | humanizePercentage }} of requests with an error"
        " of its own.",
    ),
    Alert(
        "ProviderErrors",
        Severity.TICKET,
        ((Condition(errors.downstream_errors("target"), f"> {limits.DOWNSTREAM_ERRORS}"),),),
        1,
        "{{ $labels.target }} refused or failed some {{ $value | humanize }} calls within ten"
        " minutes.",
    ),
    Alert(
        "ServiceDown",
        Severity.PAGE,
        ((Condition(series(UP, job=other_than(ServiceName.METRICS_EXPORTER)), "== 0"),),),
        1,
        "{{ $labels.job }} does not answer.",
    ),
    Alert(
        "ExporterDown",
        Severity.PAGE,
        ((Condition(series(UP, job=ServiceName.METRICS_EXPORTER), "== 0"),),),
        1,
        "The exporter does not answer: no workflow is watched.",
    ),
    Alert(
        "ProjectionDown",
        Severity.PAGE,
        ((Condition(series(PROJECTION_UP), "== 0"),),),
        2,
        "The exporter does not get the projection: no workflow is watched.",
    ),
    Alert(
        "DagsterStorageDown",
        Severity.PAGE,
        ((Condition(series(DAGSTER_UP), "== 0"),),),
        2,
        "Dagster's storage does not answer: no run starts.",
    ),
    Alert(
        "DaemonDown",
        Severity.PAGE,
        ((Condition(series(DAGSTER_HEARTBEAT_AGE), f"> {limits.HEARTBEAT_AGE_SECONDS}"),),),
        1,
        "Dagster's daemon {{ $labels.daemon }} gave no sign of life for"
        " {{ $value | humanizeDuration }}.",
    ),
    Alert(
        "TicksFail",
        Severity.TICKET,
        (
            (Condition(series(DAGSTER_FAILED_TICKS), f"> {limits.FAILED_TICKS}"),),
            (
                Condition(_schedule_failed(), "> 0"),
                Condition(_schedule_failed(f" offset {limits.SCHEDULE_FAILED_BEFORE}"), "> 0"),
            ),
        ),
        5,
        "{{ $labels.name }} goes on failing: {{ $value }} times within ten minutes.",
    ),
    Alert(
        "ScheduledRunsFail",
        Severity.TICKET,
        ((Condition(series(DAGSTER_FAILED_SCHEDULED_RUNS), f"> {limits.FAILED_SCHEDULED_RUNS}"),),),
        0,
        "The last {{ $value }} runs of {{ $labels.name }} failed.",
    ),
    Alert(
        "HousekeepingStalls",
        Severity.TICKET,
        ((Condition(since_done(), f"> {limits.HOUSEKEEPING_SECONDS}"),),),
        5,
        "{{ $labels.job }} has not been through with what is too old of {{ $labels.table }} for"
        " {{ $value | humanizeDuration }}.",
    ),
)

SECRET_ALERTS = (
    Alert(
        "RotationOverdue",
        Severity.TICKET,
        ((Condition(series(SECRETS_OVERDUE), "> 0"),),),
        10,
        "{{ $value }} secrets of sensitivity {{ $labels.sensitivity }} are a day older than their"
        " policy has them rotated.",
    ),
    Alert(
        "CredentialNearExpiry",
        Severity.PAGE,
        ((Condition(series(SECRET_EXPIRY), f"< {limits.EXPIRY_DAYS * limits.DAY_SECONDS}"),),),
        10,
        "A credential of sensitivity {{ $labels.sensitivity }} ends in"
        " {{ $value | humanizeDuration }}.",
    ),
)

ALERTS = (*WORKFLOW_ALERTS, *SERVICE_ALERTS, *SECRET_ALERTS)
