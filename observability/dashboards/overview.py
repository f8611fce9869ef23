"""`IDP Observability`: is it well, and where to look if not."""

from __future__ import annotations

from idp_kernel.downstream import CircuitState
from idp_kernel.services import ServiceName
from idp_kernel.telemetry.metrics import (
    DAGSTER_FAILED_SCHEDULED_RUNS,
    DAGSTER_FAILED_TICKS,
    DAGSTER_HEARTBEAT_AGE,
    DAGSTER_RUNS_OPEN,
    DAGSTER_UP,
    DOMAIN_EVENTS,
    DOWNSTREAM_ERRORS,
    EFFECTS,
    HOUSEKEEPING,
    HTTP_REQUEST_DURATION,
    HTTP_REQUESTS,
    LOCAL_CONSUMER_LOGINS,
    PROJECTION_AGE,
    PROJECTION_UP,
    PROVIDER_CIRCUIT,
    PROVIDER_REFUSALS,
    SECRET_AGE,
    SECRET_EXPIRY,
    SECRETS_OVERDUE,
    WORKFLOW_LAPSED_LEASE,
    WORKFLOW_LEASE_LOSSES,
    WORKFLOW_OLDEST_PENDING,
    WORKFLOW_PROVIDER_WAIT,
    WORKFLOW_REQUESTS_OPEN,
    WORKFLOW_REQUESTS_WAITING,
    WORKFLOW_RETRIES,
    WORKFLOW_RUN_DURATION,
)
from idp_kernel.workflows import WORKFLOWS, RequestState, WorkflowName, WorkflowResult
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
from observability.errors import downstream_errors, server_error_share
from observability.housekeeping import since_done
from observability.objectives import (
    DONE_WITHIN_SECONDS,
    IN_TIME_OBJECTIVE,
    SUCCESS_OBJECTIVE,
    failures,
    success_rate,
)
from observability.promql import (
    UP,
    counted,
    increase,
    or_one_zero,
    or_zero,
    other_than,
    quantile,
    rate,
    series,
)


def _lateness(workflow: WorkflowName) -> str:
    """The 95th percentile of its successes, 1 where the promise ends."""
    slowest = quantile(
        IN_TIME_OBJECTIVE,
        WORKFLOW_RUN_DURATION,
        WHOLE_RANGE,
        "workflow",
        workflow=workflow,
        result=WorkflowResult.SUCCESS,
    )
    return f"{slowest} / {DONE_WITHIN_SECONDS[workflow]:g}"


