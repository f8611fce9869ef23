"""The port `GitForge` on Gitea and Forgejo.

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
from execution_workers.providers.gitea.client import (
    GiteaClient,
    GiteaProtection,
    GiteaRepository,
)
from idp_kernel.wire.worker import RepositoryWanted

LONGEST_DESCRIPTION = 255
"""What every version takes."""


class GiteaHost:
    """Repositories of organisations; for one attempt."""

    def __init__(self, client: GiteaClient, organisation: str | None) -> None:
        """Without an organisation each team's repositories are in the one named like the team."""
        self._client = client
        self._organisation = organisation

    @property
    def provider(self) -> str:
        return self._client.calls.provider

    def permissions(self) -> Sequence[Permission]:
        login = self._client.user().login
        create = Permission(
            "create repositories in the organisation",
            None,
            f"Let {login} be in a team of {self._organisation or 'each organisation'} that may "
            "create repositories.",
        )
        give = Permission(
            "give teams access to repositories",
            None,
            f"Let {login} be an owner of {self._organisation or 'each organisation'}, or let its "
            "repositories' administrators add and remove access for teams.",
        )
        if self._organisation is None:
            return (create, give)
        found = self._client.organisation_permissions(login, self._organisation)
        organisation = self._client.organisation(self._organisation)
        is_owner = found is not None and found.is_owner
        admins_give = organisation is not None and organisation.repo_admin_change_team_access
        may_create = found is not None and found.can_create_repository
        return (
            Permission(create.name, may_create, create.how_to_grant),
            Permission(give.name, is_owner or admins_give, give.how_to_grant),
        )

    def full_name(self, wanted: RepositoryWanted) -> str:
        return f"{self._owner(wanted)}/{wanted.name}"

    def code_owners(self, team: str) -> str:
        """Gitea takes regular expressions, and teams with their organisation."""
        return f".* @{self._organisation or team}/{team}"

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
            "default_branch": wanted.default_branch,
            "private": True,
            "auto_init": False,
        }
        attempt.check_fence()
        created = self._client.create_repository(self._owner(wanted), asked)
        return None if created is None else self._hosted(created, wanted)

    def let_team_in(self, wanted: RepositoryWanted, attempt: Attempt) -> None:
        """The organisation's team that is named like the platform's."""
        owner, team = self._owner(wanted), wanted.owner
        if self._client.team_with_access(owner, wanted.name, team) is None:
            attempt.check_fence()
            self._client.give_team_access(owner, wanted.name, team)

    def delete(self, wanted: RepositoryWanted, attempt: Attempt) -> None:
        attempt.check_fence()
        self._client.delete_repository(self._owner(wanted), wanted.name)

    def archive(self, wanted: RepositoryWanted, attempt: Attempt) -> None:
        attempt.check_fence()
        self._client.archive_repository(self._owner(wanted), wanted.name)

    def protect(
        self, wanted: RepositoryWanted, required_approvals: int, marker: Marker, attempt: Attempt
    ) -> None:
        """Marked before it is there: a rule that stands unmarked is somebody else's."""
        owner, branch = self._owner(wanted), wanted.default_branch
        rule = rule_for(self._client.user().login, required_approvals)
        self._mark_protection(wanted, marker.request_id, attempt)
        found = self._client.protection(owner, wanted.name, branch)
        attempt.check_fence()
        if found is None:
            self._client.add_protection(owner, wanted.name, {"rule_name": branch, **rule})
        else:
            # Forgejo does not know this one, and nowhere is it on unless somebody set it.
            unforced = {"enable_force_push": False} if found.enable_force_push else {}
            self._client.change_protection(owner, wanted.name, branch, {**rule, **unforced})

    def unprotect(self, wanted: RepositoryWanted, attempt: Attempt) -> None:
        attempt.check_fence()
        self._client.remove_protection(self._owner(wanted), wanted.name, wanted.default_branch)
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
            self._client.describe_repository(owner, wanted.name, described)

    def _hosted(self, found: GiteaRepository, wanted: RepositoryWanted) -> HostedRepository:
        description = read_description(found.description)

        def protection() -> HostedProtection | None:
            rule = self._client.protection(found.owner.login, found.name, wanted.default_branch)
            if rule is None:
                return None
            return HostedProtection(
                branch=wanted.default_branch,
                required_approvals=rule.required_approvals,
                marker=description.protection_marker,
                weaknesses=weaknesses_of(rule, self._client.user().login),
            )

        return HostedRepository(
            owner=found.owner.login,
            name=found.name,
            url=found.clone_url,
            marker=description.marker,
            protection=protection,
            is_archived=found.archived,
        )


def rule_for(bot: str, required_approvals: int) -> Mapping[str, object]:
    """What the platform sets of a rule; the rest, such as status checks, is the team's."""
    return {
        "enable_push": True,
        "enable_push_whitelist": True,
        "push_whitelist_usernames": [bot],
        "push_whitelist_teams": [],
        "push_whitelist_deploy_keys": False,
        "required_approvals": required_approvals,
        "block_on_rejected_reviews": True,
        "block_on_official_review_requests": True,
        "block_on_outdated_branch": True,
        "dismiss_stale_approvals": True,
        "unprotected_file_patterns": "",
        "apply_to_admins": True,
    }


_WEAKNESSES: tuple[tuple[str, Callable[[GiteaProtection], bool]], ...] = (
    ("teams may push", lambda rule: bool(rule.push_whitelist_teams)),
    ("deploy keys may push", lambda rule: rule.push_whitelist_deploy_keys),
    ("pushes may be forced", lambda rule: rule.enable_force_push),
    ("a rejected change may be merged", lambda rule: not rule.block_on_rejected_reviews),
    ("nobody waits for the code owners", lambda rule: not rule.block_on_official_review_requests),
    ("an outdated branch may be merged", lambda rule: not rule.block_on_outdated_branch),
    ("an approval outlives a later change", lambda rule: not rule.dismiss_stale_approvals),
    ("administrators are exempt", lambda rule: rule.apply_to_admins is False),
    ("some files need no review", lambda rule: bool(rule.unprotected_file_patterns)),
)


def weaknesses_of(rule: GiteaProtection, bot: str) -> tuple[str, ...]:
    """Where a rule is not what `rule_for` sets, in words."""
    found = (words for words, is_so in _WEAKNESSES if is_so(rule))
    return (*_wrong_pushers(rule, bot), *found)


def _wrong_pushers(rule: GiteaProtection, bot: str) -> tuple[str, ...]:
    if rule.enable_push and not rule.enable_push_whitelist:
        return ("everybody who may write may push",)
    pushers = set(rule.push_whitelist_usernames or ()) if rule.enable_push else set()
    others = ", ".join(sorted(pushers - {bot}))
    return (
        *([f"{others} may push"] if others else []),
        *([] if bot in pushers else [f"the platform may not push as {bot}"]),
    )
