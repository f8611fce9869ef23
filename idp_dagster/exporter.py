"""`python -m idp_dagster.exporter`: the control plane's metrics projection, and how Dagster itself
fares, for Prometheus.

A singleton. Each scrape reads both anew. While one cannot be read its series are left out, never
shown as zeros, and `idp_metrics_projection_up` or `dagster_instance_up` is 0. Neither is waited for
as long as a scrape may take: of what hangs that gauge tells, not an exporter that gives no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

import structlog
from dagster import DagsterInstance
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from idp_dagster.bounded_read import BoundedRead
from idp_dagster.health import HealthCollector, ReadHealth, engine_health
from idp_dagster.settings import ExporterSettings
from idp_kernel.clock import Clock, SystemClock
from idp_kernel.errors import PlatformError, Unavailable
from idp_kernel.http.client import service_client
from idp_kernel.http.server import new_server
from idp_kernel.http.serving import serve
from idp_kernel.services import ServiceName
from idp_kernel.settings import read_settings
from idp_kernel.telemetry import metrics
from idp_kernel.telemetry.export import configure_traces
from idp_kernel.telemetry.logs import configure_logs
from idp_kernel.tokens import SigningKey
from idp_kernel.wire.engine import METRICS_PROJECTION
from idp_kernel.wire.metrics import MetricsProjection, RunDuration
from idp_kernel.workflows import WORKFLOW_SECONDS_BUCKETS

PROJECTION_WITHIN_SECONDS = 5.0
HEALTH_WITHIN_SECONDS = 2.0
"""Both in turn are below the time that Prometheus gives a scrape."""

ReadProjection = Callable[[], MetricsProjection]

_log = structlog.get_logger(__name__)


def main() -> None:
    """Serves `/metrics` until SIGTERM."""
    settings = read_settings(ExporterSettings)
    settings.export()
    configure_logs(ServiceName.METRICS_EXPORTER, settings.log_level)
    configure_traces(
        ServiceName.METRICS_EXPORTER,
        settings.otlp_endpoint,
        ratio=settings.trace_ratio,
        env=settings.env,
    )
    clock = SystemClock()
    with DagsterInstance.get() as instance:
        serve(
            exporter(
                projection_reader(settings),
                lambda: engine_health(instance, clock.now()),
                clock,
                env=settings.env,
            ),
            host=settings.exporter_host,
            port=settings.exporter_port,
        )


def projection_reader(settings: ExporterSettings) -> ReadProjection:
    """Reads the projection with the exporter's own token."""
    api = service_client(
        settings.control_plane_url,
        key=SigningKey.read(settings.exporter_key_file),
        service=ServiceName.METRICS_EXPORTER,
        clock=SystemClock(),
        timeout_seconds=PROJECTION_WITHIN_SECONDS,
    )
    return lambda: api.call("GET", METRICS_PROJECTION, MetricsProjection)


def exporter(read: ReadProjection, read_health: ReadHealth, clock: Clock, *, env: str) -> FastAPI:
    """The server; ready while the projection can be read."""
    projection = BoundedRead(read, PROJECTION_WITHIN_SECONDS)
    health = BoundedRead(read_health, HEALTH_WITHIN_SECONDS)

    def is_ready() -> None:
        try:
            projection()
        except PlatformError as error:
            raise Unavailable(f"The projection cannot be read: {error.message}") from error

    registry = CollectorRegistry()
    registry.register(ProjectionCollector(projection, clock))
    registry.register(HealthCollector(health))
    return new_server(
        service=ServiceName.METRICS_EXPORTER,
        env=env,
        registry=registry,
        is_ready=is_ready,
        description=(
            "Workflow metrics of the platform, as the control plane has committed them, and the"
            " health of its engine."
        ),
    )


