"""The resource `rotations`: the control plane as schedule and sensor of rotations see it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from dagster import ConfigurableResource

from idp_dagster.clients import control_plane_client
from idp_dagster.resources.workflow_requests import ANSWER_SECONDS, LONG_WAIT_SECONDS
from idp_kernel.http.client import ServiceClient
from idp_kernel.wire.engine import (
    DUE_ROTATIONS,
    ROTATION_CAUSES,
    ROTATIONS,
    DueRotations,
    EnqueueDueRotations,
    RequestRotation,
    RotationCause,
    RotationCauses,
    RotationRequested,
)


class RotationsResource(ConfigurableResource[None]):
    """What is due and what happened, with the service's own token."""

    control_plane_url: str
    service_key_file: str

    def enqueue_due(self, scheduled_at: datetime) -> DueRotations:
        body = EnqueueDueRotations(scheduled_at=scheduled_at)
        return self._api.call("POST", DUE_ROTATIONS, DueRotations, body=body)

    def causes(self) -> tuple[RotationCause, ...]:
        return self._api.call(
            "GET",
            ROTATION_CAUSES,
            RotationCauses,
            query={"waitSeconds": str(LONG_WAIT_SECONDS)},
            timeout_seconds=LONG_WAIT_SECONDS + ANSWER_SECONDS,
        ).causes

    def request(self, cause: RotationCause) -> RotationRequested:
        body = RequestRotation(event_id=cause.event_id)
        return self._api.call("POST", ROTATIONS, RotationRequested, body=body)

    @property
    def _api(self) -> ServiceClient:
        return control_plane_client(self.control_plane_url, Path(self.service_key_file))
