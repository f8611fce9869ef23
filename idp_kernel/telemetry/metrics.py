"""Every metric of the platform: name, kind, labels and meaning, defined once.

Who shows a metric makes it from its definition here; `docs/metrics.md` is made from the same.
Label values come from closed sets: no ids, no paths with ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from idp_kernel.errors import PlatformError
from idp_kernel.services import ServiceName
from idp_kernel.telemetry.traces import current_trace_id

HTTP_SECONDS_BUCKETS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
UNKNOWN_ROUTE = "unmatched"
NO_STATUS = "none"
"""The status of a downstream error without an answer."""
OWN_DATABASE = "postgresql"
"""The target of errors of the database in which a process keeps its own state."""


class MetricKind(StrEnum):
    """What may be asked of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """A metric's definition."""

    name: str
    kind: MetricKind
    labels: tuple[str, ...]
    meaning: str

    def counter(self, registry: CollectorRegistry) -> Counter:
        """A counter of this process, 0 at its start."""
        return Counter(self.name, self.meaning, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry) -> Gauge:
        """What stands in this process, set when it changes."""
        return Gauge(self.name, self.meaning, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry, buckets: tuple[float, ...]) -> Histogram:
        """A histogram of this process, empty at its start."""
        return Histogram(self.name, self.meaning, self.labels, buckets=buckets, registry=registry)

    def counters(self) -> CounterMetricFamily:
        """For counts that were kept elsewhere."""
        return CounterMetricFamily(self.name, self.meaning, labels=self.labels)

    def gauges(self) -> GaugeMetricFamily:
        """For what stands at the moment of a scrape."""
        return GaugeMetricFamily(self.name, self.meaning, labels=self.labels)

    def histograms(self) -> HistogramMetricFamily:
        """For durations that were counted elsewhere."""
        return HistogramMetricFamily(self.name, self.meaning, labels=self.labels)


_COUNTER, _GAUGE, _HISTOGRAM = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM

# ── every server ─────────────────────────────────────────────────────────────────────────────

HTTP_REQUESTS = Metric(
    "http_requests_total",
    _COUNTER,
    ("service", "env", "method", "route", "status"),
    "HTTP requests answered, but for health, readiness and metrics.",
)
HTTP_REQUEST_DURATION = Metric(
    "http_request_duration_seconds",
    _HISTOGRAM,
    ("service", "env", "method", "route"),
    "Time from a request's first byte to its answer's last; long polls and streams wait in it.",
)
DOWNSTREAM_ERRORS = Metric(
    "downstream_errors_total",
    _COUNTER,
    ("target", "code", "status"),
    "Errors met at a party that was called, repeats too.",
)

# ── whoever keeps tables ─────────────────────────────────────────────────────────────────────

HOUSEKEEPING = Metric(
    "housekeeping_deleted_rows_total",
    _COUNTER,
    ("table",),
    "Rows deleted since they were too old to be needed; of runs in Dagster the runs.",
)
HOUSEKEEPING_AGE = Metric(
    "housekeeping_last_done_seconds",
    _GAUGE,
    ("table",),
    "Time since nothing of the table was left that was too old; of Dagster's since that was so of"
    " all of its tables, of other processes since their start at most.",
)

# ── execution-workers ────────────────────────────────────────────────────────────────────────

EFFECTS = Metric(
    "execution_workers_effects_total",
    _COUNTER,
    ("step", "effect"),
    "Items of steps by what became of them.",
)

PROVIDER_CIRCUIT = Metric(
    "execution_workers_provider_circuit",
    _GAUGE,
    ("target", "circuit"),
    "1 for the state that a provider's circuit breaker is in, 0 for the others.",
)
PROVIDER_REFUSALS = Metric(
    "execution_workers_provider_refusals_total",
    _COUNTER,
    ("target", "refusal"),
    "Calls to providers that were not made, since a limit stood against them.",
)

