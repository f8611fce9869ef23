"""What time alone brings: lost leases, passed deadlines, waits that are over."""

from __future__ import annotations

from control_plane.application.ports import CounterName, Work
from control_plane.application.request_progress import (
    Cause,
    commit_transition,
    lock_request_and_subjects,
)
from control_plane.domain.requests import AttemptPolicy, Failure, Request
from idp_kernel.workflows import RequestState

ACTOR = "control-plane-api"


def sweep_request(work: Work, request_id: str, policy: AttemptPolicy, *, with_leases: bool) -> None:
    """Moves the request on if its time has come; looks again under its lock first."""
    before = lock_request_and_subjects(work, request_id)
    if before.is_due(work.now):
        commit_transition(work, before, before.woken(work.now), Cause(ACTOR, "wait is over"))
    elif before.is_past_deadline(work.now):
        _time_out(work, before)
    elif with_leases and before.has_lost_lease(work.now):
        _lose_run(work, before, policy)


def _time_out(work: Work, before: Request) -> None:
    """Ends the request; a run that holds it may still be alive."""
    cause = Cause(ACTOR, "deadline passed", lost_run=before.state is RequestState.RUNNING)
    commit_transition(work, before, before.timed_out(work.now), cause)


def _lose_run(work: Work, before: Request, policy: AttemptPolicy) -> None:
    why = Failure(
        "lease_expired", f"Run {before.run_id} did not renew its lease in time.", retryable=True
    )
    work.journal.count(CounterName.LEASE_LOSSES, before.workflow)
    after = before.run_lost(now=work.now, policy=policy, why=why)
    commit_transition(work, before, after, Cause(ACTOR, why.message, lost_run=True))
