"""A run takes hold of a request: one that was offered, or one a person launched by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from control_plane.application.access import found, no_such
from control_plane.application.ports import Attempt, Work
from control_plane.application.request_progress import (
    Cause,
    commit_transition,
    lock_request_and_subjects,
)
from control_plane.application.steer_requests import retry_request
from control_plane.application.team_limits import check_room_at_work
from control_plane.application.workflows.compensation import undone_request
from control_plane.application.workflows.flow import Initiator, workflow_active
from control_plane.application.workflows.registry import flow_named, flow_of
from control_plane.domain.requests import AttemptPolicy, Failure, Request
from idp_kernel.errors import Conflict, InvalidInput, PlatformError
from idp_kernel.wire.engine import ACTOR_LOCAL_UI, DesiredState, Launch, StepResult
from idp_kernel.workflows import RequestState, Step


@dataclass(frozen=True)
class Granted:
    """The run holds the request."""

    request: Request
    team_slug: str
    desired_state: DesiredState
    outcomes: Mapping[Step, StepResult]
    undone: Request | None
    """Of an undo: the request whose effects it takes back."""


@dataclass(frozen=True)
class Refused:
    """The claim failed the request for good; commit, then raise `error`."""

    error: PlatformError


def claim_request(
    work: Work, request_id: str, run_id: str, attempt: int, policy: AttemptPolicy
) -> Granted | Refused:
    """The claim, one fence higher, with the rules of the command checked again.

    Raises `Conflict` as `Request.claimed` does. A broken rule fails the request.
    """
    before = lock_request_and_subjects(work, request_id)
    after = before.claimed(run_id, attempt, now=work.now, policy=policy)
    try:
        flow_of(before).check_rules(work, before)
    except Conflict as broken:
        why = Failure(broken.code, broken.message, retryable=False)
        failed = replace(before, run_id=run_id).failed(work.now, why)
        commit_transition(work, before, failed, Cause(f"run:{run_id}", broken.message))
        details = {**broken.details, "workflowRequestId": request_id}
        return Refused(Conflict(broken.message, code=broken.code, details=details))
    commit_transition(work, before, after, Cause(f"run:{run_id}"))
    work.requests.put_attempt(after)
    return Granted(
        request=after,
        team_slug=work.teams.by_id(after.team_id).slug,
        desired_state=work.requests.desired_state(after),
        outcomes=work.requests.results(after),
        undone=_taken_for_undo(work, after),
    )


def _taken_for_undo(work: Work, claimed: Request) -> Request | None:
    """The request that this one undoes, locked already, out of its own runs' reach."""
    if claimed.undoes is None:
        return None
    taken = undone_request(work, claimed).taken_for_undo()
    work.requests.save_unshown(taken)
    return taken


def launch_request(
    work: Work, launch: Launch, policy: AttemptPolicy, traceparent: str | None
) -> Granted | Refused:
    """A claim for a run that a person started in Dagster's UI.

    A run that is known claims its attempt again. A re-run asks for the next attempt of its
    parent's request. Any other run creates the request for the subject it names. A job of another
    phase than the request's is refused (`Conflict`, `wrong_phase`). While the platform drains only
    a known run goes on (`Conflict`, `platform_draining`). A run that has begun cannot wait for its
    turn: what the team would have beyond its `maxActiveRequests` is refused (`quota_exceeded`).
    """
    known = work.requests.attempt_of_run(launch.run_id)
    if known is not None:
        return claim_request(work, known.request_id, launch.run_id, known.attempt, policy)
    _refuse_while_draining(work)
    parent = _parent_attempt(work, launch)
    request = _next_attempt(work, launch, parent) if parent else _new(work, launch, traceparent)
    check_room_at_work(work, lock_request_and_subjects(work, request.id))
    return claim_request(work, request.id, launch.run_id, request.attempt, policy)


def _refuse_while_draining(work: Work) -> None:
    if work.standing.is_draining():
        raise Conflict(
            "The platform is draining and takes up no new work; launch again once it is resumed.",
            code="platform_draining",
        )


def _parent_attempt(work: Work, launch: Launch) -> Attempt | None:
    """The attempt of the run that is repeated; none when that run was itself refused."""
    if launch.parent_run_id is None:
        return None
    parent = work.requests.attempt_of_run(launch.parent_run_id)
    if parent is None and launch.subject_id is None:
        raise no_such("request of run", launch.parent_run_id)
    return parent


def _next_attempt(work: Work, launch: Launch, parent: Attempt) -> Request:
    request = found(work.requests.by_id(parent.request_id), "workflow request", parent.request_id)
    if request.state is RequestState.SUCCEEDED:
        raise Conflict(
            f"Request {request.id} has succeeded; there is nothing to repeat.",
            code="request_succeeded",
            details={"workflowRequestId": request.id, "state": request.state},
        )
    request.check_phase(launch.workflow, launch.phase)
    if request.state in (RequestState.RUNNING, RequestState.WAITING):
        raise workflow_active(request.id, "what this run would repeat")
    if request.state is RequestState.PENDING:
        return request
    reason = launch.reason or f"re-run of {launch.parent_run_id}"
    return retry_request(work, ACTOR_LOCAL_UI, request.id, reason)


def _new(work: Work, launch: Launch, traceparent: str | None) -> Request:
    if not launch.reason.strip():
        raise InvalidInput(
            "A launch by hand needs a reason, which the audit keeps.", code="reason_required"
        )
    flow = flow_named(launch.workflow)
    if launch.subject_id is None:
        raise InvalidInput(
            f"A launch of {launch.workflow} by hand needs the id of its subject, which is of the"
            f" kind {flow.subject}.",
            code="subject_required",
        )
    initiator = Initiator(ACTOR_LOCAL_UI, launch.reason, traceparent)
    request = flow.launch(work, initiator, launch.subject_id)
    request.check_phase(launch.workflow, launch.phase)
    return request
