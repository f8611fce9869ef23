"""What execution-workers ask of outside parties; one folder in `providers/` for each that can.

An `Action` is one item's do and undo at its providers. Both look first, so repeating either
succeeds, and both leave alone what is not the entity's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from idp_kernel.errors import PlatformError, ProviderRejected
from idp_kernel.wire.agent import Reconciliation
from idp_kernel.wire.worker import (
    AppEnvSubject,
    EffectKind,
    RepositoryWanted,
    SecretBindingWanted,
    SeedRepositories,
    Subject,
)
from idp_kernel.workflows import ProviderEvent

References = Mapping[str, str | int]
Properties = Mapping[str, str]
"""A credential as its version in the store holds it. It stays in local variables."""


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
    """To be called right before each change at the provider; raises `Conflict`: `fenced_off` when a
    newer run has taken over or the run is over, `deadline_passed` when its request's time is."""
    generation: int = 1
    """Of the request: an undo of it begins the next one."""

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


class Deed(Protocol):
    """One item's do, for good."""

    @property
    def item(self) -> str:
        """`<kind>/<id>`, the name of the item in the ledger and in answers."""
        ...

    @property
    def locks(self) -> Sequence[str]:
        """The things that nobody else works on meanwhile, whatever item it is for them; who locks
        several names them in one order.
        """
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


class Action(Deed, Protocol):
    """One item's do and undo."""

    def undo(self, attempt: Attempt) -> Undone:
        """Removes it if the attempt's request made it."""
        ...


@dataclass(frozen=True)
class StandingRepository:
    """A repository as it is now."""

    marker: Marker
    required_approvals: int | None
    """Of the protection of the default branch; None while that is unprotected."""
    weaknesses: tuple[str, ...] = ()
    """What the protection lets happen though the platform's own would not; in words."""
    how_to_adopt: str = ""
    """What an administrator of the forge does so that the platform takes it over, one sentence;
    empty where there is no way.
    """
    is_archived: bool = False
    """Whether nobody can change anything in it any more."""


@dataclass(frozen=True)
class Pin:
    """What a binding's manifest says on the default branch."""

    version: int | None
    """None when there is no manifest of this binding, or it names no single version."""
    found: str
    """The same in words."""
    is_there: bool = True
    """Whether a manifest of this binding is there at all, whatever it names."""


@dataclass(frozen=True)
class Permission:
    """Something that the platform's credential at a provider has to be allowed."""

    name: str
    """In the provider's own words, as far as it has some."""
    granted: bool | None
    """None when the provider does not tell without a change."""
    how_to_grant: str
    """What a person does at the provider, one sentence; told while it is not known to be granted.
    """


class Permitted(Protocol):
    """Any port: what its implementations have in common."""

    def permissions(self) -> Sequence[Permission]:
        """As `GitForge.permissions`."""
        ...


class GitForge(Protocol):
    """Keeps repositories and guards their branches."""

    def permissions(self) -> Sequence[Permission]:
        """What the platform's credential needs here and whether it has it; only reads.

        Raises as other calls do when the provider is away or refuses the credential itself.
        """
        ...

    def repository(
        self, subject: Subject, wanted: RepositoryWanted, *, may_create: bool = True
    ) -> Action:
        """One for an application environment is seeded at once, others are empty. Where none may be
        created it has to be there (`repository_missing`).

        References: `repositoryId`, `name`, `owner`, `url`, and `revision` (the seed commit).
        """
        ...

    def seed(self, body: SeedRepositories, wanted: RepositoryWanted) -> Action:
        """The first files, in one commit. References: `repositoryId`, `revision`."""
        ...

    def protection(
        self, subject: Subject, wanted: RepositoryWanted, required_approvals: int
    ) -> Action:
        """Protects the default branch, the platform's bot exempted. References: `branch`."""
        ...

    def archived(self, subject: Subject, wanted: RepositoryWanted) -> Deed:
        """It keeps all that it has and takes no more, from nobody. References: `name`, `owner`;
        none when there is no such repository.
        """
        ...

    def secret_bindings(
        self,
        subject: AppEnvSubject,
        repository: RepositoryWanted,
        bindings: Sequence[SecretBindingWanted],
    ) -> Action:
        """All bindings as manifests in one commit. References: `revision`."""
        ...

    def moved_binding(self, move: BindingMove) -> Deed:
        """A binding's pin, moved in one commit with its neighbours'. References: `revision`,
        `version`.
        """
        ...

    def removed_binding(
        self,
        repository: RepositoryWanted,
        binding: SecretBindingWanted,
        asked: Mapping[str, object],
    ) -> Deed:
        """A binding's manifest, at whichever version, removed in one commit. References:
        `revision`; none when there is no such repository. `asked` is the whole call, as JSON.
        """
        ...

    def standing(self, wanted: RepositoryWanted) -> StandingRepository | None:
        """None when there is no such repository."""
        ...

    def pins(
        self, repository: RepositoryWanted, bindings: Sequence[SecretBindingWanted]
    ) -> Mapping[str, Pin]:
        """By binding id, which version each one's manifest pins, whatever the binding's own
        `version` says. Nothing a team wrote is parsed for it.
        """
        ...

    def concerns_one(self, repository: RepositoryWanted, error: PlatformError) -> bool:
        """Whether an error of reading the repository is its own, as the forge answers for it.

        Raises `Unavailable` when the forge is away.
        """
        ...

    def is_followed_by(self, repository: RepositoryWanted, revision: str, later: str) -> bool:
        """Whether the default branch has `later`, and that descends from `revision`."""
        ...


