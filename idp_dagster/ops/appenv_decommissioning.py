"""The last steps of ApplicationEnvironmentDecommissioning; those before them are in `endings`."""

from dagster import OpExecutionContext, ResourceParam

from idp_dagster.endings import is_gone_in_time, questions
from idp_dagster.outcomes import effects_result, step_attempt
from idp_dagster.patience import Patience
from idp_dagster.policies import SentToWait
from idp_dagster.ports import ControlPlane, EndingProvider
from idp_dagster.step_ops import AFTER, step_op
from idp_kernel.wire.engine import AppEnvDecommissioningDesiredState, StepResult
from idp_kernel.wire.worker import ArchiveRepositories
from idp_kernel.workflows import Step

# No postponed annotations here: Dagster reads those of the decorated functions as classes.

_FINALIZE = Step.FINALIZE_APPLICATION_ENVIRONMENT_DECOMMISSIONING


@step_op(Step.ARCHIVE_ENVIRONMENT_REPOSITORY, ins=AFTER)
def archive_environment_repository(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    ending_provider: ResourceParam[EndingProvider],
) -> None:
    """Makes the repository read-only, with all that people put there: nothing applies it then."""
    body = _archive(control_plane)
    step = Step.ARCHIVE_ENVIRONMENT_REPOSITORY
    with step_attempt(control_plane, step, context.retry_number) as attempt:
        with attempt.call() as permit:
            effects = ending_provider.archive(body, permit)
        attempt.achieved(effects_result(effects))


@step_op(Step.VERIFY_NOTHING_RECONCILED, ins=AFTER)
def verify_nothing_reconciled(
    context: OpExecutionContext,
    config: Patience,
    control_plane: ResourceParam[ControlPlane],
    ending_provider: ResourceParam[EndingProvider],
) -> None:
    """Looks until the agent has let go of the environment and nobody has its secrets.

    When that takes longer than a run may wait, the request is sent to wait and the run ends here.
    """
    archive = _archive(control_plane)
    secrets = control_plane.claim.wanted(AppEnvDecommissioningDesiredState).secrets
    step = Step.VERIFY_NOTHING_RECONCILED
    with step_attempt(control_plane, step, context.retry_number) as attempt:
        looks = questions(ending_provider, secrets, [archive])
        is_over = is_gone_in_time(control_plane, attempt, config, looks)
    if not is_over:
        raise SentToWait


@step_op(_FINALIZE, ins=AFTER)
def finalize_application_environment_decommissioning(
    context: OpExecutionContext, control_plane: ResourceParam[ControlPlane]
) -> None:
    """Tells the control plane that it is retired; the catalog's next check drops it."""
    with step_attempt(control_plane, _FINALIZE, context.retry_number) as attempt:
        attempt.achieved(StepResult())
        with attempt.call():
            control_plane.finalize()


def _archive(control_plane: ControlPlane) -> ArchiveRepositories:
    wanted = control_plane.claim.wanted(AppEnvDecommissioningDesiredState)
    return ArchiveRepositories(subject=wanted.subject, repositories=(wanted.repository,))
