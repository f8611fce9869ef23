"""One try of one step: told when it starts, traced, its errors translated, its result noted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from idp_dagster.failpoints import after_call, before_call
from idp_dagster.policies import SentToWait, dagster_failures, wait_for
from idp_dagster.ports import CallPermit, ControlPlane
from idp_kernel.downstream import PULL_REQUEST_OPEN, Refusal
from idp_kernel.errors import Conflict, PlatformError, ProviderRejected, Unavailable
from idp_kernel.failpoints import failpoint
from idp_kernel.telemetry.metrics import NO_STATUS
from idp_kernel.telemetry.run_spans import step_span_id
from idp_kernel.telemetry.subjects import subject_attributes
from idp_kernel.telemetry.traces import span
from idp_kernel.wire.engine import WAITED_TOO_LONG, Claim, Offer, StepResult
from idp_kernel.wire.worker import DownstreamError, StepEffects
from idp_kernel.workflows import Step, WaitingReason


class StepAttempt:
    """What an op works with; made by `step_attempt`."""

    def __init__(self, control_plane: ControlPlane, step: Step) -> None:
        self._control_plane = control_plane
        self._step = step

    @contextmanager
    def call(self) -> Iterator[CallPermit]:
        """Leave for one outward call, which stands inside; its errors are counted."""
        failpoint(before_call(self._step))
        permit = self._control_plane.permit(self._step)
        try:
            yield permit
        except PlatformError as error:
            if (met := downstream_error(error)) is not None:
                self._control_plane.met(self._step, met)
            raise
        failpoint(after_call(self._step))

    def achieved(self, result: StepResult) -> None:
        """Notes the step's result."""
        self._control_plane.achieved(self._step, result)


_REASONS = {
    Refusal.CIRCUIT_OPEN: WaitingReason.CIRCUIT_OPEN,
    PULL_REQUEST_OPEN: WaitingReason.PULL_REQUEST_OPEN,
}
"""By the error's code; with another one a provider has asked for a pause."""


@contextmanager
def _waiting_out(control_plane: ControlPlane, step: Step, retry_number: int) -> Iterator[None]:
    """Sends the request to wait, and raises `SentToWait`, when a provider is to be left alone for
    longer than the step's retries wait. Raises `ProviderRejected` (`waited_too_long`) with what the
    provider said last when the request may wait no more.
    """
    try:
        yield
    except Unavailable as error:
        seconds = wait_for(error, step, retry_number)
        if seconds is None:
            raise
        reason = _REASONS.get(error.code, WaitingReason.PROVIDER_PAUSED)
        try:
            control_plane.wait(reason, seconds, seen=error.message)
        except Conflict as refused:
            if refused.code != WAITED_TOO_LONG:
                raise
            message = f"{error.message} {refused.message}"
            raise ProviderRejected(message, code=WAITED_TOO_LONG, details=error.details) from error
        raise SentToWait(error) from error


@contextmanager
def step_attempt(
    control_plane: ControlPlane, step: Step, retry_number: int
) -> Iterator[StepAttempt]:
    """Around all that an op does; raises only what Dagster is to see (`policies`), and `SentToWait`
    for `step_op`.
    """
    claim = control_plane.claim
    with (
        dagster_failures(step),
        _waiting_out(control_plane, step, retry_number),
        span(
            step,
            attributes={**span_attributes(claim), "idp.retry_number": retry_number},
            traceparent=control_plane.traceparent,
            span_id=_span_id(claim, step, retry_number),
            repeats=_span_id(claim, step, retry_number - 1) if retry_number else None,
        ),
    ):
        control_plane.step_started(step, retry_number)
        yield StepAttempt(control_plane, step)


def span_attributes(work: Offer | Claim) -> dict[str, str | int | bool]:
    """Whose work a span belongs to."""
    subject = subject_attributes(
        workflow_request_id=work.request_id,
        team_id=work.team_id,
        application_id=work.application_id,
        application_environment_id=work.application_environment_id,
        secret_id=work.secret_id,
    )
    return {**subject, "idp.attempt": work.attempt}


def _span_id(claim: Claim, step: Step, retry_number: int) -> str:
    return step_span_id(claim.request_id, claim.attempt, step, retry_number)


def effects_result(effects: StepEffects) -> StepResult:
    """The outcome that an effect's answer stands for."""
    return StepResult(items=effects.items, events=effects.events)


def downstream_error(error: PlatformError) -> DownstreamError | None:
    """The provider's error behind ours, when it names its `target`."""
    target = error.details.get("target")
    if target is None:
        return None
    return DownstreamError(
        target=str(target)[:60],
        code=error.code[:60],
        status=str(error.details.get("targetStatus", NO_STATUS))[:20],
    )
