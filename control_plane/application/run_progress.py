"""What a run says of the request it holds: the lease, its steps, a wait, the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from control_plane.application.ports import CounterName, StepRecord, Work
from control_plane.application.request_progress import (
    Cause,
    commit_transition,
    lock_request,
    lock_request_and_subjects,
)
from control_plane.application.workflows.application_onboarding import (
    onboarded_application,
    onboarding_wanted,
    proposer_of,
)
from control_plane.application.workflows.registry import flow_of
from control_plane.domain.applications import ApplicationState
from control_plane.domain.requests import (
    AttemptEnding,
    AttemptPolicy,
    Failure,
    Holding,
    Request,
)
from control_plane.failpoints import END_PHASE_BEFORE_COMMIT, FINALIZE_BEFORE_COMMIT
from idp_kernel.errors import Conflict, InvalidInput, NotFound
from idp_kernel.failpoints import failpoint
from idp_kernel.wire.engine import (
    RUN_INTERRUPTED,
    EndPhase,
    Finalize,
    StepError,
    StepOutcome,
    StepResult,
    StepStarted,
    WaitRequested,
)
from idp_kernel.workflows import WORKFLOWS, RequestState, Step, StepState, WaitingReason

_STEP_ENDED = (StepState.SUCCEEDED, StepState.FAILED)


def renew_lease(work: Work, request_id: str, holding: Holding, policy: AttemptPolicy) -> Request:
    """The lease prolonged. Past the deadline it is not (`Conflict`, `deadline_passed`); the next
    sweep ends the request.
    """
    after = lock_request(work, request_id).renewed(holding, now=work.now, policy=policy)
    work.requests.save_unshown(after)
    return after


def start_step(
    work: Work, request_id: str, holding: Holding, step: Step, told: StepStarted
) -> Request:
    """The step, running or running again. Repeats and late news change nothing."""
    request = lock_request(work, request_id)
    _check_step(request, step)
    if _has_moved_on(work, request, holding):
        return request
    request.check_may_go_on(holding)
    known = work.requests.step(request_id, request.attempt, step)
    if known is None:
        request = _note_first_step(work, request)
    if known is None or known.state not in _STEP_ENDED:
        record = known or _new_step(work, request, step)
        state = StepState.RETRYING if told.retry_number else StepState.RUNNING
        _save_step(work, request, replace(record, state=state), told.retry_number)
    return request


def end_step(
    work: Work,
    request_id: str,
    holding: Holding,
    step: Step,
    told: StepOutcome,
    policy: AttemptPolicy,
) -> Request:
    """The step's outcome, once: its state, its events, and what it means for the request."""
    request = (lock_request_and_subjects if told.error else lock_request)(work, request_id)
    _check_step(request, step)
    known = work.requests.step(request_id, holding.attempt, step)
    if _has_moved_on(work, request, holding) or (known is not None and known.state in _STEP_ENDED):
        return request
    request.check_held(holding)
    # Asked only where it matters: for what a replay must not tell, and for what a setback counted.
    matters = bool(told.result.events) or request.got_further() != request
    is_new = not matters or step not in work.requests.results(request)
    _record_outcome(work, request, known or _new_step(work, request, step), told, is_new=is_new)
    if told.error:
        return _after_failure(work, request, told.error, policy)
    return _note_progress(work, request) if is_new else request


def wait_for_time(
    work: Work, request_id: str, holding: Holding, told: WaitRequested, policy: AttemptPolicy
) -> Request:
    """The run's claim ends; the request waits and then goes on in the same phase.

    Raises `Conflict` (`waited_too_long`) when it has waited for providers as long as it may.
    """
    before = lock_request(work, request_id)
    if _ended_waiting(work, before, holding):
        return before
    before.check_may_go_on(holding)
    until = work.now + timedelta(seconds=told.wait_seconds)
    after = before.waits_here(
        reason=told.reason, until=until, now=work.now, policy=policy, seen=told.seen
    )
    commit_transition(work, before, after, Cause(f"run:{holding.run_id}", told.reason))
    return after


