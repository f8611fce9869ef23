"""Secrets and their bindings, as references: where a value is kept, never the value."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from control_plane.domain.moves import Move, MoveTable
from control_plane.domain.rotation import (
    BY_SENSITIVITY,
    PolicyInForce,
    RotationPolicy,
    next_rotation_at,
    pause_after_failure,
)
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
        # However a rotation ends: the version that the bindings pin works before and after.
        Move("end_rotation", (SecretState.ROTATING,), SecretState.ACTIVE),
        Move("suspend", (SecretState.ACTIVE,), SecretState.SUSPENDED),
        Move("resume", (SecretState.SUSPENDED,), SecretState.ACTIVE),
        # With the provisioning that gave it its value.
        Move("undo", (SecretState.ACTIVE, SecretState.SUSPENDED), SecretState.DECLARED),
        # Nothing but the archive follows: a revoked secret never comes back.
        Move("revoke", (SecretState.ACTIVE, SecretState.SUSPENDED), SecretState.REVOKED),
        Move("archive", (SecretState.REVOKED,), SecretState.ARCHIVED),
    ),
)


_WITHOUT_VALUE = (SecretState.REVOKED, SecretState.ARCHIVED)


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
        Move(
            "undo",
            (SecretBindingState.ACTIVE, SecretBindingState.SUSPENDED),
            SecretBindingState.DECLARED,
        ),
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
    version: int | None = None
    """The version it pins."""


@dataclass(frozen=True)
class Secret:
    """A secret of one application environment with the binding that brings it there.

    `purpose`, `sensitivity` and `issuer` are names of the wire contract; no rule here reads them.
    The issuer never changes: what it made could not be taken back by another.
    """

    id: str
    application_environment_id: str
    name: str
    purpose: str
    sensitivity: str
    issuer: str
    state: SecretState
    store_path: str | None
    version: int | None
    binding: SecretBinding
    created_at: datetime
    policy: RotationPolicy = BY_SENSITIVITY
    """What it says of its rotation, apart from its sensitivity."""
    rotated_at: datetime | None = None
    """When the present version came into use."""
    next_rotation_at: datetime | None = None
    """When the schedule rotates it."""

    @property
    def policy_in_force(self) -> PolicyInForce:
        return self.policy.in_force(self.sensitivity)

    @property
    def has_value(self) -> bool:
        """Whether the store keeps a value of it that is in use or may be again."""
        return self.version is not None and not self.is_over

    @property
    def is_over(self) -> bool:
        """Whether it was revoked, and never comes back."""
        return self.state in _WITHOUT_VALUE

    def moved(self, action: str) -> Secret:
        """The secret alone after `action`; its binding stays."""
        return replace(self, state=SECRET_MOVES.apply(action, self.state, subject=self.name))

    def with_binding_moved(self, action: str) -> Secret:
        """The binding after `action`. A binding gets active only when its secret is."""
        if action in ("activate", "resume"):
            check_binding_may_activate(self)
        state = SECRET_BINDING_MOVES.apply(action, self.binding.state, subject=f"of {self.name}")
        return replace(self, binding=replace(self.binding, state=state))

    def with_binding_following(self, action: str) -> Secret:
        """The secret after `action`, its binding too unless that is there already."""
        moved = self.moved(action)
        followed = SECRET_BINDING_MOVES.named(action)
        is_there = self.binding.state is followed.target
        return moved if is_there else moved.with_binding_moved(action)

    def with_end_begun(self) -> Secret:
        """Suspended, its binding too: nothing rotates what is about to end. Raises `MoveRefused`
        unless it may be revoked.
        """
        SECRET_MOVES.apply("revoke", self.state, subject=self.name)
        is_active = self.state is SecretState.ACTIVE
        return self.with_binding_following("suspend") if is_active else self

    def with_end_called_off(self, suspended: Collection[str]) -> Secret:
        """Active again, as far as secret and binding are among those that its end suspended."""
        secret = self
        if self.id in suspended and self.state is SecretState.SUSPENDED:
            secret = self.moved("resume")
        is_bound = self.binding.state is SecretBindingState.SUSPENDED
        if self.binding.id in suspended and is_bound and secret.state is SecretState.ACTIVE:
            secret = secret.with_binding_moved("resume")
        return secret

    def revoked(self) -> Secret:
        """With its binding, for good: it is rotated no more."""
        revoked = self.moved("revoke").with_binding_moved("revoke")
        return replace(revoked, next_rotation_at=None)

    def with_provisioning_undone(self) -> Secret:
        """Declared as before it had a value, its binding too; what it says of rotations stays."""
        undone = self.moved("undo").with_binding_moved("undo")
        return replace(
            undone,
            binding=replace(undone.binding, version=None),
            store_path=None,
            version=None,
            rotated_at=None,
            next_rotation_at=None,
        )

    def at_version(self, version: int, now: datetime) -> Secret:
        """With that version in use from now on, pinned by its binding."""
        is_another = self.version is not None
        policy = self.policy.of_next_credential() if is_another else self.policy
        bound = replace(self.binding, version=version)
        secret = replace(
            self, version=version, binding=bound, rotated_at=now, next_rotation_at=None
        )
        return secret.with_policy(policy)

    def with_policy(self, policy: RotationPolicy) -> Secret:
        """Under that policy, its next rotation included; one that was brought forward stays so."""
        before, following = self._regular(self.policy), self._regular(policy)
        brought = self.next_rotation_at
        if (
            brought is not None
            and before is not None
            and following is not None
            and brought < before
        ):
            following = min(brought, following)
        return replace(self, policy=policy, next_rotation_at=following)

    def put_off(self, now: datetime) -> Secret:
        """Left alone by the schedule for a while, after a rotation that came to nothing."""
        if self.next_rotation_at is None:
            return self
        earliest = now + pause_after_failure(self.policy_in_force.interval)
        return replace(self, next_rotation_at=max(self.next_rotation_at, earliest))

    def left_to_a_person(self, now: datetime) -> Secret:
        """Left alone by the schedule for a whole interval: only a person has its next value."""
        if self.next_rotation_at is None:
            return self
        earliest = now + self.policy_in_force.interval
        return replace(self, next_rotation_at=max(self.next_rotation_at, earliest))

    def brought_forward(self, now: datetime) -> Secret:
        """Rotated soon, though the present version is new: the one before it was not ended."""
        pause = pause_after_failure(self.policy_in_force.interval)
        return replace(self, next_rotation_at=now + pause)

    def _regular(self, policy: RotationPolicy) -> datetime | None:
        """When that policy alone has it rotated next."""
        if self.rotated_at is None:
            return None
        interval = policy.in_force(self.sensitivity).interval
        return next_rotation_at(self.rotated_at, interval, self.id)

    def check_binding_is_active(self) -> None:
        """A rotation moves the binding, which a suspended one does not let happen."""
        if self.binding.state is not SecretBindingState.ACTIVE:
            raise Conflict(
                f"The binding of secret {self.name} is {self.binding.state} and is not moved to"
                " another version; resume it first.",
                code="secret_binding_not_active",
                details={
                    "current": self.binding.state,
                    "needed": [SecretBindingState.ACTIVE],
                    "bindingId": self.binding.id,
                },
            )

    def check_has_value(self) -> int:
        """The version in use. Raises `Conflict` (`secret_without_value`) when there is none."""
        if self.version is None or not self.has_value:
            raise Conflict(
                f"Secret {self.name} is {self.state} and has no value in the store.",
                code="secret_without_value",
                details={"current": self.state},
            )
        return self.version


def check_binding_may_activate(secret: Secret) -> None:
    """A binding needs an active secret."""
    if secret.state is not SecretState.ACTIVE:
        raise Conflict(
            f"The binding of secret {secret.name} cannot become Active while the secret is"
            f" {secret.state}; the secret must be Active first.",
            code="secret_not_active",
            details={"current": secret.state, "needed": [SecretState.ACTIVE]},
        )
