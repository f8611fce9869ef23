"""What every transition of a request brings with it, whoever caused it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.application.access import found
from control_plane.application.ports import CounterName, Work
from control_plane.application.workflows.flow import Initiator
from control_plane.application.workflows.registry import COMPENSATION, flow_of
from control_plane.domain.requests import ACTIVE_STATES, AttemptEnding, Request
from idp_kernel.errors import Conflict
from idp_kernel.telemetry.run_spans import QUEUE_WAIT, run_span, run_span_id, step_span_id
from idp_kernel.wire.engine import LostRun
from idp_kernel.workflows import RESULT_OF_STATE, WORKFLOWS, DomainEvent, RequestState

ACTOR_TEAM_POLICY = "team-policy"
"""Asks for the undo of what failed."""
_ENDING_OF_STATE: dict[RequestState, AttemptEnding] = {
    RequestState.WAITING: AttemptEnding.WAITING,
    RequestState.SUCCEEDED: AttemptEnding.SUCCEEDED,
    RequestState.CANCELLED: AttemptEnding.CANCELLED,
    RequestState.TIMED_OUT: AttemptEnding.TIMED_OUT,
}


@dataclass(frozen=True)
class Cause:
    """Who moved the request and why.

    `lost_lease` when its run did not renew its lease, `may_live` when that may still be alive
    somewhere, `untold` when it ended and has told nothing of it, not even its spans.
    """

    actor: str
    reason: str = ""
    lost_lease: bool = False
    may_live: bool = False
    untold: bool = False


def lock_request(work: Work, request_id: str) -> Request:
    """The request alone; enough for what cannot end it."""
    return found(work.requests.by_id(request_id, lock=True), "workflow request", request_id)


def lock_request_and_subjects(work: Work, request_id: str) -> Request:
    """The request after its subjects; for whatever may end it."""
    seen = found(work.requests.by_id(request_id), "workflow request", request_id)
    flow_of(seen).lock(work, seen)
    return lock_request(work, request_id)


def commit_transition(work: Work, before: Request, after: Request, cause: Cause) -> None:
    """Writes the request as it is now, with all that follows from the change."""
    work.requests.save(after)
    _tell_wait(work, before, after)
    if before.state is RequestState.RUNNING and after.state is not RequestState.RUNNING:
        _end_attempt(work, before, after, cause)
    if after.state is RequestState.PENDING and after.attempt > before.attempt:
        work.journal.wake_offers()
        if before.state is not RequestState.WAITING:
            work.journal.count(CounterName.RETRIES, after.workflow)
    if before.state in ACTIVE_STATES and after.state not in ACTIVE_STATES:
        _end(work, after, cause)


def _tell_wait(work: Work, before: Request, after: Request) -> None:
    """The sensor tells of the queue, when it takes a request from there; not when one leaves it
    another way.
    """
    if before.waiting is not None and after.waiting is None:
        work.journal.past_span(f"wait {before.waiting.reason}", before, before.waiting.since)
    if before.state is RequestState.PENDING and after.state not in ACTIVE_STATES:
        work.journal.past_span(QUEUE_WAIT, before, before.pending_since)


def _end_attempt(work: Work, before: Request, after: Request, cause: Cause) -> None:
    repeatable = AttemptEnding.LOST if cause.lost_lease else AttemptEnding.FAILED
    ending = _ENDING_OF_STATE.get(after.state, repeatable)
    work.requests.end_attempt(before, ending, cause.reason)
    if ending is AttemptEnding.LOST:
        work.journal.count(CounterName.LEASE_LOSSES, before.workflow)
    if cause.untold:
        _tell_run(work, before)
    work.requests.interrupt_open_steps(before)
    if cause.may_live and before.run_id is not None:
        work.requests.add_lost_run(
            LostRun(
                run_id=before.run_id,
                request_id=before.id,
                attempt=before.attempt,
                cause=cause.reason,
            )
        )
        work.journal.wake_lost_runs()


def _tell_run(work: Work, before: Request) -> None:
    """The spans that the run would have told at its end, and that of the step it was in."""
    run = None if before.run_id is None else work.requests.attempt_of_run(before.run_id)
    if run is None:
        return
    job_name = WORKFLOWS[before.workflow].phase(before.phase).job_name
    run_id = run_span_id(before.id, run.attempt)
    work.journal.past_span(run_span(job_name), before, run.claimed_at, span_id=run_id)
    for step in work.requests.open_steps(before):
        step_id = step_span_id(before.id, run.attempt, step.step, step.retries)
        work.journal.past_span(step.step, before, step.started_at, span_id=step_id, under=run_id)


def _end(work: Work, after: Request, cause: Cause) -> None:
    work.requests.set_subjects_active(after.id, active=False)
    if after.state is not RequestState.SUCCEEDED:
        flow_of(after).give_up(work, after)
    left_behind = _leave_behind(work, after)
    work.journal.observe_duration(after.workflow, RESULT_OF_STATE[after.state], after.duration)
    subject = f"workflow_request/{after.id}"
    work.journal.event(
        _ending_event(after),
        subject=subject,
        actor=cause.actor,
        team_id=after.team_id,
        request_id=after.id,
        data=_ending_data(after, cause, left_behind),
    )
    work.journal.audit(
        actor=cause.actor,
        action=f"workflow_request_{after.state}",
        subject=subject,
        reason=cause.reason,
    )
    if after.state in (RequestState.FAILED, RequestState.TIMED_OUT):
        _undo_by_policy(work, after)


def _undo_by_policy(work: Work, ended: Request) -> None:
    """Asks for the undo if the team wants that; one that is refused is told as an event.

    What it locks beside the team is locked already. Who changes a team waits for no request, so
    that nobody waits in a circle.
    """
    if not COMPENSATION.can_undo(ended.workflow) or not work.teams.undoes_failures(ended.team_id):
        return
    reason = f"undoOnFailure: request {ended.id} {ended.state}"
    initiator = Initiator(ACTOR_TEAM_POLICY, reason, ended.traceparent)
    try:
        with work.savepoint():
            COMPENSATION.launch(work, initiator, ended.id)
    except Conflict as refused:
        work.journal.event(
            DomainEvent.WORKFLOW_REQUEST_UNDO_REFUSED,
            subject=f"workflow_request/{ended.id}",
            actor=ACTOR_TEAM_POLICY,
            team_id=ended.team_id,
            request_id=ended.id,
            data={"reason": refused.code, "message": refused.message},
        )


def _leave_behind(work: Work, after: Request) -> str | None:
    """What the request leaves that it was to end; it is kept with it."""
    left_behind = flow_of(after).left_behind(work, after)
    if left_behind is not None:
        work.requests.save(replace(after, left_behind=left_behind))
    return left_behind


def _ending_event(after: Request) -> str:
    workflow = WORKFLOWS[after.workflow]
    succeeded = after.state is RequestState.SUCCEEDED
    return workflow.completed_event if succeeded else workflow.failed_event


def _ending_data(
    after: Request, cause: Cause, left_behind: str | None
) -> dict[str, str | int | bool | None]:
    data: dict[str, str | int | bool | None] = {
        "state": after.state,
        "attempt": after.attempt,
        "applicationId": after.application_id,
        "applicationEnvironmentId": after.application_environment_id,
        "secretId": after.secret_id,
    }
    if after.state is not RequestState.SUCCEEDED:
        data["reason"] = after.error.code if after.error else after.state
        data["message"] = after.error.message if after.error else cause.reason
    if left_behind is not None:
        data["leftBehind"] = left_behind
    return data