LOGGED_IN = "success"
"""The result of a log-in of the local consumer that went well."""
_FAILED_LOGINS = or_zero(
    counted(
        series(LOCAL_CONSUMER_LOGINS, result=other_than(LOGGED_IN)),
        limits.LOGINS_WITHIN,
        "job",
    ),
    f"sum by (job) ({series(LOCAL_CONSUMER_LOGINS)})",
)
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
            Red(1, "ServiceDown", is_below=True),
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
            Red(1, "ProjectionDown", is_below=True),
            Kind.NUMBER,
            6,
        ),
        Panel(
            "Age of the projection",
            "How old the workflow numbers are when they are scraped.",
            "more than a few seconds: the control plane answers slowly, or its machine's clock"
            " differs from the exporter's. `idp doctor` on a machine tells its time, and whether"
            " files there are from later.",
            (Query(series(PROJECTION_AGE), "age"),),
            "s",
            kind=Kind.NUMBER,
            width=6,
        ),
        Panel(
            "Daemons' last sign of life",
            "Time since each of Dagster's daemons was heard of.",
            "docs/operations/daemon-down.md.",
            (Query(series(DAGSTER_HEARTBEAT_AGE), "{{daemon}}"),),
            "s",
            Red(limits.HEARTBEAT_AGE_SECONDS, "DaemonDown"),
        ),
        Panel(
            "Ticks that failed",
            "Of each sensor and schedule, within the last ten minutes. A schedule ticks every five"
            " or fifteen, so one that goes on failing stays below the line.",
            "docs/operations/ticks-fail.md.",
            (Query(series(DAGSTER_FAILED_TICKS), "{{name}}"),),
            "short",
            Red(limits.FAILED_TICKS + 1, "TicksFail"),
        ),
        Panel(
            "Scheduled runs that failed",
            "Of each schedule, since one of its runs last succeeded; ten stand for more.",
            "docs/operations/scheduled-runs-fail.md.",
            (Query(series(DAGSTER_FAILED_SCHEDULED_RUNS), "{{name}}"),),
            "short",
            Red(limits.FAILED_SCHEDULED_RUNS + 1, "ScheduledRunsFail"),
        ),
        Panel(
            "Runs in Dagster that have not ended",
            "Those that are QUEUED wait for a slot, STARTED ones are at work.",
            "`idp request list --state running` shows what takes all slots. More of them is"
            " `IDP_ENGINE_WORKER_SLOTS`.",
            (Query(series(DAGSTER_RUNS_OPEN), "{{status}}"),),
            "short",
        ),
        Panel(
            "Old rows that went",
            "Of each table, in the time between two points. What is kept for how long is in"
            " docs/operations.md.",
            "the panel beside it, which shows a table that nothing goes of though it should.",
            (
                Query(
                    f"{increase(series(HOUSEKEEPING), RATE_WINDOW, 'job', 'table')} > 0",
                    "{{job}} {{table}}",
                ),
            ),
            "short",
        ),
        Panel(
            "Time since housekeeping was through",
            "With each table; it begins again every one or five minutes.",
            "docs/operations/housekeeping-stalls.md.",
            (Query(since_done(), "{{job}} {{table}}"),),
            "s",
            Red(limits.HOUSEKEEPING_SECONDS, "HousekeepingStalls"),
        ),
    ),
)

