"""The steps of ApplicationDecommissioning; what they pass on is as in `appenv_provisioning`."""

from dagster import OpExecutionContext, ResourceParam

from idp_dagster.endings import is_gone_in_time, questions
from idp_dagster.outcomes import step_attempt
from idp_dagster.patience import Patience
from idp_dagster.policies import SentToWait
from idp_dagster.ports import ControlPlane, EndingProvider
from idp_dagster.step_ops import AFTER, step_op
from idp_kernel.wire.engine import ApplicationDecommissioningDesiredState, StepResult
from idp_kernel.wire.worker import (
    REPOSITORIES_PER_CALL,
    ArchiveRepositories,
)
from idp_kernel.workflows import Step

# No postponed annotations here: Dagster reads those of the decorated functions as classes.


@step_op(Step.ARCHIVE_APPLICATION_REPOSITORIES)
def archive_application_repositories(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    ending_provider: ResourceParam[EndingProvider],
) -> None:
    """Makes its repositories read-only, with all that people put there; those of its environments
    are so already, unless somebody opened one again.
    """
    bodies, done = _archives(control_plane), StepResult()
    step = Step.ARCHIVE_APPLICATION_REPOSITORIES
    with step_attempt(control_plane, step, context.retry_number) as attempt:
        for body in bodies:
            with attempt.call() as permit:
                effects = ending_provider.archive(body, permit)
            done = StepResult(
                items=(*done.items, *effects.items), events=(*done.events, *effects.events)
            )
        attempt.achieved(done)


@step_op(Step.VERIFY_APPLICATION_ENDED, ins=AFTER)
def verify_application_ended(
    context: OpExecutionContext,
    config: Patience,
    control_plane: ResourceParam[ControlPlane],
    ending_provider: ResourceParam[EndingProvider],
) -> None:
    """Looks until nobody can change its repositories, the agent applies none of them, and nobody
    has anything of the secrets that its environments had.

    When that takes longer than a run may wait, the request is sent to wait and the run ends here.
    """
    archives = _archives(control_plane)
    secrets = control_plane.claim.wanted(ApplicationDecommissioningDesiredState).ended_secrets
    step = Step.VERIFY_APPLICATION_ENDED
    with step_attempt(control_plane, step, context.retry_number) as attempt:
        looks = questions(ending_provider, secrets, archives)
        is_over = is_gone_in_time(control_plane, attempt, config, looks)
    if not is_over:
        raise SentToWait


@step_op(Step.FINALIZE_APPLICATION_DECOMMISSIONING, ins=AFTER)
def finalize_application_decommissioning(
    context: OpExecutionContext, control_plane: ResourceParam[ControlPlane]
) -> None:
    """Tells the control plane that the application is archived."""
    step = Step.FINALIZE_APPLICATION_DECOMMISSIONING
    with step_attempt(control_plane, step, context.retry_number) as attempt:
        attempt.achieved(StepResult())
        with attempt.call():
            control_plane.finalize()


def _archives(control_plane: ControlPlane) -> list[ArchiveRepositories]:
    """As many as a call may name, each."""
    wanted = control_plane.claim.wanted(ApplicationDecommissioningDesiredState)
    beginnings = range(0, len(wanted.repositories), REPOSITORIES_PER_CALL)
    return [
        ArchiveRepositories(
            subject=wanted.subject,
            repositories=wanted.repositories[first : first + REPOSITORIES_PER_CALL],
        )
        for first in beginnings
    ]
