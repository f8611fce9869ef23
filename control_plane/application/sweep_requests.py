"""What time alone brings: lost leases, passed deadlines, waits that are over."""

from __future__ import annotations

from collections.abc import Sequence

from control_plane.application.lost_leases import lose_run
from control_plane.application.ports import Work
from control_plane.application.request_progress import (
    Cause,
    commit_transition,
    lock_request_and_subjects,
)
from control_plane.domain.requests import AttemptPolicy, Request
from idp_kernel.workflows import RequestState

ACTOR = "control-plane-api"


def overdue_requests(work: Work, *, with_leases: bool, rotations_at_once: int) -> Sequence[str]:
    """What `sweep_request` may move on now. Of routine rotations so many come out of their grace as
    there are places; the others wait for a later round.
    """
    places = max(0, rotations_at_once - work.rotations.at_work())
    overdue = work.requests.overdue(with_leases=with_leases)
    return [*overdue, *work.rotations.out_of_grace(places)]


def sweep_request(work: Work, request_id: str, policy: AttemptPolicy, *, with_leases: bool) -> None:
    """Moves the request on if its time has come; looks again under its lock first."""
    before = lock_request_and_subjects(work, request_id)
    if before.is_due(work.now):
        _wake(work, before)
    elif before.is_past_deadline(work.now):
        _time_out(work, before)
    elif with_leases and before.has_lost_lease(work.now):
        lose_run(work, before, policy, actor=ACTOR, may_live=True)


def _wake(work: Work, before: Request) -> None:
    """Puts it off to a later sweep when another request took up a subject during the wait."""
    if work.requests.has_rival(before.id):
        return
    work.requests.set_subjects_active(before.id, active=True)
    commit_transition(work, before, before.woken(work.now), Cause(ACTOR, "wait is over"))


def _time_out(work: Work, before: Request) -> None:
    """Ends the request; a run that holds it may still be alive."""
    cause = Cause(ACTOR, "deadline passed", may_live=before.state is RequestState.RUNNING)
    commit_transition(work, before, before.timed_out(work.now), cause)
