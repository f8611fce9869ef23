"""The port `GitForge` on GitHub.

Whose a repository is, and who protected it, stands in its description: see `forges.marks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from execution_workers.ports import Attempt, Marker, Permission
from execution_workers.providers.forges.git import GitRemote
from execution_workers.providers.forges.host import HostedRepository
from execution_workers.providers.forges.marks import Description, how_to_mark, read_description
from execution_workers.providers.forges.pull_requests import (
    ByPullRequest,
    PullRequest,
    PullRequestRules,
    Standing,
)
from execution_workers.providers.github.client import (
    GitHubClient,
    GitHubPullRequest,
    GitHubRepository,
)
from execution_workers.providers.github.protections import (
    LONGEST_DESCRIPTION,
    ByBranch,
    ByRuleset,
    Guard,
    Place,
)
from execution_workers.providers.github.settings import GitHubProtectionChoice
from idp_kernel.wire.worker import RepositoryWanted

NEEDED: Mapping[str, str] = {
    "administration": "write",
    "contents": "write",
    "metadata": "read",
    "members": "read",
}
"""An App's permissions: of repositories, and the last one of the organisation."""


class GitHubHost:
    """Repositories of organisations; for one attempt."""

    def __init__(
        self,
        client: GitHubClient,
        organisation: str | None,
        *,
        protection: GitHubProtectionChoice = GitHubProtectionChoice.BRANCH,
        pull_requests: PullRequestRules | None = None,
    ) -> None:
        """Without an organisation each team's repositories are in the one named like the team; with
        `pull_requests` nobody pushes past a protection, not even the platform.
        """
        self._client = client
        self._organisation = organisation
        self._rules = pull_requests
        passing = pull_requests is None
        self._guard: Guard = (
            ByRuleset(client, passing=passing)
            if protection is GitHubProtectionChoice.RULESET
            else ByBranch(client, passing=passing)
        )

    @property
    def provider(self) -> str:
        return self._client.calls.provider

    @property
    def by_pull_request(self) -> ByPullRequest | None:
        rules = self._rules
        return (
            None if rules is None else ByPullRequest(GitHubPulls(self._client, self._owner), rules)
        )

    def permissions(self) -> Sequence[Permission]:
        name, found = self._client.identity.name, self._client.credential.permissions()
        return [
            Permission(
                f"{permission}: {level}",
                None if found is None else found.get(permission) in (level, "write"),
                f"Give {name} {level} access to {permission}, and accept that in the organisation.",
            )
            for permission, level in self._needed().items()
        ]

    def _needed(self) -> Mapping[str, str]:
        return NEEDED if self._rules is None else {**NEEDED, "pull_requests": "write"}

    def full_name(self, wanted: RepositoryWanted) -> str:
        return f"{self._owner(wanted)}/{wanted.name}"

    def code_owners(self, team: str) -> str:
        return f"* @{self._organisation or team}/{team}"

    def how_to_adopt(self, wanted: RepositoryWanted, installation_id: str) -> str:
        return how_to_mark(installation_id, wanted.repository_id, wanted.default_branch)

    def find(self, wanted: RepositoryWanted) -> HostedRepository | None:
        found = self._client.repository(self._owner(wanted), wanted.name)
        return None if found is None else self._hosted(found, wanted)

    def create(self, wanted: RepositoryWanted, attempt: Attempt) -> HostedRepository | None:
        described = Description(wanted.description, attempt.marker(wanted.repository_id))
        asked = {
            "name": wanted.name,
            "description": described.written(LONGEST_DESCRIPTION),
            "private": True,
            "auto_init": False,
        }
        attempt.check_fence()
        created = self._client.create_repository(self._owner(wanted), asked)
        return None if created is None else self._hosted(created, wanted)

    def let_team_in(self, wanted: RepositoryWanted, attempt: Attempt) -> None:
        """The organisation's team that is named like the platform's; one that may more keeps it."""
        owner, team = self._owner(wanted), wanted.owner
        if not self._client.team_may_push(owner, wanted.name, team):
            attempt.check_fence()
            self._client.let_team_push(owner, wanted.name, team)

    def delete(self, wanted: RepositoryWanted, attempt: Attempt) -> None:
        attempt.check_fence()
        self._client.delete_repository(self._owner(wanted), wanted.name)

    def archive(self, wanted: RepositoryWanted, attempt: Attempt) -> None:
        attempt.check_fence()
        self._client.archive_repository(self._owner(wanted), wanted.name)

    def protect(
        self, wanted: RepositoryWanted, required_approvals: int, marker: Marker, attempt: Attempt
    ) -> None:
        self._guard.protect(self._place(wanted), required_approvals, marker.request_id, attempt)

    def unprotect(self, wanted: RepositoryWanted, attempt: Attempt) -> None:
        self._guard.unprotect(self._place(wanted), attempt)

    def git(self, wanted: RepositoryWanted) -> GitRemote:
        return self._client.git(self._owner(wanted), wanted.name)

    def _owner(self, wanted: RepositoryWanted) -> str:
        return self._organisation or wanted.owner

    def _place(self, wanted: RepositoryWanted) -> Place:
        return Place(self._owner(wanted), wanted.name, wanted.default_branch)

    def _hosted(self, found: GitHubRepository, wanted: RepositoryWanted) -> HostedRepository:
        description = read_description(found.description)

        place = Place(found.owner.login, found.name, wanted.default_branch)
        return HostedRepository(
            owner=found.owner.login,
            name=found.name,
            url=found.clone_url,
            marker=description.marker,
            default_branch=found.default_branch,
            protection=lambda: self._guard.found(place, description),
            protection_mark=description.protection_marker,
            is_archived=found.archived,
        )


@dataclass(frozen=True)
class GitHubPulls:
    """The platform's pull requests."""

    client: GitHubClient
    owner_of: Callable[[RepositoryWanted], str]

    def find(self, wanted: RepositoryWanted, branch: str) -> PullRequest | None:
        listed = self.client.pull_requests(
            self.owner_of(wanted), wanted.name, branch, wanted.default_branch
        ).root
        return _pull_request(listed[0]) if listed else None

    def open(
        self, wanted: RepositoryWanted, branch: str, title: str, text: str
    ) -> PullRequest | None:
        body = {"title": title, "body": text, "head": branch, "base": wanted.default_branch}
        made = self.client.open_pull_request(self.owner_of(wanted), wanted.name, body)
        return None if made is None else _pull_request(made)


def _pull_request(found: GitHubPullRequest) -> PullRequest:
    standing = Standing.MERGED if found.merged_at is not None else Standing(found.state)
    return PullRequest(found.html_url, standing, found.created_at)
