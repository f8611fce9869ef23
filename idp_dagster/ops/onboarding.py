"""The steps of ApplicationOnboarding; what they pass on is as in `appenv_provisioning`."""

from dagster import OpExecutionContext, ResourceParam

from idp_dagster.outcomes import StepAttempt, effects_result, step_attempt
from idp_dagster.policies import SentToWait
from idp_dagster.ports import ControlPlane, GitProvider
from idp_dagster.step_ops import AFTER, step_op
from idp_dagster.validation import require_passed
from idp_kernel.wire.engine import OnboardingDesiredState, StepResult
from idp_kernel.wire.worker import (
    EffectKind,
    EnsureRepositories,
    ItemEffect,
    ProtectBranches,
    RepositoryWanted,
    SeedRepositories,
)
from idp_kernel.workflows import Step

# No postponed annotations here: Dagster reads those of the decorated functions as classes.


@step_op(Step.VALIDATE_APPLICATION)
def validate_application(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    git_provider: ResourceParam[GitProvider],
) -> None:
    """Sends the request to wait while its application is to be approved; then sees that no
    repository of that name belongs to somebody else.
    """
    wanted = control_plane.claim.wanted(OnboardingDesiredState)
    body = EnsureRepositories(subject=wanted.subject, repositories=wanted.repositories)
    with step_attempt(control_plane, Step.VALIDATE_APPLICATION, context.retry_number) as attempt:
        waits = wanted.needs_approval and _waits_for_approval(control_plane, attempt)
        if not waits:
            with attempt.call() as permit:
                findings = git_provider.validate_repositories(body, permit)
            require_passed(findings, code="application_not_valid")
            attempt.achieved(StepResult())
    if waits:
        raise SentToWait


def _waits_for_approval(control_plane: ControlPlane, attempt: StepAttempt) -> bool:
    with attempt.call():
        return control_plane.await_approval()


@step_op(Step.CREATE_CODE_REPOSITORY, ins=AFTER)
def create_code_repository(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    git_provider: ResourceParam[GitProvider],
) -> None:
    """Creates the repository of the application's code, empty."""
    repository = control_plane.claim.wanted(OnboardingDesiredState).code_repository
    step = Step.CREATE_CODE_REPOSITORY
    _create(control_plane, git_provider, step, repository, context.retry_number)


@step_op(Step.CREATE_DEPLOYMENT_REPOSITORY, ins=AFTER)
def create_deployment_repository(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    git_provider: ResourceParam[GitProvider],
) -> None:
    """Creates the repository of what is deployed, empty."""
    repository = control_plane.claim.wanted(OnboardingDesiredState).deployment_repository
    step = Step.CREATE_DEPLOYMENT_REPOSITORY
    _create(control_plane, git_provider, step, repository, context.retry_number)


def _create(
    control_plane: ControlPlane,
    git_provider: GitProvider,
    step: Step,
    repository: RepositoryWanted,
    retry_number: int,
) -> None:
    subject = control_plane.claim.wanted(OnboardingDesiredState).subject
    body = EnsureRepositories(subject=subject, repositories=(repository,))
    with step_attempt(control_plane, step, retry_number) as attempt:
        with attempt.call() as permit:
            effects = git_provider.ensure_repositories(body, permit)
        attempt.achieved(effects_result(effects))


@step_op(Step.SEED_REPOSITORIES, ins=AFTER)
def seed_repositories(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    git_provider: ResourceParam[GitProvider],
) -> None:
    """Commits README, CODEOWNERS, `catalog-info.yaml` and the GitOps skeleton."""
    wanted = control_plane.claim.wanted(OnboardingDesiredState)
    body = SeedRepositories(
        subject=wanted.subject, description=wanted.description, repositories=wanted.repositories
    )
    with step_attempt(control_plane, Step.SEED_REPOSITORIES, context.retry_number) as attempt:
        with attempt.call() as permit:
            effects = git_provider.seed_repositories(body, permit)
        attempt.achieved(effects_result(effects))


@step_op(Step.APPLY_REPOSITORY_PROTECTION, ins=AFTER)
def apply_repository_protection(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    git_provider: ResourceParam[GitProvider],
) -> None:
    """Closes both default branches to direct pushes by anyone but the platform's bot."""
    wanted = control_plane.claim.wanted(OnboardingDesiredState)
    body = ProtectBranches(
        subject=wanted.subject,
        repositories=wanted.repositories,
        required_approvals=wanted.required_approvals,
    )
    step = Step.APPLY_REPOSITORY_PROTECTION
    with step_attempt(control_plane, step, context.retry_number) as attempt:
        with attempt.call() as permit:
            effects = git_provider.protect_repositories(body, permit)
        attempt.achieved(effects_result(effects))


@step_op(Step.DECLARE_APPLICATION_ENVIRONMENTS, ins=AFTER)
def declare_application_environments(
    context: OpExecutionContext, control_plane: ResourceParam[ControlPlane]
) -> None:
    """Has the control plane declare the environments; none of them is provisioned here."""
    step = Step.DECLARE_APPLICATION_ENVIRONMENTS
    with step_attempt(control_plane, step, context.retry_number) as attempt:
        with attempt.call():
            ids = control_plane.declare_environments()
        attempt.achieved(StepResult(items=tuple(map(_declared, ids, ids.values()))))


def _declared(environment: str, application_environment_id: str) -> ItemEffect:
    return ItemEffect(
        item=f"application_environment/{application_environment_id}",
        effect=EffectKind.CREATED,
        references={
            "applicationEnvironmentId": application_environment_id,
            "environment": environment,
        },
    )


@step_op(Step.FINALIZE_APPLICATION_ONBOARDING, ins=AFTER)
def finalize_application_onboarding(
    context: OpExecutionContext, control_plane: ResourceParam[ControlPlane]
) -> None:
    """Tells the control plane that the application stands, with every step's outcome."""
    step = Step.FINALIZE_APPLICATION_ONBOARDING
    with step_attempt(control_plane, step, context.retry_number) as attempt:
        attempt.achieved(StepResult())
        with attempt.call():
            control_plane.finalize()