LOCAL_CONSUMER_LOGINS = Metric(
    "local_consumer_logins_total",
    _COUNTER,
    ("result",),
    "Log-ins to databases with what bindings brought.",
)

# ── the exporter, of what the control plane has committed ────────────────────────────────────

PROJECTION_UP = Metric(
    "idp_metrics_projection_up",
    _GAUGE,
    (),
    "Whether the control plane gave the projection to this scrape; at 0 its series are left out.",
)
PROJECTION_AGE = Metric(
    "idp_metrics_projection_age_seconds", _GAUGE, (), "Age of what the projection shows."
)
WORKFLOW_RUN_DURATION = Metric(
    "workflow_run_duration_seconds",
    _HISTOGRAM,
    ("workflow", "result"),
    "From the command to the end of its request, waiting left out.",
)
WORKFLOW_RETRIES = Metric(
    "workflow_retries_total",
    _COUNTER,
    ("workflow",),
    "Step retries, and attempts after another but for those after a wait.",
)
DOMAIN_EVENTS = Metric(
    "domain_events_total", _COUNTER, ("event", "result"), "Domain events committed."
)
WORKFLOW_LEASE_LOSSES = Metric(
    "workflow_lease_losses_total",
    _COUNTER,
    ("workflow",),
    "Attempts that ended since their run did not renew its lease.",
)
WORKFLOW_REQUESTS_OPEN = Metric(
    "workflow_requests_open", _GAUGE, ("workflow", "state"), "Requests that have not ended."
)
WORKFLOW_OLDEST_PENDING = Metric(
    "workflow_oldest_pending_seconds",
    _GAUGE,
    ("workflow",),
    "How long the request is pending that has waited longest for a run; 0 when none is. Those above"
    " their team's limit do not count, nor any while the platform drains.",
)
WORKFLOW_LAPSED_LEASE = Metric(
    "workflow_lapsed_lease_seconds",
    _GAUGE,
    ("workflow",),
    "How long the lease is over of the running request whose lease ended first; 0 when none is.",
)
WORKFLOW_REQUESTS_WAITING = Metric(
    "workflow_requests_waiting", _GAUGE, ("workflow", "reason"), "Requests that wait."
)
WORKFLOW_PROVIDER_WAIT = Metric(
    "workflow_longest_provider_wait_seconds",
    _GAUGE,
    ("workflow",),
    "How long the request has waited for providers, over all such waits of its phase, that has"
    " waited longest of those that have not ended; 0 when none has.",
)
SECRET_AGE = Metric(
    "secret_age_seconds",
    _GAUGE,
    ("sensitivity",),
    "Time since the oldest credential in use was issued.",
)
SECRET_EXPIRY = Metric(
    "secret_expiry_seconds",
    _GAUGE,
    ("sensitivity",),
    "Time until the next credential in use expires, negative once it has.",
)
SECRETS_OVERDUE = Metric(
    "secrets_rotation_overdue",
    _GAUGE,
    ("sensitivity",),
    "Secrets in use that are older than their interval, their grace and a day, whether or not a"
    " rotation is at work.",
)

# ── the exporter, of Dagster ─────────────────────────────────────────────────────────────────

DAGSTER_UP = Metric(
    "dagster_instance_up",
    _GAUGE,
    (),
    "Whether Dagster's storage answered this scrape; at 0 its series are left out.",
)
DAGSTER_HEARTBEAT_AGE = Metric(
    "dagster_daemon_heartbeat_age_seconds",
    _GAUGE,
    ("daemon",),
    "Time since a daemon that the instance needs last gave a sign of life.",
)
DAGSTER_RUNS_OPEN = Metric(
    "dagster_runs_open",
    _GAUGE,
    ("status",),
    "Runs that have not ended; those that are QUEUED wait for a slot.",
)
DAGSTER_FAILED_TICKS = Metric(
    "dagster_failed_ticks",
    _GAUGE,
    ("name",),
    "Ticks of a sensor or schedule that failed within the last ten minutes.",
)
DAGSTER_FAILED_SCHEDULED_RUNS = Metric(
    "dagster_scheduled_runs_failed_in_a_row",
    _GAUGE,
    ("name",),
    "Runs of a schedule that failed since one last succeeded; ten stand for more.",
)

