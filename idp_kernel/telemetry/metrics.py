"""Metrics that more than one process has; names and labels are the telemetry contract."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from idp_kernel.services import ServiceName

HTTP_SECONDS_BUCKETS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
UNKNOWN_ROUTE = "unmatched"


class HttpMetrics:
    """What a server says of the requests it answered; routes are templates, never paths."""

    def __init__(self, registry: CollectorRegistry, service: ServiceName, env: str) -> None:
        self._service = service.value
        self._env = env
        self._requests = Counter(
            "http_requests_total",
            "HTTP requests answered.",
            ("service", "env", "method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time from a request's first byte to its answer's last.",
            ("service", "env", "method", "route"),
            buckets=HTTP_SECONDS_BUCKETS,
            registry=registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answered request."""
        self._requests.labels(self._service, self._env, method, route, str(status)).inc()
        self._seconds.labels(self._service, self._env, method, route).observe(seconds)


def downstream_errors(registry: CollectorRegistry) -> Counter:
    """`downstream_errors_total{target,code,status}`: an outside party's errors, repeats too."""
    return Counter(
        "downstream_errors_total",
        "Errors met at a party this process called.",
        ("target", "code", "status"),
        registry=registry,
    )
