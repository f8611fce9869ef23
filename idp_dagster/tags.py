"""The tags by which a Dagster run knows its request."""

from __future__ import annotations

from collections.abc import Mapping

from idp_kernel.telemetry import subjects
from idp_kernel.telemetry.traces import trace_id_of
from idp_kernel.wire.engine import Claim, Offer

REQUEST_ID = "idp/request_id"
ATTEMPT = "idp/attempt"
TEAM_ID = "idp/team_id"
APPLICATION_ID = "idp/application_id"
APPLICATION_ENVIRONMENT_ID = "idp/application_environment_id"
SECRET_ID = "idp/secret_id"
TRACEPARENT = "idp/traceparent"
REQUESTED_AT = "idp/requested_at"
"""When the sensor asked for the run."""
LAST_SEEN = "idp/last_seen"
"""On a run that holds no request: when its worker last said that it is at work on it."""
RUN_ID = "idp/run_id"
"""On a run that a person launched: whose these tags are; a re-run inherits its parent's."""


def tags_of(work: Offer | Claim, traceparent: str | None) -> dict[str, str]:
    """The tags of a run that works on this request and attempt."""
    tags = {
        REQUEST_ID: work.request_id,
        ATTEMPT: str(work.attempt),
        TEAM_ID: work.team_id,
        APPLICATION_ID: work.application_id,
        APPLICATION_ENVIRONMENT_ID: work.application_environment_id,
        SECRET_ID: work.secret_id,
        TRACEPARENT: traceparent,
    }
    return {name: value for name, value in tags.items() if value is not None}


_SUBJECTS = {
    REQUEST_ID: subjects.WORKFLOW_REQUEST_ID,
    TEAM_ID: subjects.TEAM_ID,
    APPLICATION_ID: subjects.APPLICATION_ID,
    APPLICATION_ENVIRONMENT_ID: subjects.APPLICATION_ENVIRONMENT_ID,
    SECRET_ID: subjects.SECRET_ID,
}


def subject_of(tags: Mapping[str, str]) -> dict[str, str]:
    """Whose work the run does, as spans and log lines say it."""
    return {name: tags[tag] for tag, name in _SUBJECTS.items() if tag in tags}


def log_fields_of(tags: Mapping[str, str]) -> dict[str, str]:
    """What log lines say of the run outside of its spans."""
    trace_id = trace_id_of(tags.get(TRACEPARENT))
    return {**subject_of(tags), **({} if trace_id is None else {"trace_id": trace_id})}


def request_and_attempt(tags: Mapping[str, str]) -> tuple[str, int] | None:
    """The request and attempt a run is tagged with; none when a person launched it and the
    control plane has not answered yet, or refused.
    """
    request_id, attempt = tags.get(REQUEST_ID), tags.get(ATTEMPT, "")
    if request_id is None or not attempt.isdecimal():
        return None
    return request_id, int(attempt)
