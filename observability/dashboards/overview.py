"""`IDP Observability`: is it well, and where to look if not."""

from __future__ import annotations

from idp_kernel.services import ServiceName
from idp_kernel.telemetry.metrics import (
    DAGSTER_FAILED_TICKS,
    DAGSTER_HEARTBEAT_AGE,
    DAGSTER_RUNS_OPEN,
    DAGSTER_UP,
    DOMAIN_EVENTS,
    DOWNSTREAM_ERRORS,
    EFFECTS,
    HTTP_REQUEST_DURATION,
    HTTP_REQUESTS,
    LOCAL_CONSUMER_LOGINS,
    PROJECTION_AGE,
    PROJECTION_UP,
    SECRET_AGE,
    SECRET_EXPIRY,
    SECRETS_OVERDUE,
    WORKFLOW_LAPSED_LEASE,
    WORKFLOW_LEASE_LOSSES,
    WORKFLOW_OLDEST_PENDING,
    WORKFLOW_REQUESTS_OPEN,
    WORKFLOW_REQUESTS_WAITING,
    WORKFLOW_RETRIES,
    WORKFLOW_RUN_DURATION,
)
from idp_kernel.workflows import WorkflowResult
from observability import limits
from observability.dashboards.model import (
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
from observability.objectives import SUCCESS_OBJECTIVE
from observability.promql import (
    UP,
    increase,
    matching,
    or_zero,
    other_than,
    quantile,
    rate,
    series,
)

_SERVER_ERRORS = series(HTTP_REQUESTS, status=matching("5.."))
_ENDS = series(WORKFLOW_RUN_DURATION, "count", result=other_than(WorkflowResult.CANCELLED))
_SUCCESSES = series(WORKFLOW_RUN_DURATION, "count", result=WorkflowResult.SUCCESS)


def _server_error_share(*by: str) -> str:
    requests = rate(series(HTTP_REQUESTS), RATE_WINDOW, *by)
    return or_zero(f"{rate(_SERVER_ERRORS, RATE_WINDOW, *by)} / {requests}", requests)


_HEALTH = Row(
    "Health of the platform and of what watches it",
    (
        Panel(
            "Processes that answer",
            "Whether Prometheus could scrape each process.",
            "`idp status` and `idp doctor`; docs/operations/service-down.md, and for the exporter"
            " docs/operations/exporter-down.md.",
            (Query(series(UP), "{{job}}"),),
            "short",
            Red(1, is_below=True),
            Kind.NUMBER,
            12,
        ),
        Panel(
            "Sources of the exporter",
            "Whether the control plane's projection and Dagster's storage answered the exporter. At"
            " 0 their series are missing below: a gap, not a zero.",
            "docs/operations/projection-down.md, docs/operations/dagster-storage-down.md.",
            (Query(series(PROJECTION_UP), "projection"), Query(series(DAGSTER_UP), "Dagster")),
            "short",
            Red(1, is_below=True),
            Kind.NUMBER,
            6,
        ),
        Panel(
            "Age of the projection",
            "How old the workflow numbers are when they are scraped.",
            "The control plane answers slowly, or the clocks of two machines differ: `idp doctor`"
            " compares them.",
            (Query(series(PROJECTION_AGE), "age"),),
            "s",
            Red(10),
            Kind.NUMBER,
            6,
        ),
        Panel(
            "Daemons' last sign of life",
            "Time since each of Dagster's daemons was heard of.",
            "docs/operations/daemon-down.md.",
            (Query(series(DAGSTER_HEARTBEAT_AGE), "{{daemon}}"),),
            "s",
            Red(limits.HEARTBEAT_AGE_SECONDS),
        ),
        Panel(
            "Ticks that failed",
            "Of each sensor and schedule, within the last ten minutes.",
            "docs/operations/ticks-fail.md.",
            (Query(series(DAGSTER_FAILED_TICKS), "{{name}}"),),
            "short",
            Red(limits.FAILED_TICKS + 1),
        ),
        Panel(
            "Runs in Dagster that have not ended",
            "Those that are QUEUED wait for a slot, STARTED ones are at work.",
            "All slots are taken: `idp request list --state running` shows by what. More of them is"
            " `IDP_ENGINE_WORKER_SLOTS`.",
            (Query(series(DAGSTER_RUNS_OPEN), "{{status}}"),),
            "short",
            Red(50),
        ),
    ),
)

_HTTP = Row(
    "HTTP",
    (
        Panel(
            "Requests",
            "Requests that each service answered, a second; not health, readiness and metrics.",
            "Somebody asks a lot. Rates are limited by token; the table of routes below says what"
            " is asked.",
            (Query(rate(series(HTTP_REQUESTS), RATE_WINDOW, "service"), "{{service}}"),),
            "reqps",
            Red(200),
        ),
        Panel(
            "Server errors",
            "The share of answers with a status of 500 and above.",
            "docs/operations/http-server-errors.md.",
            (Query(_server_error_share("service"), "{{service}}"),),
            "percentunit",
            Red(limits.HTTP_ERROR_SHARE),
        ),
        Panel(
            "Duration, 95th percentile",
            "Of each service; long polls and streams wait in it. Points are single requests and"
            " lead to their traces.",
            "Open a point's trace and see where the time went.",
            (
                Query(
                    quantile(0.95, HTTP_REQUEST_DURATION, RATE_WINDOW, "service"),
                    "{{service}}",
                    has_examples=True,
                ),
            ),
            "s",
            Red(10),
        ),
        Panel(
            "Requests by route",
            "Requests a second of each route and status.",
            "One caller repeats itself: `route` and `status` say what, the log of the service who.",
            (
                Query(
                    rate(
                        series(HTTP_REQUESTS), RATE_WINDOW, "service", "method", "route", "status"
                    ),
                    "{{service}} {{method}} {{route}} {{status}}",
                ),
            ),
            "reqps",
            Red(100),
            height=9,
        ),
        Panel(
            "Server errors by route",
            "The share of answers with a status of 500 and above.",
            "docs/operations/http-server-errors.md, which begins with the route.",
            (
                Query(
                    _server_error_share("service", "method", "route"),
                    "{{service}} {{method}} {{route}}",
                ),
            ),
            "percentunit",
            Red(limits.HTTP_ERROR_SHARE),
            height=9,
        ),
        Panel(
            "Duration by route, 95th percentile",
            "Streams and the engine's long poll for offers stay open on purpose.",
            "Open a point's trace and see where the time went.",
            (
                Query(
                    quantile(
                        0.95, HTTP_REQUEST_DURATION, RATE_WINDOW, "service", "method", "route"
                    ),
                    "{{service}} {{method}} {{route}}",
                    has_examples=True,
                ),
            ),
            "s",
            Red(10),
            height=9,
        ),
    ),
)

_WORKFLOWS = Row(
    "Workflows",
    (
        Panel(
            "Success rate",
            "Successes among the requests that ended within what is shown, but for cancelled ones.",
            "Which workflow, and which step: the dashboard IDP Workflows Detail, then"
            " docs/operations/workflow-success-burns-fast.md.",
            (
                Query(
                    f"{increase(_SUCCESSES, WHOLE_RANGE, 'workflow')}"
                    f" / {increase(_ENDS, WHOLE_RANGE, 'workflow')}",
                    "{{workflow}}",
                ),
            ),
            "percentunit",
            Red(SUCCESS_OBJECTIVE, is_below=True),
            Kind.NUMBER,
        ),
        Panel(
            "Time to done, 95th percentile",
            "From the command to the end, waiting left out, of successes within what is shown.",
            "docs/operations/workflow-time-to-done-burns-fast.md.",
            (
                Query(
                    quantile(
                        0.95,
                        WORKFLOW_RUN_DURATION,
                        WHOLE_RANGE,
                        "workflow",
                        result=WorkflowResult.SUCCESS,
                    ),
                    "{{workflow}}",
                ),
            ),
            "s",
            Red(60),
            Kind.NUMBER,
        ),
        Panel(
            "Ended requests by result",
            "Within each step of the time shown.",
            "docs/operations/workflow-failure-spike.md.",
            (
                Query(
                    increase(
                        series(WORKFLOW_RUN_DURATION, "count"), RATE_WINDOW, "workflow", "result"
                    ),
                    "{{workflow}} {{result}}",
                ),
            ),
            "short",
            Red(50),
        ),
        Panel(
            "Retries",
            "Repeats of steps and further attempts.",
            "Something is away or slow: the panels of providers below say what.",
            (Query(increase(series(WORKFLOW_RETRIES), RATE_WINDOW, "workflow"), "{{workflow}}"),),
            "short",
            Red(20),
        ),
        Panel(
            "Domain events",
            "Events that were committed, those that happened at all.",
            "Many `…_failed`: docs/operations/workflow-failure-spike.md.",
            (
                Query(
                    f"{increase(series(DOMAIN_EVENTS), RATE_WINDOW, 'event', 'result')} > 0",
                    "{{event}} {{result}}",
                ),
            ),
            "short",
            Red(100),
        ),
        Panel(
            "Leases lost",
            "Runs that did not renew their lease: killed, or cut off from the control plane.",
            "docs/operations/leases-lost.md.",
            (
                Query(
                    increase(series(WORKFLOW_LEASE_LOSSES), RATE_WINDOW, "workflow"),
                    "{{workflow}}",
                ),
            ),
            "short",
            Red(limits.LEASE_LOSSES),
        ),
    ),
)

_QUEUE = Row(
    "Queue",
    (
        Panel(
            "Oldest pending request",
            "How long the request has waited that waits longest for a run.",
            "docs/operations/requests-pending-too-long.md.",
            (Query(series(WORKFLOW_OLDEST_PENDING), "{{workflow}}"),),
            "s",
            Red(limits.OLDEST_PENDING_SECONDS),
            width=6,
        ),
        Panel(
            "Open requests",
            "Those that have not ended, by state.",
            "More is asked for than is done: `idp request list --state pending` shows by whom;"
            " limits of teams are in docs/how-do-i/limit-a-team.md.",
            (Query(series(WORKFLOW_REQUESTS_OPEN), "{{workflow}} {{state}}"),),
            "short",
            Red(100),
            width=6,
        ),
        Panel(
            "Waiting requests by reason",
            "The grace of a rotation is a wait, and so is a step that waits for somebody.",
            "`idp request list --state waiting`, then `idp request show` of one says for what.",
            (
                Query(
                    or_zero(
                        f"sum by (reason) ({series(WORKFLOW_REQUESTS_WAITING)})",
                        f"sum ({series(WORKFLOW_REQUESTS_OPEN, state='waiting')})",
                    ),
                    "{{reason}}",
                ),
            ),
            "short",
            Red(100),
            width=6,
        ),
        Panel(
            "Lapsed leases",
            "How long a lease is over that nobody has released.",
            "docs/operations/stuck-lease.md.",
            (Query(series(WORKFLOW_LAPSED_LEASE), "{{workflow}}"),),
            "s",
            Red(limits.LAPSED_LEASE_SECONDS),
            width=6,
        ),
    ),
)

_PROVIDERS = Row(
    "Providers",
    (
        Panel(
            "Errors that requests met",
            "By the party that was called; of those that steps told with their outcomes.",
            "docs/operations/provider-errors.md.",
            (
                Query(
                    increase(
                        series(DOWNSTREAM_ERRORS, job=ServiceName.METRICS_EXPORTER),
                        RATE_WINDOW,
                        "target",
                        "code",
                        "status",
                    ),
                    "{{target}} {{code}} {{status}}",
                ),
            ),
            "short",
            Red(limits.DOWNSTREAM_ERRORS),
        ),
        Panel(
            "Errors that processes meet",
            "The same errors and others, as each process counts them since its start.",
            "docs/operations/provider-errors.md.",
            (
                Query(
                    increase(
                        series(DOWNSTREAM_ERRORS, job=other_than(ServiceName.METRICS_EXPORTER)),
                        RATE_WINDOW,
                        "job",
                        "target",
                        "code",
                        "status",
                    ),
                    "{{job}} → {{target}} {{code}} {{status}}",
                ),
            ),
            "short",
            Red(limits.DOWNSTREAM_ERRORS),
        ),
        Panel(
            "What became of items",
            "Repositories, secrets and bindings of steps: done, adopted, replayed from the ledger.",
            "Replays in number mean that runs are repeated: docs/operations/leases-lost.md.",
            (
                Query(
                    increase(series(EFFECTS), RATE_WINDOW, "step", "effect"),
                    "{{step}} {{effect}}",
                ),
            ),
            "short",
            Red(200),
        ),
    ),
)

_SECRETS = Row(
    "Secrets",
    (
        Panel(
            "Rotations overdue",
            "Active secrets whose rotation was due and has not begun, by sensitivity.",
            "docs/operations/rotation-overdue.md.",
            (Query(series(SECRETS_OVERDUE), "{{sensitivity}}"),),
            "short",
            Red(1),
            width=6,
        ),
        Panel(
            "Age of the oldest credential",
            "In use, by sensitivity.",
            "docs/operations/rotation-overdue.md.",
            (Query(f"{series(SECRET_AGE)} / {limits.DAY_SECONDS}", "{{sensitivity}}"),),
            "d",
            Red(200),
            width=6,
        ),
        Panel(
            "Days to the next expiry",
            "Of the credential in use that ends first, by sensitivity; below zero it has ended.",
            "docs/operations/credential-near-expiry.md.",
            (Query(f"{series(SECRET_EXPIRY)} / {limits.DAY_SECONDS}", "{{sensitivity}}"),),
            "d",
            Red(limits.EXPIRY_DAYS, is_below=True),
            width=6,
        ),
        Panel(
            "Log-ins of the local consumer",
            "Of the application that comes with the embedded default, with what bindings brought.",
            "A login was refused: `idp request list --workflow SecretRotation` shows the rotation"
            " that was at work.",
            (Query(increase(series(LOCAL_CONSUMER_LOGINS), RATE_WINDOW, "result"), "{{result}}"),),
            "short",
            Red(1000),
            width=6,
        ),
    ),
)

_TRACES = Row(
    "Traces",
    (
        Traces(
            "Commands",
            "One trace for each request, from the command to its last step.",
            "nothing turns red here; docs/tracing.md says what each span is.",
            '{ resource.service.name = "control-plane-api" && name =~ "POST /v1/.*" }',
        ),
    ),
)

OVERVIEW = Dashboard(
    "idp-observability",
    "IDP Observability",
    "Whether the platform is well, and where to look if it is not.",
    (_HEALTH, _HTTP, _WORKFLOWS, _QUEUE, _PROVIDERS, _SECRETS, _TRACES),
)
