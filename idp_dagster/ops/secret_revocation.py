"""The last step of SecretRevocation; those before it are in `endings`."""

from dagster import OpExecutionContext, ResourceParam

from idp_dagster.outcomes import step_attempt
from idp_dagster.ports import ControlPlane
from idp_dagster.step_ops import AFTER, step_op
from idp_kernel.wire.engine import StepResult
from idp_kernel.workflows import Step

# No postponed annotations here: Dagster reads those of the decorated functions as classes.


@step_op(Step.FINALIZE_SECRET_REVOCATION, ins=AFTER)
def finalize_secret_revocation(
    context: OpExecutionContext, control_plane: ResourceParam[ControlPlane]
) -> None:
    """Tells the control plane that the secret is revoked; the catalog's next check drops it."""
    step = Step.FINALIZE_SECRET_REVOCATION
    with step_attempt(control_plane, step, context.retry_number) as attempt:
        attempt.achieved(StepResult())
        with attempt.call():
            control_plane.finalize()
