"""A request as spans and log lines name it."""

from __future__ import annotations

from control_plane.domain.requests import Request
from idp_kernel.telemetry.subjects import subject_attributes


def attributes_of(request: Request) -> dict[str, str]:
    """Whose work is done for it."""
    return subject_attributes(
        workflow_request_id=request.id,
        team_id=request.team_id,
        application_id=request.application_id,
        application_environment_id=request.application_environment_id,
        secret_id=request.secret_id,
    )
