"""How long a run looks whether the GitOps agent has taken up our commit, and when it stops."""

from __future__ import annotations

import time

from idp_dagster.outcomes import StepAttempt
from idp_dagster.patience import ReconciliationPatience, in_one_call, is_achieved_in_time
from idp_dagster.ports import AppEnvProvisioningProvider, ControlPlane
from idp_kernel.errors import InvariantBroken, ProviderRejected
from idp_kernel.wire.engine import AppEnvDesiredState, StepResult
from idp_kernel.wire.worker import GitOpsState, GitOpsVerdict, VerifyGitOps
from idp_kernel.workflows import Step, WaitingReason


def is_reconciled_in_time(
    control_plane: ControlPlane,
    provider: AppEnvProvisioningProvider,
    attempt: StepAttempt,
    patience: ReconciliationPatience,
) -> bool:
    """Looks until our revision is reconciled; `False` when the request was sent to wait instead.

    Raises `ProviderRejected` when it stays degraded.
    """
    body = verification(control_plane)
    healthy_at = time.monotonic()

    def judge(verdict: GitOpsVerdict) -> StepResult | None:
        nonlocal healthy_at
        now = time.monotonic()
        if verdict.state is GitOpsState.RECONCILED:
            return StepResult(events=verdict.events)
        if verdict.state is not GitOpsState.DEGRADED:
            healthy_at = now
        elif now - healthy_at >= patience.degraded_seconds:
            raise degraded(verdict, now - healthy_at)
        return None

    return is_achieved_in_time(
        control_plane,
        attempt,
        patience,
        look=in_one_call(lambda permit: provider.verify_gitops(body, permit)),
        judge=judge,
        words=lambda verdict: verdict.message,
        waiting_reason=WaitingReason.GITOPS_RECONCILIATION_SLOW,
    )


def verification(control_plane: ControlPlane) -> VerifyGitOps:
    """What to look for: the commit with the bindings and the versions they pin."""
    wanted = control_plane.claim.wanted(AppEnvDesiredState)
    committed = control_plane.outcomes[Step.CREATE_SECRET_BINDINGS]
    return VerifyGitOps(
        subject=wanted.subject,
        repository=wanted.repository,
        revision=committed_revision(committed),
        bindings=control_plane.outcomes[Step.PROVISION_SECRETS].bindings(wanted),
    )


def committed_revision(result: StepResult) -> str:
    """The commit that `create_secret_bindings` answered."""
    for effect in result.items:
        if "revision" in effect.references:
            return str(effect.references["revision"])
    raise InvariantBroken(f"{Step.CREATE_SECRET_BINDINGS} answered no revision.")


def degraded(verdict: GitOpsVerdict, seconds: float) -> ProviderRejected:
    """Says what the agent showed."""
    return ProviderRejected(
        f"The GitOps agent has shown {verdict.expected_revision[:12]} degraded for "
        f"{seconds:.0f} s: {verdict.message} Mend what it names, then retry the request.",
        code="gitops_degraded",
    )
