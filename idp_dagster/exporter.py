"""`python -m idp_dagster.exporter`: the control plane's metrics projection for Prometheus.

A singleton. Each scrape reads the projection anew. While it cannot be read its series are left
out, never shown as zeros, and `idp_metrics_projection_up` is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

import structlog
import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from idp_dagster.settings import ExporterSettings
from idp_kernel.clock import Clock, SystemClock
from idp_kernel.errors import PlatformError, Unavailable
from idp_kernel.http.client import service_client
from idp_kernel.http.server import new_server
from idp_kernel.services import ServiceName
from idp_kernel.telemetry.logs import configure_logs
from idp_kernel.telemetry.traces import configure_traces
from idp_kernel.tokens import SigningKey
from idp_kernel.wire.engine import METRICS_PROJECTION
from idp_kernel.wire.metrics import MetricsProjection, RunDuration
from idp_kernel.workflows import WORKFLOW_SECONDS_BUCKETS

READ_TIMEOUT_SECONDS = 5.0
"""Below Prometheus' scrape timeout."""
SHUTDOWN_SECONDS = 5

ReadProjection = Callable[[], MetricsProjection]

_log = structlog.get_logger(__name__)


def main() -> None:
    """Serves `/metrics` until SIGTERM."""
    settings = ExporterSettings()
    configure_logs(ServiceName.METRICS_EXPORTER, settings.log_level)
    configure_traces(ServiceName.METRICS_EXPORTER, settings.otlp_endpoint)
    uvicorn.run(
        exporter(projection_reader(settings), SystemClock(), env=settings.env),
        host=settings.exporter_host,
        port=settings.exporter_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


def projection_reader(settings: ExporterSettings) -> ReadProjection:
    """Reads the projection with the exporter's own token."""
    api = service_client(
        settings.control_plane_url,
        key=SigningKey.read(settings.exporter_key_file),
        service=ServiceName.METRICS_EXPORTER,
        clock=SystemClock(),
        timeout_seconds=READ_TIMEOUT_SECONDS,
    )
    return lambda: api.call("GET", METRICS_PROJECTION, MetricsProjection)


def exporter(read: ReadProjection, clock: Clock, *, env: str) -> FastAPI:
    """The server; ready while the projection can be read."""

    def is_ready() -> None:
        try:
            read()
        except PlatformError as error:
            raise Unavailable(f"The projection cannot be read: {error.message}") from error

    registry = CollectorRegistry()
    registry.register(ProjectionCollector(read, clock))
    return new_server(
        service=ServiceName.METRICS_EXPORTER,
        env=env,
        registry=registry,
        is_ready=is_ready,
        description="Workflow metrics of the platform, as the control plane has committed them.",
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
        yield _gauge(
            "idp_metrics_projection_up",
            "Whether the control plane gave the projection to this scrape.",
            0 if projection is None else 1,
        )
        if projection is not None:
            age = (self._clock.now() - projection.taken_at).total_seconds()
            yield _gauge(
                "idp_metrics_projection_age_seconds", "Age of what is shown here.", max(0.0, age)
            )
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
    yield from _standing(projection)


def _counters(projection: MetricsProjection) -> Iterator[Metric]:
    retries = CounterMetricFamily(
        "workflow_retries_total", "Step retries and further attempts.", labels=["workflow"]
    )
    for retry in projection.retries:
        retries.add_metric([retry.workflow], retry.value)
    yield retries
    events = CounterMetricFamily(
        "domain_events_total", "Domain events committed.", labels=["event", "result"]
    )
    for event in projection.events:
        events.add_metric([event.event, event.result], event.value)
    yield events
    losses = CounterMetricFamily(
        "workflow_lease_losses_total", "Runs that did not renew their lease.", labels=["workflow"]
    )
    for loss in projection.lease_losses:
        losses.add_metric([loss.workflow], loss.value)
    yield losses


def _durations(durations: tuple[RunDuration, ...]) -> Metric:
    family = HistogramMetricFamily(
        "workflow_run_duration_seconds",
        "From the command to the end of its request, waiting left out.",
        labels=["workflow", "result"],
    )
    bounds = [*(str(bound) for bound in WORKFLOW_SECONDS_BUCKETS), "+Inf"]
    for duration in durations:
        family.add_metric(
            [duration.workflow, duration.result],
            buckets=list(zip(bounds, accumulate(duration.bucket_counts), strict=True)),
            sum_value=duration.sum_seconds,
        )
    return family


def _standing(projection: MetricsProjection) -> Iterator[Metric]:
    open_requests = GaugeMetricFamily(
        "workflow_requests_open", "Requests that have not ended.", labels=["workflow", "state"]
    )
    for each in projection.open_requests:
        open_requests.add_metric([each.workflow, each.state], each.value)
    yield open_requests
    oldest = GaugeMetricFamily(
        "workflow_oldest_pending_seconds",
        "Age of the oldest request that waits for a run.",
        labels=["workflow"],
    )
    for pending in projection.oldest_pending:
        oldest.add_metric([pending.workflow], pending.age_seconds)
    yield oldest
    waiting = GaugeMetricFamily(
        "workflow_requests_waiting", "Requests that wait.", labels=["workflow", "reason"]
    )
    for wait in projection.waiting:
        waiting.add_metric([wait.workflow, wait.reason], wait.value)
    yield waiting


def _gauge(name: str, documentation: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, documentation)
    family.add_metric([], value)
    return family


if __name__ == "__main__":
    main()