def await_approval(work: Work, request_id: str, holding: Holding) -> bool:
    """Whether the run's claim ended here: the request waits while its application is Proposed, and
    then goes on in the same phase.

    Raises `InvalidInput` (`wrong_workflow`) for a request that onboards nothing, `Conflict`
    (`approval_not_given`) when it has waited as long as it may.
    """
    before = lock_request_and_subjects(work, request_id)
    wanted = onboarding_wanted(work, before)
    if _ended_waiting(work, before, holding):
        return True
    before.check_may_go_on(holding)
    if onboarded_application(work, before).state is not ApplicationState.PROPOSED:
        return False
    seen = (
        f"Application {wanted.subject.application} is Proposed: a maintainer of team"
        f" {wanted.subject.team} other than {proposer_of(work, before.application_id)}, or a"
        " platform-admin, approves or rejects it."
    )
    after = before.waits_for_approval(now=work.now, seen=seen)
    reason = WaitingReason.APPROVAL_PENDING
    commit_transition(work, before, after, Cause(f"run:{holding.run_id}", reason))
    return True


def end_phase(work: Work, request_id: str, holding: Holding, told: EndPhase) -> Request:
    """What the phase brings is moved; the request waits for its next phase.

    Steps that no hook told of are filled in. Repeating it for the run that ended the phase changes
    nothing, though the wait may be over. Raises `InvalidInput` (`outcomes_missing`) when a step
    has no outcome, `Conflict` (`wrong_phase`) when the phase is the last one.
    """
    before = lock_request_and_subjects(work, request_id)
    if _ended_waiting(work, before, holding):
        return before
    before.check_may_go_on(holding)
    wait = WORKFLOWS[before.workflow].phase(before.phase).wait_after
    if wait is None:
        raise _wrong_phase(before, "is the last one: finalize ends it")
    results = _complete_results(work, before, told)
    until = flow_of(before).end_phase(work, before, results)
    after = before.waits(reason=wait.reason, until=until, now=work.now, phase=before.phase + 1)
    if not wait.is_exclusive:
        work.requests.set_subjects_active(before.id, active=False)
    commit_transition(work, before, after, Cause(f"run:{holding.run_id}", wait.reason))
    failpoint(END_PHASE_BEFORE_COMMIT)
    return after


def finalize(work: Work, request_id: str, holding: Holding, told: Finalize) -> Request:
    """Everything the workflow is about becomes as it was wanted; the request succeeds.

    Steps that no hook told of are filled in. Repeating it for the run that succeeded changes
    nothing. Raises `InvalidInput` (`outcomes_missing`) when a step has no outcome, `Conflict`
    (`wrong_phase`) when a further phase follows.
    """
    before = lock_request_and_subjects(work, request_id)
    if before.was_left_by(holding, RequestState.SUCCEEDED):
        return before
    before.check_may_go_on(holding)
    if before.phase < len(WORKFLOWS[before.workflow].phases):
        raise _wrong_phase(before, "is followed by another: end-phase ends it")
    results = _complete_results(work, before, told)
    flow_of(before).finalize(work, before, results)
    after = before.succeeded(work.now)
    commit_transition(work, before, after, Cause(f"run:{holding.run_id}"))
    failpoint(FINALIZE_BEFORE_COMMIT)
    return after


def _wrong_phase(request: Request, standing: str) -> Conflict:
    return Conflict(
        f"Phase {request.phase} of request {request.id} {standing}.",
        code="wrong_phase",
        details={"workflowRequestId": request.id, "phase": request.phase},
    )


def _complete_results(
    work: Work, request: Request, told: EndPhase | Finalize
) -> Mapping[Step, StepResult]:
    """What all steps so far achieved, as it is kept, with those written that no hook told of."""
    stored, known = work.requests.results(request), work.requests.steps_of_attempt(request)
    untold = {
        step: result
        for step, result in _outcomes_with_last(request, told).items()
        if _is_untold(step, known, stored)
    }
    _check_complete(request, {**stored, **untold})
    for step, result in untold.items():
        record = known.get(step) or _new_step(work, request, step)
        _record_outcome(work, request, record, _success(told, result), is_new=step not in stored)
    return work.requests.results(request)


def _outcomes_with_last(request: Request, told: EndPhase | Finalize) -> dict[Step, StepResult]:
    """What the run tells, with the last step of the phase, which this very call is."""
    for step in told.outcomes:
        _check_step(request, step)
    phase = WORKFLOWS[request.workflow].phase(request.phase)
    return {phase.steps[-1]: StepResult(), **told.outcomes}


