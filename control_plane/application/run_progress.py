"""What a run says of the request it holds: the lease, its steps, a wait, the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from control_plane.application.ports import CounterName, StepRecord, Work
from control_plane.application.provision_application_environment import existing_environment
from control_plane.application.request_progress import (
    Cause,
    commit_transition,
    lock_request,
    lock_request_and_subjects,
)
from control_plane.domain.managed_secrets import SecretState
from control_plane.domain.requests import AttemptPolicy, Failure, Holding, Request
from control_plane.failpoints import FINALIZE_BEFORE_COMMIT
from idp_kernel.errors import InvalidInput, NotFound
from idp_kernel.failpoints import failpoint
from idp_kernel.wire.engine import (
    RUN_INTERRUPTED,
    Finalize,
    StepError,
    StepOutcome,
    StepResult,
    StepStarted,
    WaitRequested,
)
from idp_kernel.workflows import WORKFLOWS, RequestState, Step, StepState

_STEP_ENDED = (StepState.SUCCEEDED, StepState.FAILED)


def renew_lease(work: Work, request_id: str, holding: Holding, policy: AttemptPolicy) -> Request:
    """The lease prolonged. Past the deadline it is not (`Conflict`, `deadline_passed`); the next
    sweep ends the request.
    """
    after = lock_request(work, request_id).renewed(holding, now=work.now, policy=policy)
    work.requests.save(after)
    return after


def start_step(
    work: Work, request_id: str, holding: Holding, step: Step, told: StepStarted
) -> Request:
    """The step, running or running again. Repeats and late news change nothing."""
    request = lock_request(work, request_id)
    _check_step(request, step)
    if _has_moved_on(request, holding):
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
    if _has_moved_on(request, holding) or (known is not None and known.state in _STEP_ENDED):
        return request
    request.check_held(holding)
    _record_outcome(work, request, step, told)
    return _after_failure(work, request, told.error, policy) if told.error else request


def wait_for_time(work: Work, request_id: str, holding: Holding, told: WaitRequested) -> Request:
    """The run's claim ends; the request waits and then goes on in the same phase."""
    before = lock_request(work, request_id)
    if before.was_left_by(holding, RequestState.WAITING):
        return before
    before.check_may_go_on(holding)
    until = work.now + timedelta(seconds=told.wait_seconds)
    after = before.waits(reason=told.reason, until=until, now=work.now, phase=before.phase)
    commit_transition(work, before, after, Cause(f"run:{holding.run_id}", told.reason))
    return after


def finalize_provisioning(work: Work, request_id: str, holding: Holding, told: Finalize) -> Request:
    """Everything that was provisioned becomes Active with its references; the request succeeds.

    Steps that no hook told of are filled in. Repeating it for the run that succeeded changes
    nothing. Raises `InvalidInput` (`outcomes_missing`) when a step has no outcome.
    """
    before = lock_request_and_subjects(work, request_id)
    if before.was_left_by(holding, RequestState.SUCCEEDED):
        return before
    before.check_may_go_on(holding)
    stored = work.requests.results(before)
    untold = {
        step: result
        for step, result in _outcomes_with_last(before, told).items()
        if _is_untold(work, before, step, stored)
    }
    results = {**stored, **untold}
    _check_complete(before, results)
    for step, result in untold.items():
        _record_outcome(work, before, step, _success(told, result))
    _activate(work, before, results)
    after = before.succeeded(work.now)
    commit_transition(work, before, after, Cause(f"run:{holding.run_id}"))
    failpoint(FINALIZE_BEFORE_COMMIT)
    return after


def _outcomes_with_last(request: Request, told: Finalize) -> dict[Step, StepResult]:
    """What the run tells, with the last step, which this very call is."""
    return {WORKFLOWS[request.workflow].steps[-1]: StepResult(), **told.outcomes}


