"""What the server's span says of the workflow request it worked on."""

from __future__ import annotations

from opentelemetry import trace

from control_plane.domain.requests import Request


def name_request(request: Request) -> None:
    """Puts the request's ids on the current span."""
    span = trace.get_current_span()
    span.set_attribute("idp.workflow_request_id", request.id)
    span.set_attribute("idp.team_id", request.team_id)
    span.set_attribute("idp.application_id", request.application_id)
    if request.application_environment_id is not None:
        span.set_attribute("idp.application_environment_id", request.application_environment_id)
    if request.secret_id is not None:
        span.set_attribute("idp.secret_id", request.secret_id)
