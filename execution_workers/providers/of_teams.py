"""One port, several parties: each team has the one that the settings choose for it.

Whose a call is says the owner of its repository, which is the team's slug, or the place of its
secret, which begins with `teams/<team>/`; the routes have compared both with the caller's team.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from execution_workers.ports import (
    Action,
    Attempt,
    BindingMove,
    Deed,
    GitForge,
    GitOpsAgent,
    Marker,
    Permission,
    Permitted,
    Pin,
    Properties,
    Rotation,
    SecretStore,
    StandingRepository,
    StoredSecret,
    StoredValue,
)
from idp_kernel.errors import PlatformError
from idp_kernel.wire.agent import Reconciliation
from idp_kernel.wire.worker import (
    AppEnvSubject,
    RepositoryWanted,
    SecretBindingWanted,
    SeedRepositories,
    Subject,
)

Party = TypeVar("Party", bound=Permitted)


class _OfTeams(Generic[Party]):
    """Knows whose party is which."""

    def __init__(self, default: Party, of_teams: Mapping[str, Party]) -> None:
        self._default = default
        self._of_teams = dict(of_teams)

    def _of(self, team: str) -> Party:
        return self._of_teams.get(team, self._default)

    def permissions(self) -> Sequence[Permission]:
        """Those of all, each party once."""
        parties = {id(each): each for each in (self._default, *self._of_teams.values())}
        return [needed for each in parties.values() for needed in each.permissions()]


class ForgeOfTeams(_OfTeams[GitForge]):
    """The port `GitForge`, each repository at its owner's forge."""

    def repository(self, subject: Subject, wanted: RepositoryWanted) -> Action:
        return self._of(wanted.owner).repository(subject, wanted)

    def seed(self, body: SeedRepositories, wanted: RepositoryWanted) -> Action:
        return self._of(wanted.owner).seed(body, wanted)

    def protection(
        self, subject: Subject, wanted: RepositoryWanted, required_approvals: int
    ) -> Action:
        return self._of(wanted.owner).protection(subject, wanted, required_approvals)

    def archived(self, subject: Subject, wanted: RepositoryWanted) -> Deed:
        return self._of(wanted.owner).archived(subject, wanted)

    def secret_bindings(
        self,
        subject: AppEnvSubject,
        repository: RepositoryWanted,
        bindings: Sequence[SecretBindingWanted],
    ) -> Action:
        return self._of(repository.owner).secret_bindings(subject, repository, bindings)

    def moved_binding(self, move: BindingMove) -> Action:
        return self._of(move.repository.owner).moved_binding(move)

    def removed_binding(
        self,
        repository: RepositoryWanted,
        binding: SecretBindingWanted,
        asked: Mapping[str, object],
    ) -> Deed:
        return self._of(repository.owner).removed_binding(repository, binding, asked)

    def standing(self, wanted: RepositoryWanted) -> StandingRepository | None:
        return self._of(wanted.owner).standing(wanted)

    def pins(
        self, repository: RepositoryWanted, bindings: Sequence[SecretBindingWanted]
    ) -> Mapping[str, Pin]:
        return self._of(repository.owner).pins(repository, bindings)

    def concerns_one(self, repository: RepositoryWanted, error: PlatformError) -> bool:
        return self._of(repository.owner).concerns_one(repository, error)

    def is_followed_by(self, repository: RepositoryWanted, revision: str, later: str) -> bool:
        return self._of(repository.owner).is_followed_by(repository, revision, later)


class AgentOfTeams(_OfTeams[GitOpsAgent]):
    """The port `GitOpsAgent`, each repository at its owner's agent."""

    def reconciliation(self, owner: str, name: str) -> Reconciliation | None:
        return self._of(owner).reconciliation(owner, name)


class StoreOfTeams(_OfTeams[SecretStore]):
    """The port `SecretStore`, each secret at its team's store."""

    @property
    def provider(self) -> str:
        """The names of all that teams have."""
        names = [each.provider for each in (self._default, *self._of_teams.values())]
        return " or ".join(dict.fromkeys(names))

    def path_of(self, subject: AppEnvSubject, name: str) -> str:
        return self._of(subject.team).path_of(subject, name)

    def let_team_in(self, team: str, attempt: Attempt) -> None:
        self._of(team).let_team_in(team, attempt)

    def find(self, path: str) -> StoredSecret | None:
        return self._at(path).find(path)

    def mark(
        self, path: str, found: StoredSecret | None, marker: Marker, rotation: Rotation | None
    ) -> None:
        self._at(path).mark(path, found, marker, rotation)

    def write(
        self, path: str, properties: Properties, *, written_by: str, newest_version: int
    ) -> int:
        return self._at(path).write(
            path, properties, written_by=written_by, newest_version=newest_version
        )

    def read(self, path: str, version: int) -> StoredValue | None:
        return self._at(path).read(path, version)

    def end(self, path: str, versions: Sequence[int]) -> None:
        self._at(path).end(path, versions)

    def delete(self, path: str) -> None:
        self._at(path).delete(path)

    def _at(self, path: str) -> SecretStore:
        return self._of(path.split("/")[1])