def _is_untold(work: Work, request: Request, step: Step, stored: Mapping[Step, StepResult]) -> bool:
    """Whether no hook told the outcome; steps of earlier attempts that this run skipped were."""
    known = work.requests.step(request.id, request.attempt, step)
    return step not in stored if known is None else known.state not in _STEP_ENDED


def _has_moved_on(request: Request, holding: Holding) -> bool:
    """Whether this run itself brought the request to its end or into a wait: late news."""
    return any(
        request.was_left_by(holding, state)
        for state in (RequestState.SUCCEEDED, RequestState.WAITING)
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


def _record_outcome(work: Work, request: Request, step: Step, told: StepOutcome) -> None:
    """Writes how the step ended. A replay in a later attempt does not tell its events again."""
    events = () if step in work.requests.results(request) else told.result.events
    known = work.requests.step(request.id, request.attempt, step)
    record = replace(
        known or _new_step(work, request, step),
        state=StepState.FAILED if told.error else StepState.SUCCEEDED,
        ended_at=work.now,
        error=told.error,
        result=told.result,
    )
    _save_step(work, request, record, told.retry_number)
    for event in events:
        work.journal.event(
            event,
            subject=f"application_environment/{request.application_environment_id}",
            actor=f"run:{told.run_id}",
            team_id=request.team_id,
            request_id=request.id,
            data={"step": step, "attempt": request.attempt},
        )


def _after_failure(work: Work, before: Request, error: StepError, policy: AttemptPolicy) -> Request:
    """What the failed step does to the request; an interruption leaves that to the run's end."""
    if error.code == RUN_INTERRUPTED and not before.cancel_requested:
        return before
    why = Failure(error.code, error.message, error.retryable)
    after = before.step_failed(now=work.now, policy=policy, why=why)
    commit_transition(work, before, after, Cause(f"run:{before.run_id}", error.message))
    return after


def _success(told: Finalize, result: StepResult) -> StepOutcome:
    return StepOutcome(run_id=told.run_id, attempt=told.attempt, retry_number=0, result=result)


def _check_complete(request: Request, results: Mapping[Step, StepResult]) -> None:
    missing = [step for step in WORKFLOWS[request.workflow].steps if step not in results]
    if missing:
        raise InvalidInput(
            f"Request {request.id} cannot be finalized: no outcome of {', '.join(missing)}.",
            code="outcomes_missing",
            details={"workflowRequestId": request.id, "missing": missing},
        )


def _activate(work: Work, request: Request, results: Mapping[Step, StepResult]) -> None:
    appenvs = work.application_environments
    appenv = existing_environment(work, request)
    repository = appenvs.repository(appenv.id)
    url = _reference(results, Step.MATERIALIZE_REPOSITORIES, f"repository/{repository.id}", "url")
    appenvs.save_repository(replace(repository.moved("activate"), url=str(url)))
    for secret in appenvs.secrets(appenv.id, lock=True):
        if secret.state is SecretState.PROVISIONING:
            item = f"secret/{secret.id}"
            path = _reference(results, Step.PROVISION_SECRETS, item, "storePath")
            version = _reference(results, Step.PROVISION_SECRETS, item, "version")
            stored = replace(secret.moved("activate"), store_path=str(path), version=int(version))
            appenvs.save_secret(stored.with_binding_moved("activate"))
    revision = _revision(results[Step.CREATE_SECRET_BINDINGS])
    appenvs.save(replace(appenv.moved("activate"), revision=revision))


def _reference(results: Mapping[Step, StepResult], step: Step, item: str, key: str) -> str | int:
    try:
        return results[step].reference(item, key)
    except KeyError as error:
        raise InvalidInput(
            f"The outcome of {step} has no {key} of {item}.", code="outcomes_missing"
        ) from error


def _revision(result: StepResult) -> str:
    """The commit with the bindings; all items of that step name the same."""
    for effect in result.items:
        if "revision" in effect.references:
            return str(effect.references["revision"])
    raise InvalidInput(
        f"The outcome of {Step.CREATE_SECRET_BINDINGS} names no revision.", code="outcomes_missing"
    )
