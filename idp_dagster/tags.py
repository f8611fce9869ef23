"""The tags by which a Dagster run knows its request."""

from __future__ import annotations

from collections.abc import Mapping

from idp_kernel.wire.engine import Claim, Offer

REQUEST_ID = "idp/request_id"
ATTEMPT = "idp/attempt"
TEAM_ID = "idp/team_id"
APPLICATION_ID = "idp/application_id"
APPLICATION_ENVIRONMENT_ID = "idp/application_environment_id"
SECRET_ID = "idp/secret_id"
TRACEPARENT = "idp/traceparent"
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


def request_and_attempt(tags: Mapping[str, str]) -> tuple[str, int] | None:
    """The request and attempt a run is tagged with; none when a person launched it and the
    control plane has not answered yet, or refused.
    """
    request_id, attempt = tags.get(REQUEST_ID), tags.get(ATTEMPT, "")
    if request_id is None or not attempt.isdecimal():
        return None
    return request_id, int(attempt)
