"""`IDP Workflows Detail`: every workflow by itself."""

from __future__ import annotations

from idp_kernel.telemetry.metrics import (
    DOMAIN_EVENTS,
    WORKFLOW_LEASE_LOSSES,
    WORKFLOW_OLDEST_PENDING,
    WORKFLOW_REQUESTS_OPEN,
    WORKFLOW_REQUESTS_WAITING,
    WORKFLOW_RETRIES,
    WORKFLOW_RUN_DURATION,
)
from idp_kernel.workflows import (
    WORKFLOWS,
    DomainEvent,
    RequestState,
    Workflow,
    WorkflowName,
    WorkflowResult,
)
from observability import limits
from observability.dashboards.model import (
    EACH_POINT,
    PROMISE,
    RATE_WINDOW,
    WHOLE_RANGE,
    Dashboard,
    Kind,
    Panel,
    Query,
    Red,
    Row,
    Traces,
)
from observability.objectives import (
    DONE_WITHIN_SECONDS,
    IN_TIME_OBJECTIVE,
    SUCCESS_OBJECTIVE,
    success_rate,
)
from observability.promql import increase, matching, or_one_zero, quantile, series

BEGINNINGS: dict[WorkflowName, DomainEvent] = {
    WorkflowName.APPLICATION_ONBOARDING: DomainEvent.APPLICATION_CREATED,
    WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING: (
        DomainEvent.APPLICATION_ENVIRONMENT_PROVISIONING_REQUESTED
    ),
    WorkflowName.APPLICATION_ENVIRONMENT_DECOMMISSIONING: (
        DomainEvent.APPLICATION_ENVIRONMENT_DECOMMISSIONING_REQUESTED
    ),
    WorkflowName.SECRET_ROTATION: DomainEvent.SECRET_ROTATION_STARTED,
    WorkflowName.SECRET_REVOCATION: DomainEvent.SECRET_REVOCATION_STARTED,
    WorkflowName.APPLICATION_DECOMMISSIONING: (DomainEvent.APPLICATION_DECOMMISSIONING_REQUESTED),
    WorkflowName.COMPENSATION: DomainEvent.WORKFLOW_REQUEST_UNDO_REQUESTED,
}
"""The event that tells of a request; how it ended is told by the workflow's own events."""


def _row(workflow: Workflow) -> Row:
    return Row(workflow.name.value, (*_ends(workflow), *_course(workflow), _traces(workflow)))


def _ends(workflow: Workflow) -> tuple[Panel, ...]:
    name = workflow.name
    success = {"workflow": name, "result": WorkflowResult.SUCCESS}
    return (
        Panel(
            "Success rate",
            "Successes among the requests that ended within what is shown, but for cancelled ones;"
            f" {SUCCESS_OBJECTIVE:.0%} is promised.",
            "docs/operations/workflow-success-burns-fast.md; with few requests"
            " docs/operations/workflow-fails-at-low-traffic.md.",
            (Query(success_rate(WHOLE_RANGE, workflow=name), "success"),),
            "percentunit",
            Red(SUCCESS_OBJECTIVE, PROMISE, is_below=True),
            Kind.NUMBER,
            6,
        ),
        Panel(
            "Time to done",
            "Of successes within what is shown, from the command to the end, waiting left out."
            f" Within {DONE_WITHIN_SECONDS[name]:g} s, {IN_TIME_OBJECTIVE:.0%} are promised.",
            "docs/operations/workflow-time-to-done-burns-fast.md.",
            tuple(
                Query(
                    quantile(share, WORKFLOW_RUN_DURATION, WHOLE_RANGE, "workflow", **success),
                    legend,
                )
                for share, legend in ((0.5, "p50"), (IN_TIME_OBJECTIVE, "p95"))
            ),
            "s",
            Red(DONE_WITHIN_SECONDS[name], PROMISE),
            Kind.NUMBER,
            6,
        ),
        Panel(
            "Ended requests by result",
            EACH_POINT,
            "the traces below show which call failed.",
            (
                Query(
                    increase(
                        series(WORKFLOW_RUN_DURATION, "count", workflow=name),
                        RATE_WINDOW,
                        "result",
                    ),
                    "{{result}}",
                ),
            ),
            "short",
            width=12,
        ),
    )


def _course(workflow: Workflow) -> tuple[Panel, ...]:
    name = workflow.name
    events = series(DOMAIN_EVENTS, event=matching(f"{BEGINNINGS[name]}|{workflow.event_prefix}_.*"))
    waiting = series(WORKFLOW_REQUESTS_OPEN, workflow=name, state=RequestState.WAITING)
    return (
        Panel(
            "Retries and lost leases",
            "Repeats of steps and further attempts; and runs that did not renew their lease.",
            "`idp request list --state running` and `idp request show` tell which step is repeated;"
            " for lost leases docs/operations/leases-lost.md.",
            (
                Query(
                    increase(series(WORKFLOW_RETRIES, workflow=name), RATE_WINDOW, "workflow"),
                    "retries",
                ),
                Query(
                    increase(series(WORKFLOW_LEASE_LOSSES, workflow=name), RATE_WINDOW, "workflow"),
                    "leases lost",
                ),
            ),
            "short",
            width=6,
        ),
        Panel(
            "Events",
            "How many requests began, and how they ended.",
            "many `…_failed` lead to docs/operations/workflow-failure-spike.md.",
            (Query(increase(events, RATE_WINDOW, "event", "result"), "{{event}} {{result}}"),),
            "short",
            width=6,
        ),
        Panel(
            "Open requests and waits",
            "By state; and those that wait by what they wait for.",
            "`idp request list --state waiting`, then `idp request show` of one says for what.",
            (
                Query(series(WORKFLOW_REQUESTS_OPEN, workflow=name), "{{state}}"),
                Query(
                    or_one_zero(
                        f"sum by (reason) ({series(WORKFLOW_REQUESTS_WAITING, workflow=name)})",
                        f"sum ({waiting})",
                    ),
                    "waiting: {{reason}}",
                ),
            ),
            "short",
            width=6,
        ),
        Panel(
            "Oldest pending request",
            "How long the request has waited that waits longest for a run.",
            "docs/operations/requests-pending-too-long.md.",
            (Query(series(WORKFLOW_OLDEST_PENDING, workflow=name), "oldest"),),
            "s",
            Red(limits.OLDEST_PENDING_SECONDS, "RequestsPendingTooLong"),
            width=6,
        ),
    )


def _traces(workflow: Workflow) -> Traces:
    jobs = "|".join(phase.job_name for phase in workflow.phases)
    return Traces(
        "Attempts that met an error",
        "The traces in which something of a run of this workflow failed, each a link.",
        "the red span is the call that failed; its attributes say which request it belongs to.",
        f'{{ name =~ "run ({jobs})" }} >> {{ status = error }}',
    )


WORKFLOWS_DETAIL = Dashboard(
    "idp-workflows-detail",
    "IDP Workflows Detail",
    "Success, duration, throughput, retries and events of each workflow.",
    tuple(map(_row, WORKFLOWS.values())),
)
