"""The steps of Compensation; what they pass on is as in `appenv_provisioning`.

Each can be repeated: the workers look at the providers every time, and let alone what is gone, what
is not the undone request's, and what another request lives on.
"""

from dagster import OpExecutionContext, ResourceParam

from idp_dagster.endings import are_gone, what_is_left
from idp_dagster.outcomes import step_attempt
from idp_dagster.patience import Patience, in_one_call, is_achieved_in_time
from idp_dagster.policies import SentToWait
from idp_dagster.ports import ControlPlane, UndoProvider
from idp_dagster.step_ops import AFTER, step_op
from idp_dagster.undo import must_be_gone, undo_body
from idp_kernel.wire.engine import CompensationDesiredState, StepResult
from idp_kernel.wire.worker import ItemEffect
from idp_kernel.workflows import Step, WaitingReason

# No postponed annotations here: Dagster reads those of the decorated functions as classes.


@step_op(Step.STOP_UNDONE_REQUEST)
def stop_undone_request(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    undo_provider: ResourceParam[UndoProvider],
) -> None:
    """Sees that no call of the undone request is under way, and that none can begin."""
    step = Step.STOP_UNDONE_REQUEST
    with step_attempt(control_plane, step, context.retry_number) as attempt:
        with attempt.call():
            undo_provider.stop(control_plane.undo_permit(step))
        attempt.achieved(StepResult())


@step_op(Step.UNDO_EFFECTS, ins=AFTER)
def undo_effects(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    undo_provider: ResourceParam[UndoProvider],
) -> None:
    """Takes back step after step, the newest first; one that fails keeps the earlier ones."""
    wanted = control_plane.claim.wanted(CompensationDesiredState)
    with step_attempt(control_plane, Step.UNDO_EFFECTS, context.retry_number) as attempt:
        items: list[ItemEffect] = []
        for each in wanted.steps:
            body = undo_body(wanted, each.step)
            with attempt.call():
                permit = control_plane.undo_permit(each.step)
                items += undo_provider.undo(each.step, body, permit).items
        attempt.achieved(StepResult(items=tuple(items)))


@step_op(Step.VERIFY_NOTHING_LEFT, ins=AFTER)
def verify_nothing_left(
    context: OpExecutionContext,
    config: Patience,
    control_plane: ResourceParam[ControlPlane],
    undo_provider: ResourceParam[UndoProvider],
) -> None:
    """Looks until forge, store and GitOps agent have no more what was removed.

    When that takes longer than a run may wait, the request is sent to wait and the run ends here.
    """
    wanted = control_plane.claim.wanted(CompensationDesiredState)
    with step_attempt(control_plane, Step.VERIFY_NOTHING_LEFT, context.retry_number) as attempt:
        body = must_be_gone(wanted, control_plane.outcomes[Step.UNDO_EFFECTS].items)
        is_gone = is_achieved_in_time(
            control_plane,
            attempt,
            config,
            look=in_one_call(lambda permit: undo_provider.verify(body, permit)),
            judge=lambda seen: StepResult() if are_gone([seen]) else None,
            words=lambda seen: what_is_left([seen]),
            waiting_reason=WaitingReason.UNDONE_STILL_SEEN,
        )
    if not is_gone:
        raise SentToWait


@step_op(Step.FINALIZE_COMPENSATION, ins=AFTER)
def finalize_compensation(
    context: OpExecutionContext, control_plane: ResourceParam[ControlPlane]
) -> None:
    """Tells the control plane that the request is undone."""
    step = Step.FINALIZE_COMPENSATION
    with step_attempt(control_plane, step, context.retry_number) as attempt:
        attempt.achieved(StepResult())
        with attempt.call():
            control_plane.finalize()