@dataclass(frozen=True)
class BindingMove:
    """A binding that shall pin another version, and those that move with it."""

    subject: AppEnvSubject
    repository: RepositoryWanted
    binding: SecretBindingWanted
    """At the version it shall pin."""
    neighbours: tuple[SecretBindingWanted, ...]
    """All bindings of the secret in the repository, this one too."""
    replaces_version: int
    """What the undo pins again."""
    asked: Mapping[str, object]
    """The whole call, as JSON."""


@dataclass(frozen=True)
class Rotation:
    """Who rotates a secret, or did so last, and which version that replaces."""

    request_id: str
    replaces_version: int
    takes_version: int | None = None
    """The version of a person's that becomes the new credential; None when one is made for it."""


@dataclass(frozen=True)
class StoredSecret:
    """A secret as its metadata tells: no value."""

    marker: Marker
    rotation: Rotation | None
    version: int
    """The newest; 0 before the first value."""
    metadata_version: int
    live: Mapping[int, datetime]
    """The versions that can be read, each with the time it was written."""
    kept: frozenset[int]
    """The versions that have not ended, as `SecretStore.end` ends them; some may be deleted."""


@dataclass(frozen=True)
class StoredValue:
    """One version's content."""

    properties: Properties = field(repr=False)
    written_by: str
    """The request that wrote it; empty when a person did."""


class SecretStore(Protocol):
    """Keeps secret values; one path for each secret, one version for each credential."""

    @property
    def provider(self) -> str:
        """Its name in errors."""
        ...

    def permissions(self) -> Sequence[Permission]:
        """As `GitForge.permissions`."""
        ...

    def path_of(self, subject: AppEnvSubject, name: str) -> str:
        """Where the store keeps the secret, below its mount."""
        ...

    def let_team_in(self, team: str, attempt: Attempt) -> None:
        """Members of the team may read their own secrets, its maintainers also write them."""
        ...

    def find(self, path: str) -> StoredSecret | None:
        """None when there is no such secret."""
        ...

    def mark(
        self, path: str, found: StoredSecret | None, marker: Marker, rotation: Rotation | None
    ) -> None:
        """Raises `Unavailable` when the metadata is not as it was found any more."""
        ...

    def write(
        self, path: str, properties: Properties, *, written_by: str, newest_version: int
    ) -> int:
        """The new version's number; `Unavailable` when the newest is another by now."""
        ...

    def read(self, path: str, version: int) -> StoredValue | None:
        """None when the version is missing, deleted or destroyed."""
        ...

    def end(self, path: str, versions: Sequence[int]) -> None:
        """Nobody reads the versions any more; ended ones are fine. For good, unless a setting lets
        the store keep what a person may bring back.
        """
        ...

    def delete(self, path: str) -> None:
        """The secret with all its versions; one that is gone is fine."""
        ...


@dataclass(frozen=True)
class Sessions:
    """How many use a secret's credentials just now."""

    on_new: int
    on_old: int