class ProjectionCollector(Collector):
    """Renders the projection."""

    def __init__(self, read: ReadProjection, clock: Clock) -> None:
        self._read = read
        self._clock = clock

    def describe(self) -> list[Metric]:
        """Nothing: to register this must not ask the control plane."""
        return []

    def collect(self) -> Iterator[Metric]:
        projection = self._projection()
        yield gauge(metrics.PROJECTION_UP, 0 if projection is None else 1)
        if projection is not None:
            age = (self._clock.now() - projection.taken_at).total_seconds()
            yield gauge(metrics.PROJECTION_AGE, max(0.0, age))
            yield from families(projection)

    def _projection(self) -> MetricsProjection | None:
        try:
            return self._read()
        except PlatformError as error:
            _log.warning("projection_not_read", code=error.code, detail=error.message)
            return None


def families(projection: MetricsProjection) -> Iterator[Metric]:
    """The series of a projection."""
    yield from _counters(projection)
    yield _durations(projection.durations)
    yield from _requests(projection)
    yield from _secrets(projection)


def _counters(projection: MetricsProjection) -> Iterator[Metric]:
    retries = metrics.WORKFLOW_RETRIES.counters()
    for retry in projection.retries:
        retries.add_metric([retry.workflow], retry.value)
    yield retries
    events = metrics.DOMAIN_EVENTS.counters()
    for event in projection.events:
        events.add_metric([event.event, event.result], event.value)
    yield events
    errors = metrics.DOWNSTREAM_ERRORS.counters()
    for error in projection.downstream_errors:
        errors.add_metric([error.target, error.code, error.status], error.value)
    yield errors
    losses = metrics.WORKFLOW_LEASE_LOSSES.counters()
    for loss in projection.lease_losses:
        losses.add_metric([loss.workflow], loss.value)
    yield losses


def _durations(durations: tuple[RunDuration, ...]) -> Metric:
    family = metrics.WORKFLOW_RUN_DURATION.histograms()
    bounds = [*(str(bound) for bound in WORKFLOW_SECONDS_BUCKETS), "+Inf"]
    for duration in durations:
        family.add_metric(
            [duration.workflow, duration.result],
            buckets=list(zip(bounds, accumulate(duration.bucket_counts), strict=True)),
            sum_value=duration.sum_seconds,
        )
    return family


def _requests(projection: MetricsProjection) -> Iterator[Metric]:
    open_requests = metrics.WORKFLOW_REQUESTS_OPEN.gauges()
    for each in projection.open_requests:
        open_requests.add_metric([each.workflow, each.state], each.value)
    yield open_requests
    oldest = metrics.WORKFLOW_OLDEST_PENDING.gauges()
    for pending in projection.oldest_pending:
        oldest.add_metric([pending.workflow], pending.age_seconds)
    yield oldest
    lapsed = metrics.WORKFLOW_LAPSED_LEASE.gauges()
    for lease in projection.lapsed_leases:
        lapsed.add_metric([lease.workflow], lease.age_seconds)
    yield lapsed
    waiting = metrics.WORKFLOW_REQUESTS_WAITING.gauges()
    for wait in projection.waiting:
        waiting.add_metric([wait.workflow, wait.reason], wait.value)
    yield waiting
    provider_wait = metrics.WORKFLOW_PROVIDER_WAIT.gauges()
    for each_wait in projection.provider_waits:
        provider_wait.add_metric([each_wait.workflow], each_wait.age_seconds)
    yield provider_wait


def _secrets(projection: MetricsProjection) -> Iterator[Metric]:
    age, expiry = metrics.SECRET_AGE.gauges(), metrics.SECRET_EXPIRY.gauges()
    overdue = metrics.SECRETS_OVERDUE.gauges()
    for each in projection.secrets:
        if each.oldest_age_seconds is not None:
            age.add_metric([each.sensitivity], each.oldest_age_seconds)
        if each.next_expiry_seconds is not None:
            expiry.add_metric([each.sensitivity], each.next_expiry_seconds)
        overdue.add_metric([each.sensitivity], each.overdue)
    yield from (age, expiry, overdue)


def gauge(definition: metrics.Metric, value: float) -> Metric:
    """A gauge without labels."""
    family = definition.gauges()
    family.add_metric([], value)
    return family


if __name__ == "__main__":
    main()
