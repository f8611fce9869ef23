"""The port `GitForge`, on any forge that is a `ForgeHost`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from execution_workers.ports import BindingMove, Permission, Pin, StandingRepository
from execution_workers.providers.forges.bindings import (
    BindingsAction,
    MovedBindingAction,
    RemovedBindingAction,
    read_pins,
)
from execution_workers.providers.forges.git_errors import OF_ONE_REPOSITORY
from execution_workers.providers.forges.host import ForgeHost
from execution_workers.providers.forges.repositories import (
    ArchiveAction,
    ProtectionAction,
    RepositoryAction,
)
from execution_workers.providers.forges.seeding import SeedAction
from idp_kernel.errors import PlatformError
from idp_kernel.wire.worker import (
    AppEnvSubject,
    RepositoryWanted,
    SecretBindingWanted,
    SeedRepositories,
    Subject,
)


class HostedForge:
    """Repositories with their protections, seeds and bindings. Thread-safe."""

    def __init__(
        self,
        host: Callable[[], ForgeHost],
        installation_id: str,
        *,
        looking: Callable[[], ForgeHost] | None = None,
    ) -> None:
        """`host` gives the forge for one attempt, with a credential of its own where it has one;
        `looking` for what only reads, where that is another.
        """
        self._host = host
        self._looking = looking or host
        self._installation_id = installation_id

    def permissions(self) -> Sequence[Permission]:
        return self._looking().permissions()

    def repository(
        self, subject: Subject, wanted: RepositoryWanted, *, may_create: bool = True
    ) -> RepositoryAction:
        return RepositoryAction(self._host(), subject, wanted, may_create)

    def seed(self, body: SeedRepositories, wanted: RepositoryWanted) -> SeedAction:
        return SeedAction(self._host(), body, wanted)

    def protection(
        self, subject: Subject, wanted: RepositoryWanted, required_approvals: int
    ) -> ProtectionAction:
        return ProtectionAction(self._host(), subject, wanted, required_approvals)

    def archived(self, subject: Subject, wanted: RepositoryWanted) -> ArchiveAction:
        return ArchiveAction(self._host(), subject, wanted)

    def secret_bindings(
        self,
        subject: AppEnvSubject,
        repository: RepositoryWanted,
        bindings: Sequence[SecretBindingWanted],
    ) -> BindingsAction:
        return BindingsAction(self._host(), subject, repository, tuple(bindings))

    def moved_binding(self, move: BindingMove) -> MovedBindingAction:
        return MovedBindingAction(self._host(), move)

    def removed_binding(
        self,
        repository: RepositoryWanted,
        binding: SecretBindingWanted,
        asked: Mapping[str, object],
    ) -> RemovedBindingAction:
        return RemovedBindingAction(self._host(), repository, binding, asked)

    def standing(self, wanted: RepositoryWanted) -> StandingRepository | None:
        host = self._looking()
        found = host.find(wanted)
        if found is None:
            return None
        protection = found.protection()
        return StandingRepository(
            marker=found.marker,
            required_approvals=None if protection is None else protection.required_approvals,
            weaknesses=() if protection is None else protection.weaknesses,
            how_to_adopt=host.how_to_adopt(wanted, self._installation_id),
            is_archived=found.is_archived,
        )

    def pins(
        self, repository: RepositoryWanted, bindings: Sequence[SecretBindingWanted]
    ) -> Mapping[str, Pin]:
        return read_pins(self._looking(), repository, bindings, self._installation_id)

    def concerns_one(self, repository: RepositoryWanted, error: PlatformError) -> bool:
        if error.code not in OF_ONE_REPOSITORY:
            return False
        self._looking().find(repository)
        return True

    def is_followed_by(self, repository: RepositoryWanted, revision: str, later: str) -> bool:
        with self._looking().git(repository).copy(repository.default_branch) as copy:
            return copy.is_followed_by(revision, later)
