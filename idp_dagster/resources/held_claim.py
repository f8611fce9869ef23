"""A request while this run holds it: `ControlPlane` of the ports over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from idp_dagster.ports import CallPermit
from idp_dagster.resources.lease import LeaseKeeper
from idp_kernel.errors import Conflict
from idp_kernel.http.client import ServiceClient
from idp_kernel.telemetry.logs import redact
from idp_kernel.wire.base import WireModel
from idp_kernel.wire.engine import (
    AWAIT_APPROVAL,
    CANCEL_REQUESTED,
    DECLARE_ENVIRONMENTS,
    END_PHASE,
    FINALIZE,
    MESSAGE_LENGTH,
    STEP_OUTCOME,
    STEP_START,
    WAIT,
    AwaitApproval,
    AwaitedApproval,
    Claim,
    DeclaredEnvironments,
    DeclareEnvironments,
    EndPhase,
    Finalize,
    RequestStanding,
    StepError,
    StepOutcome,
    StepResult,
    StepStarted,
    WaitRequested,
)
from idp_kernel.wire.worker import UNDO_SUFFIX, DownstreamError
from idp_kernel.workflows import Step, WaitingReason


class HeldClaim:
    """Speaks for the run with its run token, as long as the lease is kept."""

    def __init__(
        self,
        claim: Claim,
        *,
        lease: LeaseKeeper,
        api: ServiceClient,
        api_url: str,
        traceparent: str | None,
    ) -> None:
        self._claim = claim
        self._lease = lease
        self._api = api
        self._api_url = api_url
        self._traceparent = traceparent
        self._achieved: dict[Step, StepResult] = {}
        self._met: dict[Step, list[DownstreamError]] = {}
        self._retry_numbers: dict[Step, int] = {}

    @property
    def claim(self) -> Claim:
        return self._claim

    @property
    def traceparent(self) -> str | None:
        return self._traceparent

    @property
    def outcomes(self) -> Mapping[Step, StepResult]:
        return {**self._claim.outcomes, **self._own_outcomes()}

    def permit(self, step: Step) -> CallPermit:
        key = f"{self._claim.request_id}/{self._claim.generation}/{step}"
        return CallPermit(run_token=self._lease.token(), idempotency_key=key)

    def undo_permit(self, undone: Step) -> CallPermit:
        permit = self._lease.undone_permit()
        key = f"{permit.request_id}/{permit.generation}/{undone}{UNDO_SUFFIX}"
        return CallPermit(run_token=permit.run_token, idempotency_key=key)

    def step_started(self, step: Step, retry_number: int) -> None:
        self._retry_numbers[step] = retry_number
        body = StepStarted(
            run_id=self._claim.run_id, attempt=self._claim.attempt, retry_number=retry_number
        )
        with self._heeding_cancel():
            self._post(STEP_START, body, token=self._lease.token(), step=step)

    def met(self, step: Step, error: DownstreamError) -> None:
        self._met.setdefault(step, []).append(error)

    def achieved(self, step: Step, result: StepResult) -> None:
        self._achieved[step] = result

    def tell(self, step: Step, error: StepError | None) -> None:
        if self._lease.is_over or (error is None and step not in self._achieved):
            return
        body = StepOutcome(
            run_id=self._claim.run_id,
            attempt=self._claim.attempt,
            retry_number=self._retry_numbers.get(step, 0),
            result=self._result(step if error is None else None, self._met.get(step, [])),
            error=error,
        )
        self._post(STEP_OUTCOME, body, token=self._lease.token(), step=step)

    def wait(self, reason: WaitingReason, seconds: float, *, seen: str) -> None:
        body = WaitRequested(
            run_id=self._claim.run_id,
            attempt=self._claim.attempt,
            reason=reason,
            wait_seconds=seconds,
            seen=redact(seen)[:MESSAGE_LENGTH],
        )
        with self._heeding_cancel(), self._lease.last_call() as token:
            self._post(WAIT, body, token=token)

    def end_phase(self) -> None:
        body = EndPhase(
            run_id=self._claim.run_id, attempt=self._claim.attempt, outcomes=dict(self.outcomes)
        )
        with self._heeding_cancel(), self._lease.last_call() as token:
            self._post(END_PHASE, body, token=token)

    def finalize(self) -> None:
        body = Finalize(
            run_id=self._claim.run_id, attempt=self._claim.attempt, outcomes=dict(self.outcomes)
        )
        with self._heeding_cancel(), self._lease.last_call() as token:
            self._post(FINALIZE, body, token=token)

    def await_approval(self) -> bool:
        body = AwaitApproval(run_id=self._claim.run_id, attempt=self._claim.attempt)
        path = AWAIT_APPROVAL.format(request_id=self._claim.request_id)
        with self._heeding_cancel(), self._lease.deciding_call() as call:
            answer = self._api.call("POST", path, AwaitedApproval, body=body, bearer=call.token)
            call.gives_back = answer.waits
        return answer.waits

    def declare_environments(self) -> Mapping[str, str]:
        body = DeclareEnvironments(run_id=self._claim.run_id, attempt=self._claim.attempt)
        path = DECLARE_ENVIRONMENTS.format(request_id=self._claim.request_id)
        with self._heeding_cancel():
            token = self._lease.token()
            return self._api.call("POST", path, DeclaredEnvironments, body=body, bearer=token).ids

    def link(self, path: str) -> str:
        return f"{self._api_url}{path}"

    @contextmanager
    def _heeding_cancel(self) -> Iterator[None]:
        """Ends the run's work at once when the control plane answers that it shall stop."""
        try:
            yield
        except Conflict as error:
            if error.code == CANCEL_REQUESTED:
                self._lease.cancel()
            raise

    def _own_outcomes(self) -> dict[Step, StepResult]:
        return {step: self._result(step, self._met.get(step, [])) for step in self._achieved}

    def _result(self, step: Step | None, met: list[DownstreamError]) -> StepResult:
        result = StepResult() if step is None else self._achieved[step]
        return result.model_copy(update={"downstream_errors": tuple(met)})

    def _post(self, route: str, body: WireModel, *, token: str, step: Step | None = None) -> None:
        path = route.format(request_id=self._claim.request_id, step=step)
        self._api.call("POST", path, RequestStanding, body=body, bearer=token)