_HTTP = Row(
    "HTTP",
    (
        Panel(
            "Requests",
            "Requests that each service answered, a second; not health, readiness and metrics.",
            "the requests by route below say what is asked. Rates are limited by token.",
            (Query(rate(series(HTTP_REQUESTS), RATE_WINDOW, "service"), "{{service}}"),),
            "reqps",
        ),
        Panel(
            "Server errors",
            "The share of answers with a status of 500 and above, within"
            f" {limits.HTTP_ERRORS_WITHIN} before each point.",
            "docs/operations/http-server-errors.md.",
            (Query(server_error_share("service"), "{{service}}"),),
            "percentunit",
            Red(limits.HTTP_ERROR_SHARE, "HttpServerErrors"),
        ),
        Panel(
            "Duration, 95th percentile",
            "Of each service; long polls and streams wait in it. Points are single requests and"
            " lead to their traces.",
            "open a point's trace and see where the time went.",
            (
                Query(
                    quantile(0.95, HTTP_REQUEST_DURATION, RATE_WINDOW, "service"),
                    "{{service}}",
                    has_examples=True,
                ),
            ),
            "s",
        ),
        Panel(
            "Requests by route",
            "Requests a second of each route and status.",
            "`route` and `status` say what a caller repeats, the log of the service who it is.",
            (
                Query(
                    rate(
                        series(HTTP_REQUESTS), RATE_WINDOW, "service", "method", "route", "status"
                    ),
                    "{{service}} {{method}} {{route}} {{status}}",
                ),
            ),
            "reqps",
            height=9,
        ),
        Panel(
            "Server errors by route",
            "The share of answers with a status of 500 and above, of each route.",
            "docs/operations/http-server-errors.md says how to go on from a route.",
            (
                Query(
                    server_error_share("service", "method", "route"),
                    "{{service}} {{method}} {{route}}",
                ),
            ),
            "percentunit",
            height=9,
        ),
        Panel(
            "Duration by route, 95th percentile",
            "Streams and the engine's long poll for offers stay open on purpose.",
            "open a point's trace and see where the time went.",
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
            (Query(success_rate(WHOLE_RANGE), "{{workflow}}"),),
            "percentunit",
            Red(SUCCESS_OBJECTIVE, PROMISE, is_below=True),
            Kind.NUMBER,
        ),
        Panel(
            "Time to done, of what is promised",
            f"How long {IN_TIME_OBJECTIVE:.0%} of the successes within what is shown took at most,"
            " waiting left out, as a share of the time that docs/alerts.md promises.",
            "docs/operations/workflow-time-to-done-burns-fast.md.",
            (Query(" or ".join(map(_lateness, WORKFLOWS)), "{{workflow}}"),),
            "percentunit",
            Red(1, PROMISE),
            Kind.NUMBER,
        ),
        Panel(
            "Failed requests",
            f"Failures and timeouts, within {limits.FAILURES_WITHIN} before each point.",
            "docs/operations/workflow-failure-spike.md, if most of the workflow's requests fail.",
            (Query(failures(limits.FAILURES_WITHIN), "{{workflow}}"),),
            "short",
            Red(limits.FAILURES - limits.ESTIMATE, "WorkflowFailureSpike"),
        ),
        Panel(
            "Ended requests by result",
            EACH_POINT,
            "the dashboard IDP Workflows Detail.",
            (
                Query(
                    increase(
                        series(WORKFLOW_RUN_DURATION, "count"), RATE_WINDOW, "workflow", "result"
                    ),
                    "{{workflow}} {{result}}",
                ),
            ),
            "short",
        ),
        Panel(
            "Retries",
            "Repeats of steps and further attempts.",
            "the panels of providers below say what is away or slow.",
            (Query(increase(series(WORKFLOW_RETRIES), RATE_WINDOW, "workflow"), "{{workflow}}"),),
            "short",
        ),
        Panel(
            "Domain events",
            "Events that were committed, those that happened at all.",
            "`idp events` shows them one by one.",
            (
                Query(
                    f"{increase(series(DOMAIN_EVENTS), RATE_WINDOW, 'event', 'result')} > 0",
                    "{{event}} {{result}}",
                ),
            ),
            "short",
        ),
        Panel(
            "Leases lost",
            "Runs that did not renew their lease, killed or cut off from the control plane, within"
            f" {limits.LEASE_LOSSES_WITHIN} before each point of time.",
            "docs/operations/leases-lost.md.",
            (
                Query(
                    increase(series(WORKFLOW_LEASE_LOSSES), limits.LEASE_LOSSES_WITHIN, "workflow"),
                    "{{workflow}}",
                ),
            ),
            "short",
            Red(limits.LEASE_LOSSES - limits.ESTIMATE, "LeasesLost"),
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
            Red(limits.OLDEST_PENDING_SECONDS, "RequestsPendingTooLong"),
            width=6,
        ),
        Panel(
            "Open requests",
            "Those that have not ended, by state.",
            "`idp request list --state pending` shows who asks for more than is done; limits of"
            " teams are in docs/how-do-i/limit-a-team.md.",
            (Query(series(WORKFLOW_REQUESTS_OPEN), "{{workflow}} {{state}}"),),
            "short",
            width=6,
        ),
        Panel(
            "Waiting requests by reason",
            "The grace of a rotation is a wait, and so is a step that waits for somebody.",
            "`idp request list --state waiting`, then `idp request show` of one says for what.",
            (
                Query(
                    or_one_zero(
                        f"sum by (reason) ({series(WORKFLOW_REQUESTS_WAITING)})",
                        f"sum ({series(WORKFLOW_REQUESTS_OPEN, state=RequestState.WAITING)})",
                    ),
                    "{{reason}}",
                ),
            ),
            "short",
            width=6,
        ),
        Panel(
            "Lapsed leases",
            "How long a lease is over that nobody has released.",
            "docs/operations/stuck-lease.md.",
            (Query(series(WORKFLOW_LAPSED_LEASE), "{{workflow}}"),),
            "s",
            Red(limits.LAPSED_LEASE_SECONDS, "StuckLease"),
            width=6,
        ),
        Panel(
            "Longest wait for a provider",
            "How long the request has waited for providers that has waited longest, over all such"
            " waits of its phase.",
            "docs/operations/requests-wait-too-long.md.",
            (Query(series(WORKFLOW_PROVIDER_WAIT), "{{workflow}}"),),
            "s",
            Red(limits.PROVIDER_WAIT_SECONDS, "RequestsWaitTooLong"),
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
        ),
        Panel(
            "Errors of a party",
            "The same errors and others, as the processes that call it count them, within"
            f" {limits.DOWNSTREAM_ERRORS_WITHIN} before each point of time.",
            "docs/operations/provider-errors.md.",
            (Query(downstream_errors("target"), "{{target}}"),),
            "short",
            Red(limits.DOWNSTREAM_ERRORS, "ProviderErrors"),
        ),
        Panel(
            "Errors that processes meet",
            "The same by process, code and status.",
            "docs/operations/provider-errors.md.",
            (
                Query(
                    downstream_errors("job", "target", "code", "status"),
                    "{{job}} → {{target}} {{code}} {{status}}",
                ),
            ),
            "short",
        ),
        Panel(
            "Providers that are not called",
            "1 while a provider's circuit breaker is open, or one call tries whether it is back;"
            " and calls that were not made, since a limit stood against them.",
            "docs/operations/provider-errors.md.",
            (
                Query(series(PROVIDER_CIRCUIT, circuit=CircuitState.OPEN), "{{target}} open"),
                Query(series(PROVIDER_CIRCUIT, circuit=CircuitState.HALF_OPEN), "{{target}} tried"),
                Query(
                    increase(series(PROVIDER_REFUSALS), RATE_WINDOW, "target", "refusal"),
                    "{{target}} {{refusal}}",
                ),
            ),
            "short",
        ),
        Panel(
            "What became of items",
            "Repositories, secrets and bindings of steps: done, adopted, replayed from the ledger.",
            "replays in number mean that runs are repeated: docs/operations/leases-lost.md.",
            (
                Query(
                    increase(series(EFFECTS), RATE_WINDOW, "step", "effect"),
                    "{{step}} {{effect}}",
                ),
            ),
            "short",
        ),
    ),
)

