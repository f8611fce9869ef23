"""The steps that end secrets for good; what they pass on is as in `appenv_provisioning`.

One call for each secret. Each can be repeated: the workers look first, and find what has ended.
"""

from dagster import OpExecutionContext, ResourceParam

from idp_dagster.endings import (
    ReleasePatience,
    are_gone,
    binding_ids,
    done_to_each,
    is_gone_in_time,
    questions,
    what_is_left,
)
from idp_dagster.outcomes import step_attempt
from idp_dagster.patience import Patience, each_in_a_call, is_achieved_in_time
from idp_dagster.policies import SentToWait
from idp_dagster.ports import CallPermit, ControlPlane, EndingProvider
from idp_dagster.step_ops import AFTER, step_op
from idp_kernel.downstream import PULL_REQUEST_OPEN
from idp_kernel.errors import ProviderRejected, Unavailable
from idp_kernel.pull_requests import said_too
from idp_kernel.wire.engine import RevocationDesiredState, SecretsToEnd, StepResult
from idp_kernel.wire.worker import (
    EndCredentials,
    RemoveSecretBindings,
    RotatedSecret,
    StepEffects,
)
from idp_kernel.workflows import Step

# No postponed annotations here: Dagster reads those of the decorated functions as classes.


@step_op(Step.REMOVE_SECRET_BINDINGS)
def remove_secret_bindings(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    ending_provider: ResourceParam[EndingProvider],
) -> None:
    """Removes each secret's manifests by a commit, so that nothing brings it any more.

    Where that waits for people to merge it, a credential that is revoked ends before: they have no
    more of a veto than its consumers.
    """
    wanted = control_plane.claim.wanted(SecretsToEnd)

    def remove(secret: RotatedSecret, permit: CallPermit) -> StepEffects:
        return ending_provider.remove_bindings(RemoveSecretBindings(**dict(secret)), permit)

    def end(secret: RotatedSecret, _permit: CallPermit) -> StepEffects:
        permit = control_plane.permit(Step.END_CREDENTIALS)
        return ending_provider.end(EndCredentials(**dict(secret)), permit)

    with step_attempt(control_plane, Step.REMOVE_SECRET_BINDINGS, context.retry_number) as attempt:
        try:
            attempt.achieved(done_to_each(wanted, attempt, remove))
        except Unavailable as waits:
            is_held_up = waits.code == PULL_REQUEST_OPEN
            if not is_held_up or not isinstance(wanted, RevocationDesiredState):
                raise
            done_to_each(wanted, attempt, end)
            raise said_too(waits, "The credential has ended already.") from waits


@step_op(Step.RELEASE_CONSUMERS, ins=AFTER)
def release_consumers(
    context: OpExecutionContext,
    config: ReleasePatience,
    control_plane: ResourceParam[ControlPlane],
    ending_provider: ResourceParam[EndingProvider],
) -> None:
    """Gives the consumers time to lose the secrets; goes on after a while all the same, since an
    agent that is away, or does not let go, must not keep a credential alive that is to end.
    """
    wanted = control_plane.claim.wanted(SecretsToEnd)
    bindings = binding_ids(wanted)

    with step_attempt(control_plane, Step.RELEASE_CONSUMERS, context.retry_number) as attempt:
        is_released = is_achieved_in_time(
            control_plane,
            attempt,
            config,
            look=each_in_a_call(questions(ending_provider, wanted.secrets)),
            judge=lambda seen: StepResult() if are_gone(seen, among=bindings) else None,
            words=what_is_left,
            waiting_reason=None,
            # The last step asks again, and insists.
            forgiven=(Unavailable, ProviderRejected),
        )
        if not is_released:
            attempt.achieved(StepResult())


@step_op(Step.END_CREDENTIALS, ins=AFTER)
def end_credentials(
    context: OpExecutionContext,
    control_plane: ResourceParam[ControlPlane],
    ending_provider: ResourceParam[EndingProvider],
) -> None:
    """Ends each secret's logins and destroys its values; nothing takes that back."""
    wanted = control_plane.claim.wanted(SecretsToEnd)

    def end(secret: RotatedSecret, permit: CallPermit) -> StepEffects:
        return ending_provider.end(EndCredentials(**dict(secret)), permit)

    with step_attempt(control_plane, Step.END_CREDENTIALS, context.retry_number) as attempt:
        attempt.achieved(done_to_each(wanted, attempt, end))


@step_op(Step.VERIFY_SECRETS_ENDED, ins=AFTER)
def verify_secrets_ended(
    context: OpExecutionContext,
    config: Patience,
    control_plane: ResourceParam[ControlPlane],
    ending_provider: ResourceParam[EndingProvider],
) -> None:
    """Looks until store, issuer, forge and GitOps agent have the secrets no more.

    When that takes longer than a run may wait, the request is sent to wait and the run ends here.
    """
    wanted = control_plane.claim.wanted(SecretsToEnd)
    with step_attempt(control_plane, Step.VERIFY_SECRETS_ENDED, context.retry_number) as attempt:
        looks = questions(ending_provider, wanted.secrets)
        is_over = is_gone_in_time(control_plane, attempt, config, looks)
    if not is_over:
        raise SentToWait
