"""The steps of ApplicationEnvironmentProvisioning.

Each passes on references only, and nothing to the next op: what a later step needs of an earlier
one it takes from the outcomes at the control plane, so that a re-run from failure finds it too.
"""

from dagster import OpExecutionContext, ResourceParam

from idp_dagster.catalog import record_finalized
from idp_dagster.materializations import provisioned
from idp_dagster.outcomes import effects_result, step_attempt
from idp_dagster.patience import ReconciliationPatience
from idp_dagster.policies import SentToWait
from idp_dagster.ports import AppEnvProvisioningProvider, ControlPlane, GitProvider
from idp_dagster.reconciliation import is_reconciled_in_time
from idp_dagster.step_ops import AFTER, step_op
from idp_kernel.wire.engine import AppEnvDesiredState, StepResult
from idp_kernel.wire.worker import (
    CreateSecretBindings,
    EnsureRepositories,
    ProtectBranches,
    ProvisionSecrets,
)
from idp_kernel.workflows import Step

# No postponed annotations here: Dagster reads those of the decorated functions as classes.


@step_op(Step.MATERIALIZE_REPOSITORIES)
def materialize_repositories(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    git_provider: ResourceParam[GitProvider],
) -> None:
    """Creates the environment's own repository, seeded in one commit; one that is in use has it."""
    wanted = control_plane.claim.wanted(AppEnvDesiredState)
    body = EnsureRepositories(
        subject=wanted.subject,
        repositories=(wanted.repository,),
        is_in_use=wanted.adds_secrets,
    )
    with step_attempt(
        control_plane, Step.MATERIALIZE_REPOSITORIES, context.retry_number
    ) as attempt:
        with attempt.call() as permit:
            effects = git_provider.ensure_repositories(body, permit)
        attempt.achieved(effects_result(effects))


@step_op(Step.APPLY_BRANCH_PROTECTION, ins=AFTER)
def apply_branch_protection(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    appenv_provisioning_provider: ResourceParam[AppEnvProvisioningProvider],
) -> None:
    """Closes the default branch to direct pushes by anyone but the platform's bot."""
    wanted = control_plane.claim.wanted(AppEnvDesiredState)
    body = ProtectBranches(
        subject=wanted.subject,
        repositories=(wanted.repository,),
        required_approvals=wanted.required_approvals,
        is_in_use=wanted.adds_secrets,
    )
    with step_attempt(control_plane, Step.APPLY_BRANCH_PROTECTION, context.retry_number) as attempt:
        with attempt.call() as permit:
            effects = appenv_provisioning_provider.protect_branches(body, permit)
        attempt.achieved(effects_result(effects))


@step_op(Step.PROVISION_SECRETS, ins=AFTER)
def provision_secrets(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    appenv_provisioning_provider: ResourceParam[AppEnvProvisioningProvider],
) -> None:
    """Has each secret's value born in the store; only its path and version come back."""
    wanted = control_plane.claim.wanted(AppEnvDesiredState)
    body = ProvisionSecrets(subject=wanted.subject, secrets=wanted.secrets)
    with step_attempt(control_plane, Step.PROVISION_SECRETS, context.retry_number) as attempt:
        with attempt.call() as permit:
            effects = appenv_provisioning_provider.provision_secrets(body, permit)
        attempt.achieved(effects_result(effects))


@step_op(Step.CREATE_SECRET_BINDINGS, ins=AFTER)
def create_secret_bindings(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    appenv_provisioning_provider: ResourceParam[AppEnvProvisioningProvider],
) -> None:
    """Commits the bindings, each pinned to the version the store answered."""
    with step_attempt(control_plane, Step.CREATE_SECRET_BINDINGS, context.retry_number) as attempt:
        wanted = control_plane.claim.wanted(AppEnvDesiredState)
        body = CreateSecretBindings(
            subject=wanted.subject,
            repository=wanted.repository,
            bindings=control_plane.outcomes[Step.PROVISION_SECRETS].bindings(wanted),
        )
        with attempt.call() as permit:
            effects = appenv_provisioning_provider.create_secret_bindings(body, permit)
        attempt.achieved(effects_result(effects))


@step_op(Step.VERIFY_GITOPS_RECONCILIATION, ins=AFTER)
def verify_gitops_reconciliation(
    context: OpExecutionContext,
    config: ReconciliationPatience,
    control_plane: ResourceParam[ControlPlane],
    appenv_provisioning_provider: ResourceParam[AppEnvProvisioningProvider],
) -> None:
    """Looks until the GitOps agent has our bindings in good health.

    When that takes longer than a run may wait, the request is sent to wait and the run ends here:
    without this op's output the last step is skipped.
    """
    with step_attempt(
        control_plane, Step.VERIFY_GITOPS_RECONCILIATION, context.retry_number
    ) as attempt:
        reconciled = is_reconciled_in_time(
            control_plane, appenv_provisioning_provider, attempt, config
        )
    if not reconciled:
        raise SentToWait


@step_op(Step.FINALIZE_APPLICATION_ENVIRONMENT_PROVISIONING, ins=AFTER)
def finalize_application_environment_provisioning(
    context: OpExecutionContext, control_plane: ResourceParam[ControlPlane]
) -> None:
    """Tells the control plane that the environment stands, with every step's outcome, and has the
    catalog show it.
    """
    step = Step.FINALIZE_APPLICATION_ENVIRONMENT_PROVISIONING
    with step_attempt(control_plane, step, context.retry_number) as attempt:
        attempt.achieved(StepResult())
        assets = provisioned(control_plane)
        with attempt.call():
            control_plane.finalize()
    record_finalized(context.instance, context.log_event, assets)
