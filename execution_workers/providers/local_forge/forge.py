"""The port `GitForge` on the embedded default's forge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from execution_workers.ports import BindingMove, Permission, Pin, StandingRepository
from execution_workers.providers.local_forge.bindings import (
    BindingsAction,
    MovedBindingAction,
    read_pins,
)
from execution_workers.providers.local_forge.client import ForgeClient
from execution_workers.providers.local_forge.errors import OF_ONE_REPOSITORY
from execution_workers.providers.local_forge.repositories import ProtectionAction, RepositoryAction
from execution_workers.providers.local_forge.seeding import SeedAction
from execution_workers.providers.local_forge.standing import default_protection, marker_of
from idp_kernel.errors import PlatformError
from idp_kernel.wire.worker import (
    AppEnvSubject,
    RepositoryWanted,
    SecretBindingWanted,
    SeedRepositories,
    Subject,
)


class LocalForge:
    """Repositories with their protections, seeds and bindings. Thread-safe."""

    def __init__(self, client: ForgeClient, installation_id: str) -> None:
        self._client = client
        self._installation_id = installation_id

    def permissions(self) -> Sequence[Permission]:
        caller = self._client.caller()
        return (
            Permission(
                "create, protect and delete repositories, and push past protections",
                caller.administers,
                f"FORGE_TOKEN_FILE has to hold the bot's token; it is that of {caller.name}.",
            ),
        )

    def repository(self, subject: Subject, wanted: RepositoryWanted) -> RepositoryAction:
        return RepositoryAction(self._client, subject, wanted)

    def seed(self, body: SeedRepositories, wanted: RepositoryWanted) -> SeedAction:
        return SeedAction(self._client, body, wanted)

    def protection(
        self, subject: Subject, wanted: RepositoryWanted, required_approvals: int
    ) -> ProtectionAction:
        return ProtectionAction(self._client, subject, wanted, required_approvals)

    def secret_bindings(
        self,
        subject: AppEnvSubject,
        repository: RepositoryWanted,
        bindings: Sequence[SecretBindingWanted],
    ) -> BindingsAction:
        return BindingsAction(self._client, subject, repository, tuple(bindings))

    def moved_binding(self, move: BindingMove) -> MovedBindingAction:
        return MovedBindingAction(self._client, move)

    def standing(self, wanted: RepositoryWanted) -> StandingRepository | None:
        found = self._client.repository(wanted.owner, wanted.name)
        if found is None:
            return None
        protection = default_protection(found, wanted)
        approvals = None if protection is None else protection.required_approvals
        return StandingRepository(marker_of(found.marker), approvals)

    def pins(
        self, repository: RepositoryWanted, bindings: Sequence[SecretBindingWanted]
    ) -> Mapping[str, Pin]:
        return read_pins(self._client, repository, bindings, self._installation_id)

    def concerns_one(self, repository: RepositoryWanted, error: PlatformError) -> bool:
        if error.code not in OF_ONE_REPOSITORY:
            return False
        self._client.repository(repository.owner, repository.name)
        return True

    def is_followed_by(self, repository: RepositoryWanted, revision: str, later: str) -> bool:
        remote = self._client.git(repository.owner, repository.name)
        with remote.copy(repository.default_branch) as copy:
            return copy.is_followed_by(revision, later)
