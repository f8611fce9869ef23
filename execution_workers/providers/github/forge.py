"""The port `GitForge` on GitHub.

Whose a repository is, and who protected it, stands in its description: see `forges.marks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from execution_workers.ports import Attempt, Marker, Permission
from execution_workers.providers.forges.git import GitRemote
from execution_workers.providers.forges.host import HostedProtection, HostedRepository
from execution_workers.providers.forges.marks import (
    Description,
    how_to_mark,
    read_description,
    with_protection_mark,
)
from execution_workers.providers.github.client import (
    GitHubClient,
    GitHubProtection,
    GitHubRepository,
    Named,
    RequiredChecks,
    RequiredReviews,
)
from execution_workers.providers.github.credentials import Identity
from idp_kernel.wire.worker import RepositoryWanted

LONGEST_DESCRIPTION = 350
NEEDED: Mapping[str, str] = {
    "administration": "write",
    "contents": "write",
    "metadata": "read",
    "members": "read",
}
"""An App's permissions: of repositories, and the last one of the organisation."""


class GitHubHost:
    """Repositories of organisations; for one attempt."""

    def __init__(self, client: GitHubClient, organisation: str | None) -> None:
        """Without an organisation each team's repositories are in the one named like the team."""
        self._client = client
        self._organisation = organisation

    @property
    def provider(self) -> str:
        return self._client.calls.provider

    def permissions(self) -> Sequence[Permission]:
        name, found = self._client.identity.name, self._client.credential.permissions()
        return [
            Permission(
                f"{permission}: {level}",
                None if found is None else found.get(permission) in (level, "write"),
                f"Give {name} {level} access to {permission}, and accept that in the organisation.",
            )
            for permission, level in NEEDED.items()
        ]

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
        """Marked before it is there: a protection that stands unmarked is somebody else's."""
        owner, branch = self._owner(wanted), wanted.default_branch
        former = self._client.protection(owner, wanted.name, branch)
        asked = protection_for(self._client.identity, required_approvals, former)
        self._mark_protection(wanted, marker.request_id, attempt)
        attempt.check_fence()
        self._client.protect(owner, wanted.name, branch, asked)

    def unprotect(self, wanted: RepositoryWanted, attempt: Attempt) -> None:
        attempt.check_fence()
        self._client.unprotect(self._owner(wanted), wanted.name, wanted.default_branch)
        self._mark_protection(wanted, "", attempt)

    def git(self, wanted: RepositoryWanted) -> GitRemote:
        return self._client.git(self._owner(wanted), wanted.name)

    def _owner(self, wanted: RepositoryWanted) -> str:
        return self._organisation or wanted.owner

    def _mark_protection(self, wanted: RepositoryWanted, request_id: str, attempt: Attempt) -> None:
        owner = self._owner(wanted)
        found = self._client.repository(owner, wanted.name)
        if found is None:
            return
        described = with_protection_mark(found.description, request_id, LONGEST_DESCRIPTION)
        if described is not None:
            attempt.check_fence()
            self._client.change_repository(owner, wanted.name, {"description": described})

    def _hosted(self, found: GitHubRepository, wanted: RepositoryWanted) -> HostedRepository:
        description = read_description(found.description)

        def protection() -> HostedProtection | None:
            rule = self._client.protection(found.owner.login, found.name, wanted.default_branch)
            if rule is None:
                return None
            reviews = rule.required_pull_request_reviews or RequiredReviews()
            return HostedProtection(
                branch=wanted.default_branch,
                required_approvals=reviews.required_approving_review_count,
                marker=description.protection_marker,
                weaknesses=weaknesses_of(rule, self._client.identity),
            )

        return HostedRepository(
            owner=found.owner.login,
            name=found.name,
            url=found.clone_url,
            marker=description.marker,
            protection=protection,
            is_archived=found.archived,
        )


def protection_for(
    platform: Identity, required_approvals: int, former: GitHubProtection | None
) -> dict[str, object]:
    """All of a protection; status checks and a linear history stay as the team has them."""
    former = former or GitHubProtection()
    return {
        "required_status_checks": _as_asked(former.required_status_checks),
        "enforce_admins": True,
        "required_pull_request_reviews": {
            "dismiss_stale_reviews": True,
            "require_code_owner_reviews": required_approvals > 0,
            "required_approving_review_count": required_approvals,
            "bypass_pull_request_allowances": {
                "users": list(platform.users),
                "teams": [],
                "apps": list(platform.apps),
            },
        },
        # Whom it names may merge as well, so nobody is named: the reviews keep others from pushing.
        "restrictions": None,
        "required_linear_history": former.required_linear_history.enabled,
        "allow_force_pushes": False,
        "allow_deletions": False,
        "required_conversation_resolution": True,
    }


def _as_asked(checks: RequiredChecks | None) -> dict[str, object] | None:
    """The checks as they were told, and their names alone, which the API asks for beside them."""
    if checks is None:
        return None
    names = [each.context for each in checks.checks]
    return {**checks.model_dump(exclude_none=True), "contexts": names}


_WEAKNESSES: tuple[tuple[str, Callable[[GitHubProtection], bool]], ...] = (
    ("administrators are exempt", lambda rule: not rule.enforce_admins.enabled),
    ("pushes may be forced", lambda rule: rule.allow_force_pushes.enabled),
    ("the branch may be deleted", lambda rule: rule.allow_deletions.enabled),
    (
        "conversations need no answer",
        lambda rule: not rule.required_conversation_resolution.enabled,
    ),
)


def weaknesses_of(rule: GitHubProtection, platform: Identity) -> tuple[str, ...]:
    """Where a protection is not what `protection_for` asks for, in words."""
    found = (words for words, is_so in _WEAKNESSES if is_so(rule))
    return (*_weak_reviews(rule.required_pull_request_reviews, platform), *found)


def _weak_reviews(reviews: RequiredReviews | None, platform: Identity) -> tuple[str, ...]:
    if reviews is None:
        return ("everybody who may write may push",)
    found = []
    if not reviews.dismiss_stale_reviews:
        found.append("an approval outlives a later change")
    if reviews.required_approving_review_count and not reviews.require_code_owner_reviews:
        found.append("nobody waits for the code owners")
    allowed = reviews.bypass_pull_request_allowances
    passing = _names((*allowed.users, *allowed.teams, *allowed.apps))
    if others := passing - {platform.name}:
        found.append(f"{', '.join(sorted(others))} may push")
    if platform.name not in passing:
        found.append(f"the platform may not push as {platform.name}")
    return tuple(found)


def _names(found: Sequence[Named]) -> set[str]:
    return {each.login or each.slug for each in found}
