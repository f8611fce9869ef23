"""Which processes there are, where they listen by default, and what each may ask of the others."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LOOPBACK = "127.0.0.1"
OPENAPI_PATH = "/openapi.json"
"""Where each service describes its API."""

DAEMON_SILENT_SECONDS = 120
"""One of Dagster's daemons that has given no sign of life for so long hangs, or is away."""


class ServiceName(StrEnum):
    """A process as it is named in metrics, logs, traces and tokens."""

    CONTROL_PLANE_API = "control-plane-api"
    WORKFLOW_ENGINE = "workflow-engine"
    METRICS_EXPORTER = "metrics-exporter"
    EXECUTION_WORKERS = "execution-workers"
    LOCAL_FORGE = "local-forge"
    LOCAL_GITOPS_AGENT = "local-gitops-agent"
    LOCAL_CONSUMER = "local-consumer"


class Scope(StrEnum):
    """What a service token may be used for; each internal route checks it."""

    OFFERS = "offers"
    CLAIMS = "claims"
    REPORTS = "reports"
    ROTATIONS = "rotations"
    ASSETS = "assets"
    PROBES = "probes"
    """Checks at execution-workers, which change nothing."""
    METRICS_PROJECTION = "metrics-projection"
    TOKEN_INTROSPECTION = "token-introspection"


SERVICE_SCOPES: dict[ServiceName, frozenset[Scope]] = {
    ServiceName.WORKFLOW_ENGINE: frozenset(
        {
            Scope.OFFERS,
            Scope.CLAIMS,
            Scope.REPORTS,
            Scope.ROTATIONS,
            Scope.ASSETS,
            Scope.PROBES,
        }
    ),
    ServiceName.METRICS_EXPORTER: frozenset({Scope.METRICS_PROJECTION}),
    ServiceName.LOCAL_FORGE: frozenset({Scope.TOKEN_INTROSPECTION}),
}
"""The services that have a key of their own, and all that each may ask of the control plane."""


@dataclass(frozen=True)
class DefaultPorts:
    """Where each process listens on loopback in the embedded default."""

    dagster_webserver: int = 3000
    control_plane_api: int = 8080
    metrics_exporter: int = 8081
    execution_workers: int = 8082
    local_forge: int = 8083
    local_gitops_agent: int = 8084
    dagster_code_server: int = 8085
    local_consumer: int = 8086
    openbao: int = 8200
    openbao_cluster: int = 8201
    postgres: int = 54329


DEFAULT_PORTS = DefaultPorts()
