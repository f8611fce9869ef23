"""What spans and log lines say of the workflow request that a call worked on."""

from __future__ import annotations

from opentelemetry.trace import SpanKind

from control_plane.application.subjects import attributes_of
from control_plane.domain.requests import Request
from idp_kernel.telemetry.subjects import name_subject
from idp_kernel.telemetry.traces import current_traceparent, link_to_current, span, without_trace


def name_request(request: Request) -> None:
    """Puts the request's ids on the current span and on the log lines to come."""
    name_subject(attributes_of(request))


def new_trace(occasion: str) -> str | None:
    """A trace of its own for a request that no person asked for: where it begins."""
    links = link_to_current()
    with without_trace(), span(occasion, kind=SpanKind.SERVER, links=links):
        return current_traceparent()
