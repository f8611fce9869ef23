"""How long a run looks whether a secret's consumers have taken up its new version."""

from __future__ import annotations

from idp_dagster.outcomes import StepAttempt
from idp_dagster.patience import Patience, in_one_call, is_achieved_in_time
from idp_dagster.ports import ControlPlane, SecretRotationProvider
from idp_dagster.rotation import credential_version, moved_revisions, replaced_version
from idp_kernel.wire.engine import RotationDesiredState, StepResult
from idp_kernel.wire.worker import ConsumersState, ConsumersVerdict, ObserveConsumers
from idp_kernel.workflows import WaitingReason

ACCEPTED = frozenset({ConsumersState.CONFIRMED, ConsumersState.UNKNOWN})
"""Where nobody can know who reads a secret, an applied binding has to do: the grace period is
there for those who still have the old version.
"""


def are_confirmed_in_time(
    control_plane: ControlPlane,
    provider: SecretRotationProvider,
    attempt: StepAttempt,
    patience: Patience,
) -> bool:
    """Looks until the new version is in use; `False` when the request was sent to wait instead."""
    body = observation(control_plane)

    def judge(verdict: ConsumersVerdict) -> StepResult | None:
        return StepResult(events=verdict.events) if verdict.state in ACCEPTED else None

    return is_achieved_in_time(
        control_plane,
        attempt,
        patience,
        look=in_one_call(lambda permit: provider.consumers(body, permit)),
        judge=judge,
        words=lambda verdict: verdict.message,
        waiting_reason=WaitingReason.CONSUMERS_NOT_CONFIRMED,
    )


def observation(control_plane: ControlPlane) -> ObserveConsumers:
    """Whom to look for: users of the version that the request issued, and of the one before."""
    wanted = control_plane.claim.wanted(RotationDesiredState)
    return ObserveConsumers(
        subject=wanted.subject,
        secret=wanted.secret,
        store_path=wanted.store_path,
        bindings=wanted.bindings,
        version=credential_version(control_plane),
        replaces_version=replaced_version(control_plane),
        revisions=moved_revisions(control_plane),
        emergency=wanted.emergency,
    )
