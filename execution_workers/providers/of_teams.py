"""One port, several parties: each team has the one that the settings choose for it.

Whose a call is says the owner of its repository, which is the team's slug; the routes have compared
it with the caller's team.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from execution_workers.ports import (
    Action,
    BindingMove,
    Deed,
    GitForge,
    GitOpsAgent,
    Permission,
    Permitted,
    Pin,
    StandingRepository,
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

    def repository(
        self, subject: Subject, wanted: RepositoryWanted, *, may_create: bool = True
    ) -> Action:
        return self._of(wanted.owner).repository(subject, wanted, may_create=may_create)

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

    def moved_binding(self, move: BindingMove) -> Deed:
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
