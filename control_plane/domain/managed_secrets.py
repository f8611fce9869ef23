"""Secrets and their bindings, as references: where a value is kept, never the value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from control_plane.domain.moves import Move, MoveTable
from idp_kernel.errors import Conflict


class SecretState(StrEnum):
    DECLARED = "Declared"
    PROVISIONING = "Provisioning"
    ACTIVE = "Active"
    ROTATING = "Rotating"
    SUSPENDED = "Suspended"
    REVOKED = "Revoked"
    ARCHIVED = "Archived"


SECRET_MOVES = MoveTable(
    "Secret",
    SecretState.DECLARED,
    (
        Move("provision", (SecretState.DECLARED,), SecretState.PROVISIONING),
        Move("give_up_provisioning", (SecretState.PROVISIONING,), SecretState.DECLARED),
        Move("activate", (SecretState.PROVISIONING,), SecretState.ACTIVE),
        Move("rotate", (SecretState.ACTIVE,), SecretState.ROTATING),
        Move("end_rotation", (SecretState.ROTATING,), SecretState.ACTIVE),
        Move("suspend", (SecretState.ACTIVE,), SecretState.SUSPENDED),
        Move("resume", (SecretState.SUSPENDED,), SecretState.ACTIVE),
        # Nothing but the archive follows: a revoked secret never comes back.
        Move("revoke", (SecretState.ACTIVE, SecretState.SUSPENDED), SecretState.REVOKED),
        Move("archive", (SecretState.REVOKED,), SecretState.ARCHIVED),
    ),
)


class SecretBindingState(StrEnum):
    DECLARED = "Declared"
    PROVISIONING = "Provisioning"
    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    REVOKED = "Revoked"


SECRET_BINDING_MOVES = MoveTable(
    "Secret binding",
    SecretBindingState.DECLARED,
    (
        Move("provision", (SecretBindingState.DECLARED,), SecretBindingState.PROVISIONING),
        Move(
            "give_up_provisioning",
            (SecretBindingState.PROVISIONING,),
            SecretBindingState.DECLARED,
        ),
        Move("activate", (SecretBindingState.PROVISIONING,), SecretBindingState.ACTIVE),
        Move("suspend", (SecretBindingState.ACTIVE,), SecretBindingState.SUSPENDED),
        Move("resume", (SecretBindingState.SUSPENDED,), SecretBindingState.ACTIVE),
        Move("revoke", (SecretBindingState.SUSPENDED,), SecretBindingState.REVOKED),
    ),
)


@dataclass(frozen=True)
class SecretBinding:
    """Carries a secret into an application environment."""

    id: str
    secret_id: str
    application_environment_id: str
    state: SecretBindingState


@dataclass(frozen=True)
class Secret:
    """A secret of one application environment with the binding that brings it there.

    `purpose` and `sensitivity` are names of the wire contract; no rule here reads them.
    """

    id: str
    application_environment_id: str
    name: str
    purpose: str
    sensitivity: str
    state: SecretState
    store_path: str | None
    version: int | None
    binding: SecretBinding

    def moved(self, action: str) -> Secret:
        """The secret alone after `action`; its binding stays."""
        return replace(self, state=SECRET_MOVES.apply(action, self.state, subject=self.name))

    def with_binding_moved(self, action: str) -> Secret:
        """The binding after `action`. A binding gets active only when its secret is."""
        if action == "activate":
            check_binding_may_activate(self)
        state = SECRET_BINDING_MOVES.apply(action, self.binding.state, subject=f"of {self.name}")
        return replace(self, binding=replace(self.binding, state=state))


def check_binding_may_activate(secret: Secret) -> None:
    """A binding needs an active secret."""
    if secret.state is not SecretState.ACTIVE:
        raise Conflict(
            f"The binding of secret {secret.name} cannot become Active while the secret is"
            f" {secret.state}; the secret must be Active first.",
            code="secret_not_active",
            details={"current": secret.state, "needed": [SecretState.ACTIVE]},
        )
