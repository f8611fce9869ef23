"""Whose work it is: the `idp.…` fields, the same on spans and log lines of one context."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import structlog
from opentelemetry import trace
from opentelemetry.trace import Span

WORKFLOW_REQUEST_ID = "idp.workflow_request_id"
TEAM_ID = "idp.team_id"
APPLICATION_ID = "idp.application_id"
APPLICATION_ENVIRONMENT_ID = "idp.application_environment_id"
SECRET_ID = "idp.secret_id"

_NAMES = (WORKFLOW_REQUEST_ID, TEAM_ID, APPLICATION_ID, APPLICATION_ENVIRONMENT_ID, SECRET_ID)


def subject_attributes(
    *,
    workflow_request_id: str,
    team_id: str,
    application_id: str | None = None,
    application_environment_id: str | None = None,
    secret_id: str | None = None,
) -> dict[str, str]:
    """The attributes of those that are known."""
    values = (workflow_request_id, team_id, application_id, application_environment_id, secret_id)
    return {name: value for name, value in zip(_NAMES, values, strict=True) if value is not None}


def name_subject(attributes: Mapping[str, str]) -> None:
    """Puts them on the current span, on every later span of this context and on its log lines."""
    trace.get_current_span().set_attributes(dict(attributes))
    structlog.contextvars.bind_contextvars(**attributes)


def naming(attributes: Mapping[str, str | int | bool]) -> AbstractContextManager[None]:
    """Those of the attributes that say whose work it is hold inside the block."""
    own = {name: attributes[name] for name in _NAMES if name in attributes}
    return structlog.contextvars.bound_contextvars(**own)


def bound_subject() -> dict[str, str]:
    """What the context says."""
    bound = structlog.contextvars.get_contextvars()
    return {name: bound[name] for name in _NAMES if name in bound}


def subject_of(named: Span) -> dict[str, str]:
    """What a span says, whichever thread has named it; nothing for one that is not kept."""
    said = getattr(named, "attributes", None) or {}
    return {name: said[name] for name in _NAMES if name in said}