_SECRETS = Row(
    "Secrets",
    (
        Panel(
            "Rotations overdue",
            "Secrets in use that are a day older than their policy lets them get, by sensitivity.",
            "docs/operations/rotation-overdue.md.",
            (Query(series(SECRETS_OVERDUE), "{{sensitivity}}"),),
            "short",
            Red(1, "RotationOverdue"),
            width=6,
        ),
        Panel(
            "Age of the oldest credential",
            "In use, by sensitivity.",
            "docs/operations/rotation-overdue.md.",
            (Query(f"{series(SECRET_AGE)} / {limits.DAY_SECONDS}", "{{sensitivity}}"),),
            "d",
            width=6,
        ),
        Panel(
            "Days to the next expiry",
            "Of the credential in use that ends first, by sensitivity; below zero it has ended.",
            "docs/operations/credential-near-expiry.md.",
            (Query(f"{series(SECRET_EXPIRY)} / {limits.DAY_SECONDS}", "{{sensitivity}}"),),
            "d",
            Red(limits.EXPIRY_DAYS, "CredentialNearExpiry", is_below=True),
            width=6,
        ),
        Panel(
            "Log-ins of the local consumer",
            "Of the application that comes with the embedded default, with what bindings brought.",
            "the panel of those that failed, beside it.",
            (Query(increase(series(LOCAL_CONSUMER_LOGINS), RATE_WINDOW, "result"), "{{result}}"),),
            "short",
            width=6,
        ),
        Panel(
            "Failed log-ins of the local consumer",
            f"Refused, or the database was away, within {limits.LOGINS_WITHIN} before each point. A"
            " rotation brings none, that is promised; no alert stands behind it.",
            "`idp request list --workflow SecretRotation` shows the rotation that was at work.",
            (Query(_FAILED_LOGINS, "failed"),),
            "short",
            Red(1 - limits.ESTIMATE, PROMISE),
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
            "docs/tracing.md says what each span is.",
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
