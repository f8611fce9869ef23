"""What execution-workers ask of outside parties; one folder in `providers/` for each that can.

An `Action` is one item's do and undo at one provider. Both look first, so repeating either
succeeds, and both leave alone what is not the entity's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from idp_kernel.errors import ProviderRejected
from idp_kernel.wire.agent import Reconciliation
from idp_kernel.wire.worker import (
    AppEnvSubject,
    EffectKind,
    RepositoryWanted,
    SecretBindingWanted,
    SecretWanted,
)
from idp_kernel.workflows import ProviderEvent

References = Mapping[str, str | int]


@dataclass(frozen=True)
class Marker:
    """Who made a thing: installation and entity decide adoption, the request decides undo."""

    installation_id: str
    entity_id: str
    request_id: str

    def is_of_same_entity(self, other: Marker) -> bool:
        """Whether both mark the same entity of the same installation."""
        return (self.installation_id, self.entity_id) == (other.installation_id, other.entity_id)


@dataclass(frozen=True)
class Attempt:
    """On whose behalf an action acts."""

    installation_id: str
    request_id: str
    check_fence: Callable[[], None]
    """To be called right before each change at the provider; raises `Conflict` (`fenced_off`)
    when a newer run has taken over."""

    def marker(self, entity_id: str) -> Marker:
        return Marker(self.installation_id, entity_id, self.request_id)


@dataclass(frozen=True)
class Made:
    """A thing is there as wanted."""

    references: References
    created_by: str
    """The request in its marker; empty when the marker names none."""
    created: bool
    """By this attempt, as against found."""
    event: ProviderEvent | None = None
    """What is to be told of it: by the request that did it, also if it had to look for that."""


@dataclass(frozen=True)
class Undone:
    """What became of a thing that was to go: `UNDONE`, `ABSENT` or `KEPT`."""

    effect: EffectKind
    references: References


class Action(Protocol):
    """One item's do and undo."""

    @property
    def item(self) -> str:
        """`<kind>/<id>`, the name of the item in the ledger and in answers."""
        ...

    @property
    def wanted(self) -> Mapping[str, object]:
        """All that was asked for, as JSON; the same key with another is refused."""
        ...

    def do(self, attempt: Attempt) -> Made:
        """Makes it as wanted, or finds it so.

        Raises `ProviderRejected` (`foreign_owner`) when somebody else's stands in its place.
        """
        ...

    def undo(self, attempt: Attempt) -> Undone:
        """Removes it if the attempt's request made it."""
        ...


class GitForge(Protocol):
    """Keeps repositories and guards their branches."""

    def repository(self, subject: AppEnvSubject, wanted: RepositoryWanted) -> Action:
        """References: `repositoryId`, `name`, `owner`, `url`, `revision` (the seed commit)."""
        ...

    def protection(
        self, subject: AppEnvSubject, wanted: RepositoryWanted, required_approvals: int
    ) -> Action:
        """Protects the default branch, the platform's bot exempted. References: `branch`."""
        ...

    def secret_bindings(
        self,
        subject: AppEnvSubject,
        repository: RepositoryWanted,
        bindings: Sequence[SecretBindingWanted],
    ) -> Action:
        """All bindings as manifests in one commit. References: `revision`."""
        ...


class SecretStore(Protocol):
    """Keeps secret values, which never leave it and the action that writes them."""

    def secret(self, subject: AppEnvSubject, wanted: SecretWanted) -> Action:
        """References: `secretId`, `storePath` (below the store's mount), `version`."""
        ...


class GitOpsAgent(Protocol):
    """Reconciles what repositories say."""

    def reconciliation(self, owner: str, name: str) -> Reconciliation | None:
        """What the agent saw last; None while it does not know the repository."""
        ...


def foreign_owner(provider: str, what: str) -> ProviderRejected:
    """Somebody else's thing stands where ours should."""
    return ProviderRejected(
        f"{provider} has {what} already and it is not marked as this platform's for this entity. "
        "Remove or rename it there, or let the entity have another name.",
        code="foreign_owner",
    )