@dataclass(frozen=True)
class Ended:
    """What the end of a secret's credentials brought about at their issuer."""

    logins: int
    """How many were let in until then."""
    sessions: int
    """How many ended with them."""
    kept_logins: int = 0
    """How many stand, disabled: somebody's data hangs on them."""


class CredentialIssuer(Protocol):
    """Makes credentials and ends them. A credential is told apart by its properties."""

    def permissions(self) -> Sequence[Permission]:
        """As `GitForge.permissions`."""
        ...

    @property
    def takes_values_of_people(self) -> bool:
        """Whether what a person writes into the store is a credential as good as a drafted one, and
        may be one that nobody here could draft.
        """
        ...

    def draft(
        self,
        secret_id: str,
        in_use: Mapping[int, Properties],
        *,
        team: str,
        emergency: bool = False,
    ) -> Properties:
        """A credential that opens nothing until `install`, and takes the place of none in use,
        given by its version; without properties where the store has them no more. `team` is whose
        secret it is. Changes nothing.

        Raises `ProviderRejected`: `no_free_login` when each place is in use,
        `elder_credential_in_use` while somebody uses what had the place before; not in an
        emergency, when that use will be ended.
        """
        ...

    def install(
        self,
        secret_id: str,
        properties: Properties,
        version: int,
        attempt: Attempt,
        *,
        team: str,
        emergency: bool = False,
    ) -> None:
        """Lets the credential in, in the place of an elder one; one that is in stays as it is.
        `properties` are as the store has them, where the team may have written them; `team` is
        whose secret it is, as the catalogue has it.

        Raises as `draft` does, and `ProviderRejected`: `login_replaced` when a later version has
        the place, `foreign_owner` when the properties name what is not the team's; in an emergency
        whatever use the place has is ended.
        """
        ...

    def verify(self, properties: Properties, *, team: str) -> str | None:
        """Uses the credential once; what is wrong with it as that team's, None when it works."""
        ...

    def problem_with(self, secret_id: str, version: int) -> str | None:
        """What is wrong with that version's credential, as far as that is known without using
        it; None when it is let in.
        """
        ...

    def sessions(self, secret_id: str, properties: Properties) -> Sessions | None:
        """Who uses this credential and the one it replaces; None when nobody can know."""
        ...

    def retire_others(
        self,
        secret_id: str,
        properties: Properties,
        version: int,
        attempt: Attempt,
        *,
        team: str,
    ) -> int:
        """Ends every credential of the secret but this version's; how many sessions ended with
        them.

        Raises `ProviderRejected`: `login_replaced` when one of them is a later version's, so that
        what was to stay is not the newest any more; `foreign_owner` as `install` does.
        """
        ...

    def end(self, secret_id: str, attempt: Attempt) -> Ended:
        """Ends every credential of the secret, whatever its version, and removes all that it has
        at the issuer unless somebody's data hangs on it.
        """
        ...

    def logins_let_in(self, secret_id: str) -> Sequence[str]:
        """The logins of the secret that the issuer lets in, by name."""
        ...

    def remove(self, secret_id: str, attempt: Attempt) -> bool:
        """Removes all that the secret has at the issuer; whether it could, since somebody's data
        may hang on it.
        """
        ...


class GitOpsAgent(Protocol):
    """Reconciles what repositories say."""

    def permissions(self) -> Sequence[Permission]:
        """As `GitForge.permissions`."""
        ...

    def reconciliation(self, owner: str, name: str) -> Reconciliation | None:
        """What the agent saw last; None while it does not know the repository."""
        ...


def secret_lock(secret_id: str) -> str:
    """What whoever works on a secret locks: its credentials, versions and bindings are one thing,
    since what may be changed of one is read from the others.
    """
    return f"secret/{secret_id}"


def foreign_owner(provider: str, what: str, *, otherwise: str = "") -> ProviderRejected:
    """Somebody else's thing stands where ours should; `otherwise` is one more way out of it."""
    message = (
        f"{provider} has {what} already and it is not marked as this platform's for this entity. "
        "Remove or rename it there, or let the entity have another name."
    )
    return ProviderRejected(f"{message} {otherwise}".rstrip(), code="foreign_owner")
