"""A run that did not renew its lease, whoever notices it first."""

from __future__ import annotations

import structlog

from control_plane.application.ports import Work
from control_plane.application.request_progress import Cause, commit_transition
from control_plane.domain.requests import AttemptPolicy, Failure, Request
from idp_kernel.telemetry.subjects import WORKFLOW_REQUEST_ID

_log = structlog.get_logger(__name__)


def lose_run(
    work: Work, before: Request, policy: AttemptPolicy, *, actor: str, may_live: bool
) -> Request:
    """The request as it goes on without the run that holds it. With `may_live` that is not before
    the engine has told that the run is over.
    """
    why = Failure(
        "lease_expired", f"Run {before.run_id} did not renew its lease in time.", retryable=True
    )
    after = before.run_lost(now=work.now, policy=policy, why=why)
    cause = Cause(actor, why.message, lost_lease=True, may_live=may_live, untold=True)
    commit_transition(work, before, after, cause)
    _log.warning("lease_lost", run_id=before.run_id, **{WORKFLOW_REQUEST_ID: before.id})
    return after
