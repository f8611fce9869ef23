"""People stop a request or ask for another attempt."""

from __future__ import annotations

from control_plane.application.access import found
from control_plane.application.ports import Work
from control_plane.application.request_progress import (
    Cause,
    commit_transition,
    lock_request,
    lock_request_and_subjects,
)
from control_plane.application.workflows.compensation import request_undone
from control_plane.application.workflows.flow import Initiator
from control_plane.application.workflows.registry import COMPENSATION, flow_of
from control_plane.domain.requests import Request
from idp_kernel.workflows import DomainEvent


def cancel_request(work: Work, actor: str, request_id: str, reason: str) -> Request:
    """Cancelled at once when no run holds it; else its run is told and ends it soon.

    Asking again while the run is being told changes nothing. An ended request is `MoveRefused`.
    """
    return cancel_held(work, actor, lock_request_and_subjects(work, request_id), reason)


def cancel_held(work: Work, actor: str, before: Request, reason: str) -> Request:
    """As `cancel_request`, of a request that is locked with its subjects."""
    after = before.cancellation_requested(work.now)
    if after == before:
        return after
    _tell(work, DomainEvent.WORKFLOW_REQUEST_CANCELLATION_REQUESTED, actor, before, reason)
    commit_transition(work, before, after, Cause(actor, reason))
    return after


def retry_request(work: Work, actor: str, request_id: str, reason: str) -> Request:
    """Pending again: the next attempt, attempts and deadline renewed, same desired state.

    Raises `MoveRefused` unless it failed, timed out or was cancelled; `Conflict` as the command
    would, and (`request_undone`) when what it made was taken back.
    """
    seen = found(work.requests.by_id(request_id), "workflow request", request_id)
    _refuse_when_undone(work, request_id)
    seen.retried(work.now)  # refuses before any lock what the lock would not allow either
    flow_of(seen).restart(work, seen)
    before = lock_request(work, request_id)
    _refuse_when_undone(work, request_id)
    after = before.retried(work.now)
    work.requests.set_subjects_active(request_id, active=True)
    _tell(work, DomainEvent.WORKFLOW_REQUEST_RETRIED, actor, before, reason)
    commit_transition(work, before, after, Cause(actor, reason))
    return after


def undo_request(work: Work, initiator: Initiator, request_id: str) -> Request:
    """The pending request that takes back what an ended one made, newest first.

    Raises as `Compensation.launch` does.
    """
    return COMPENSATION.launch(work, initiator, request_id)


def _refuse_when_undone(work: Work, request_id: str) -> None:
    undone_by = work.requests.undone_by(request_id)
    if undone_by is not None:
        raise request_undone(request_id, undone_by)


def _tell(work: Work, event: DomainEvent, actor: str, request: Request, reason: str) -> None:
    subject = f"workflow_request/{request.id}"
    work.journal.event(
        event,
        subject=subject,
        actor=actor,
        team_id=request.team_id,
        request_id=request.id,
        data={"reason": reason, "attempt": request.attempt},
    )
    work.journal.audit(actor=actor, action=event, subject=subject, reason=reason)
