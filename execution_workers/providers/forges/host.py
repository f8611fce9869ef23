"""What the platform asks of a Git forge beside git itself. One implementation for each forge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from execution_workers.ports import Attempt, Marker, Permission
from execution_workers.providers.forges.git import GitRemote
from execution_workers.providers.forges.pull_requests import ByPullRequest
from idp_kernel.wire.worker import RepositoryWanted

NOBODY = Marker("", "", "")
"""Of what carries no marker of any platform."""


@dataclass(frozen=True)
class HostedProtection:
    """The protection of a repository's default branch."""

    branch: str
    required_approvals: int
    marker: Marker
    """Whose it is, as far as the protection itself bears it out."""
    weaknesses: tuple[str, ...] = ()
    """What it lets happen though the platform's own would not; in words."""


@dataclass(frozen=True)
class HostedRepository:
    """A repository as the forge has it."""

    owner: str
    name: str
    url: str
    """For git."""
    marker: Marker
    default_branch: str
    """As the forge has it, which of an empty one may be another than the first push makes."""
    protection: Callable[[], HostedProtection | None]
    """None while the wanted default branch is unprotected. Asks the forge where it told nothing of
    it with the repository.
    """
    protection_mark: Marker = NOBODY
    """Whose protection the repository says it has; it may outlive that."""
    is_archived: bool = False
    """Whether nobody can change anything in it any more."""


class ForgeHost(Protocol):
    """A forge, for one attempt. Errors are raised by its error table."""

    @property
    def provider(self) -> str:
        """Its name in errors."""
        ...

    @property
    def by_pull_request(self) -> ByPullRequest | None:
        """How the platform's commits get onto a protected branch that it may not push to; None
        where it may.
        """
        ...

    def permissions(self) -> Sequence[Permission]:
        """As `GitForge.permissions`."""
        ...

    def full_name(self, wanted: RepositoryWanted) -> str:
        """`<owner>/<name>`, as the forge knows it."""
        ...

    def code_owners(self, team: str) -> str:
        """The line of a CODEOWNERS file that gives everything to the team."""
        ...

    def how_to_adopt(self, wanted: RepositoryWanted, installation_id: str) -> str:
        """What an administrator of the forge does so that the platform takes over a repository it
        did not make, one sentence; empty where there is no way.
        """
        ...

    def find(self, wanted: RepositoryWanted) -> HostedRepository | None:
        """None when there is no such repository."""
        ...

    def create(self, wanted: RepositoryWanted, attempt: Attempt) -> HostedRepository | None:
        """The new, empty repository, marked from its first instant; None when somebody else was
        faster.
        """
        ...

    def let_team_in(self, wanted: RepositoryWanted, attempt: Attempt) -> None:
        """Members of the owning team may push branches and review; repeating it changes nothing."""
        ...

    def delete(self, wanted: RepositoryWanted, attempt: Attempt) -> None:
        """One that is gone already is fine."""
        ...

    def archive(self, wanted: RepositoryWanted, attempt: Attempt) -> None:
        """It keeps all that it has and takes no more; one that is archived already is fine."""
        ...

    def protect(
        self, wanted: RepositoryWanted, required_approvals: int, marker: Marker, attempt: Attempt
    ) -> None:
        """Protects the default branch, or puts that in the place of the former protection: only
        the platform pushes, nobody forces, everybody else comes by a reviewed pull request.
        """
        ...

    def unprotect(self, wanted: RepositoryWanted, attempt: Attempt) -> None:
        """A protection that is gone already is fine."""
        ...

    def git(self, wanted: RepositoryWanted) -> GitRemote:
        """The repository for git, at the forge's own address whatever it calls itself."""
        ...
