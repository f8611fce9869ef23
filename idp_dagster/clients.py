"""One HTTP client per party and process: connections and the service token outlive a run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from idp_kernel.clock import SystemClock
from idp_kernel.http.client import ServiceAuthorization, ServiceClient, service_client
from idp_kernel.services import ServiceName
from idp_kernel.tokens import SigningKey

CONTROL_PLANE_TIMEOUT_SECONDS = 10.0
WORKERS_TIMEOUT_SECONDS = 60.0
"""A worker's call may pass through several provider calls, each with a limit of its own."""


@cache
def control_plane_client(base_url: str, service_key_file: Path) -> ServiceClient:
    """The control plane as `workflow-engine`; a run's own calls replace the bearer."""
    return service_client(
        base_url,
        key=SigningKey.read(service_key_file),
        service=ServiceName.WORKFLOW_ENGINE,
        clock=SystemClock(),
        timeout_seconds=CONTROL_PLANE_TIMEOUT_SECONDS,
    )


@cache
def probes_client(base_url: str, control_plane_url: str, service_key_file: Path) -> ServiceClient:
    """execution-workers as `workflow-engine`, for what belongs to no request."""
    tokens = ServiceClient(
        control_plane_url,
        party=ServiceName.CONTROL_PLANE_API,
        timeout_seconds=CONTROL_PLANE_TIMEOUT_SECONDS,
        user_agent=ServiceName.WORKFLOW_ENGINE,
    )
    return ServiceClient(
        base_url,
        party=ServiceName.EXECUTION_WORKERS,
        authorization=ServiceAuthorization(
            tokens,
            SigningKey.read(service_key_file),
            ServiceName.WORKFLOW_ENGINE,
            SystemClock(),
        ),
        timeout_seconds=WORKERS_TIMEOUT_SECONDS,
        user_agent=ServiceName.WORKFLOW_ENGINE,
    )


@cache
def workers_client(base_url: str) -> ServiceClient:
    """execution-workers; every call brings its run token."""
    return ServiceClient(
        base_url,
        party=ServiceName.EXECUTION_WORKERS,
        timeout_seconds=WORKERS_TIMEOUT_SECONDS,
        user_agent=ServiceName.WORKFLOW_ENGINE,
    )