def _is_untold(
    step: Step, known: Mapping[Step, StepRecord], stored: Mapping[Step, StepResult]
) -> bool:
    """Whether no hook told the outcome; steps of earlier attempts that this run skipped were."""
    return known[step].state not in _STEP_ENDED if step in known else step not in stored


def _has_moved_on(work: Work, request: Request, holding: Holding) -> bool:
    """Whether this run itself brought the request to its end or into a wait: late news."""
    return request.was_left_by(holding, RequestState.SUCCEEDED) or _ended_waiting(
        work, request, holding
    )


def _ended_waiting(work: Work, request: Request, holding: Holding) -> bool:
    """Whether this run ended in a wait of the request, which may be over by now."""
    if request.holds(holding):
        return False
    attempt = work.requests.attempt_of_run(holding.run_id)
    return (
        attempt is not None
        and (attempt.request_id, attempt.attempt) == (request.id, holding.attempt)
        and attempt.ending is AttemptEnding.WAITING
    )


def _check_step(request: Request, step: Step) -> None:
    if step not in WORKFLOWS[request.workflow].steps:
        raise NotFound(f"{request.workflow} has no step {step}.")


def _note_first_step(work: Work, request: Request) -> Request:
    if request.first_step_at is not None:
        return request
    started = replace(request, first_step_at=work.now)
    work.requests.save(started)
    return started


def _note_progress(work: Work, request: Request) -> Request:
    further = request.got_further()
    if further != request:
        work.requests.save_unshown(further)
    return further


def _new_step(work: Work, request: Request, step: Step) -> StepRecord:
    return StepRecord(
        request_id=request.id,
        attempt=request.attempt,
        step=step,
        generation=request.generation,
        state=StepState.RUNNING,
        retries=0,
        started_at=work.now,
    )


def _save_step(work: Work, request: Request, record: StepRecord, retry_number: int) -> None:
    """Writes the step and counts the retries that were not known yet."""
    more = max(0, retry_number - record.retries)
    work.requests.save_step(replace(record, retries=record.retries + more))
    if more:
        work.journal.count(CounterName.RETRIES, request.workflow, more)


def _record_outcome(
    work: Work, request: Request, known: StepRecord, told: StepOutcome, *, is_new: bool
) -> None:
    """Writes how the step ended. A replay in a later attempt, which is not new, does not tell its
    events again.
    """
    record = replace(
        known,
        state=StepState.FAILED if told.error else StepState.SUCCEEDED,
        ended_at=work.now,
        error=told.error,
        result=told.result,
    )
    _save_step(work, request, record, told.retry_number)
    for error in told.result.downstream_errors:
        work.journal.count_downstream_error(error)
    for event in told.result.events if is_new else ():
        work.journal.event(
            event,
            subject=request.subject,
            actor=f"run:{told.run_id}",
            team_id=request.team_id,
            request_id=request.id,
            data={"step": known.step, "attempt": request.attempt},
        )


def _after_failure(work: Work, before: Request, error: StepError, policy: AttemptPolicy) -> Request:
    """What the failed step does to the request; an interruption leaves that to the run's end."""
    if error.code == RUN_INTERRUPTED and not before.cancel_requested:
        return before
    why = Failure(error.code, error.message, error.retryable)
    after = before.step_failed(now=work.now, policy=policy, why=why)
    commit_transition(work, before, after, Cause(f"run:{before.run_id}", error.message))
    return after


def _success(told: EndPhase | Finalize, result: StepResult) -> StepOutcome:
    return StepOutcome(run_id=told.run_id, attempt=told.attempt, retry_number=0, result=result)


def _check_complete(request: Request, results: Mapping[Step, StepResult]) -> None:
    """Every step must have an outcome, to the end of the phase."""
    phases = WORKFLOWS[request.workflow].phases[: request.phase]
    missing = [step for phase in phases for step in phase.steps if step not in results]
    if missing:
        raise InvalidInput(
            f"Phase {request.phase} of request {request.id} cannot end: no outcome of"
            f" {', '.join(missing)}.",
            code="outcomes_missing",
            details={"workflowRequestId": request.id, "missing": missing},
        )
