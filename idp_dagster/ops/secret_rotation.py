"""The steps of SecretRotation's two phases; what they pass on is as in `appenv_provisioning`.

Until `retire_old_credential` the old credential works, whatever fails.
"""

from dagster import OpExecutionContext, ResourceParam

from idp_dagster.catalog import record_finalized
from idp_dagster.consumers import are_confirmed_in_time
from idp_dagster.failpoints import AFTER_END_PHASE, BEFORE_END_PHASE
from idp_dagster.materializations import rotated
from idp_dagster.outcomes import effects_result, step_attempt
from idp_dagster.patience import Patience
from idp_dagster.ports import ControlPlane, SecretRotationProvider
from idp_dagster.rotation import credential_version, replaced_version
from idp_dagster.step_ops import AFTER, step_op
from idp_dagster.validation import require_passed
from idp_kernel.errors import ProviderRejected
from idp_kernel.failpoints import failpoint
from idp_kernel.wire.engine import RotationDesiredState, StepResult
from idp_kernel.wire.worker import (
    IssueCredential,
    RetireCredential,
    UpdateSecretBindings,
    VerifyCredential,
)
from idp_kernel.workflows import Step

# No postponed annotations here: Dagster reads those of the decorated functions as classes.


@step_op(Step.VALIDATE_ROTATION)
def validate_rotation(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    secret_rotation_provider: ResourceParam[SecretRotationProvider],
) -> None:
    """Sees that store, issuer and bindings stand as a rotation needs them."""
    body = issue_of(control_plane.claim.wanted(RotationDesiredState))
    with step_attempt(control_plane, Step.VALIDATE_ROTATION, context.retry_number) as attempt:
        with attempt.call() as permit:
            findings = secret_rotation_provider.validate_rotation(body, permit)
        require_passed(findings, code="rotation_not_valid")
        attempt.achieved(StepResult())


@step_op(Step.ISSUE_NEW_CREDENTIAL, ins=AFTER)
def issue_new_credential(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    secret_rotation_provider: ResourceParam[SecretRotationProvider],
) -> None:
    """Has a credential made beside the one in use; only its version comes back."""
    body = issue_of(control_plane.claim.wanted(RotationDesiredState))
    with step_attempt(control_plane, Step.ISSUE_NEW_CREDENTIAL, context.retry_number) as attempt:
        with attempt.call() as permit:
            effects = secret_rotation_provider.issue(body, permit)
        attempt.achieved(effects_result(effects))


@step_op(Step.VERIFY_NEW_CREDENTIAL, ins=AFTER)
def verify_new_credential(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    secret_rotation_provider: ResourceParam[SecretRotationProvider],
) -> None:
    """Has the new credential used once, before anybody depends on it."""
    with step_attempt(control_plane, Step.VERIFY_NEW_CREDENTIAL, context.retry_number) as attempt:
        wanted = control_plane.claim.wanted(RotationDesiredState)
        body = VerifyCredential(
            subject=wanted.subject,
            secret=wanted.secret,
            store_path=wanted.store_path,
            bindings=wanted.bindings,
            version=credential_version(control_plane),
        )
        with attempt.call() as permit:
            verdict = secret_rotation_provider.verify(body, permit)
        if not verdict.works:
            raise ProviderRejected(
                f"Version {body.version} of {wanted.secret.name} does not work: {verdict.message} "
                "The old credential stays in use. Mend what it names, then retry the request.",
                code="new_credential_refused",
            )
        attempt.achieved(StepResult(events=verdict.events))


@step_op(Step.UPDATE_SECRET_BINDINGS, ins=AFTER)
def update_secret_bindings(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    secret_rotation_provider: ResourceParam[SecretRotationProvider],
) -> None:
    """Moves each binding to the new version by a commit."""
    with step_attempt(control_plane, Step.UPDATE_SECRET_BINDINGS, context.retry_number) as attempt:
        wanted = control_plane.claim.wanted(RotationDesiredState)
        body = UpdateSecretBindings(
            subject=wanted.subject,
            secret=wanted.secret,
            store_path=wanted.store_path,
            bindings=wanted.bindings,
            version=credential_version(control_plane),
            replaces_version=replaced_version(control_plane),
        )
        with attempt.call() as permit:
            effects = secret_rotation_provider.update_bindings(body, permit)
        attempt.achieved(effects_result(effects))


@step_op(Step.CONFIRM_CONSUMERS, ins=AFTER)
def confirm_consumers(
    context: OpExecutionContext,
    config: Patience,
    control_plane: ResourceParam[ControlPlane],
    secret_rotation_provider: ResourceParam[SecretRotationProvider],
) -> None:
    """Looks until the consumers have the new version, and ends the phase: the grace period begins.

    When that takes longer than a run may wait, the request is sent to wait in this phase instead.
    """
    with step_attempt(control_plane, Step.CONFIRM_CONSUMERS, context.retry_number) as attempt:
        if are_confirmed_in_time(control_plane, secret_rotation_provider, attempt, config):
            failpoint(BEFORE_END_PHASE)
            with attempt.call():
                control_plane.end_phase()
            failpoint(AFTER_END_PHASE)


@step_op(Step.RETIRE_OLD_CREDENTIAL)
def retire_old_credential(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    secret_rotation_provider: ResourceParam[SecretRotationProvider],
) -> None:
    """Ends every credential but the one that phase 1 issued."""
    with step_attempt(control_plane, Step.RETIRE_OLD_CREDENTIAL, context.retry_number) as attempt:
        wanted = control_plane.claim.wanted(RotationDesiredState)
        body = RetireCredential(
            subject=wanted.subject,
            secret=wanted.secret,
            store_path=wanted.store_path,
            bindings=wanted.bindings,
            version=credential_version(control_plane),
        )
        with attempt.call() as permit:
            effects = secret_rotation_provider.retire(body, permit)
        attempt.achieved(effects_result(effects))


@step_op(Step.FINALIZE_SECRET_ROTATION, ins=AFTER)
def finalize_secret_rotation(
    context: OpExecutionContext, control_plane: ResourceParam[ControlPlane]
) -> None:
    """Tells the control plane that the secret is rotated, and the catalog its version."""
    step = Step.FINALIZE_SECRET_ROTATION
    with step_attempt(control_plane, step, context.retry_number) as attempt:
        attempt.achieved(StepResult())
        assets = rotated(control_plane)
        with attempt.call():
            control_plane.finalize()
    record_finalized(context.instance, context.log_event, assets)


def issue_of(wanted: RotationDesiredState) -> IssueCredential:
    """The credential to be issued; also what is validated before."""
    return IssueCredential(
        subject=wanted.subject,
        secret=wanted.secret,
        store_path=wanted.store_path,
        bindings=wanted.bindings,
        emergency=wanted.emergency,
    )