HTTP_METRICS = (HTTP_REQUESTS, HTTP_REQUEST_DURATION)
PROJECTION_METRICS = (
    PROJECTION_UP,
    PROJECTION_AGE,
    WORKFLOW_RUN_DURATION,
    WORKFLOW_RETRIES,
    DOMAIN_EVENTS,
    DOWNSTREAM_ERRORS,
    WORKFLOW_LEASE_LOSSES,
    WORKFLOW_REQUESTS_OPEN,
    WORKFLOW_OLDEST_PENDING,
    WORKFLOW_LAPSED_LEASE,
    WORKFLOW_REQUESTS_WAITING,
    WORKFLOW_PROVIDER_WAIT,
    SECRET_AGE,
    SECRET_EXPIRY,
    SECRETS_OVERDUE,
)
DAGSTER_METRICS = (
    DAGSTER_UP,
    DAGSTER_HEARTBEAT_AGE,
    DAGSTER_RUNS_OPEN,
    DAGSTER_FAILED_TICKS,
    DAGSTER_FAILED_SCHEDULED_RUNS,
    HOUSEKEEPING,
    HOUSEKEEPING_AGE,
)
METRICS_OF: dict[ServiceName, tuple[Metric, ...]] = {
    ServiceName.CONTROL_PLANE_API: (
        *HTTP_METRICS,
        DOWNSTREAM_ERRORS,
        HOUSEKEEPING,
        HOUSEKEEPING_AGE,
    ),
    ServiceName.EXECUTION_WORKERS: (
        *HTTP_METRICS,
        DOWNSTREAM_ERRORS,
        EFFECTS,
        PROVIDER_CIRCUIT,
        PROVIDER_REFUSALS,
        HOUSEKEEPING,
        HOUSEKEEPING_AGE,
    ),
    ServiceName.METRICS_EXPORTER: (*HTTP_METRICS, *PROJECTION_METRICS, *DAGSTER_METRICS),
    ServiceName.LOCAL_FORGE: HTTP_METRICS,
    ServiceName.LOCAL_GITOPS_AGENT: HTTP_METRICS,
    ServiceName.LOCAL_CONSUMER: (*HTTP_METRICS, LOCAL_CONSUMER_LOGINS),
}
"""Everything that each process shows at `/metrics`."""


class HttpMetrics:
    """What a server says of the requests it answered; routes are templates, never paths."""

    def __init__(self, registry: CollectorRegistry, service: ServiceName, env: str) -> None:
        self._service = service.value
        self._env = env
        self._requests = HTTP_REQUESTS.counter(registry)
        self._seconds = HTTP_REQUEST_DURATION.histogram(registry, HTTP_SECONDS_BUCKETS)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answered request, with its trace as the example."""
        labels = (self._service, self._env, method, route)
        trace_id = current_trace_id()
        self._requests.labels(*labels, str(status)).inc()
        self._seconds.labels(*labels).observe(
            seconds, exemplar=None if trace_id is None else {"trace_id": trace_id}
        )


def downstream_errors(registry: CollectorRegistry) -> Counter:
    """`downstream_errors_total{target,code,status}`: an outside party's errors, repeats too."""
    return DOWNSTREAM_ERRORS.counter(registry)


def count_downstream_error(errors: Counter, target: str, error: PlatformError) -> None:
    """Counts an error that was met at a party, with the status it answered if it did."""
    status = str(error.details.get("targetStatus", NO_STATUS))
    errors.labels(target, error.code, status).inc()
