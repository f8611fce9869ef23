"""The port `GitForge` on Gitea and Forgejo.

Whose a repository is, and who protected it, stands in its description: see `forges.marks`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from execution_workers.ports import Attempt, Marker, Permission
from execution_workers.providers.forges.git import GitRemote
from execution_workers.providers.forges.host import NOBODY, HostedProtection, HostedRepository
from execution_workers.providers.forges.marks import (
    Description,
    how_to_mark,
    read_description,
    with_protection_mark,
)
from execution_workers.providers.forges.pull_requests import (
    ByPullRequest,
    PullRequest,
    PullRequestRules,
    Standing,
)
from execution_workers.providers.gitea.client import (
    GiteaClient,
    GiteaProtection,
    GiteaPullRequest,
    GiteaRepository,
)
from idp_kernel.wire.worker import RepositoryWanted

LONGEST_DESCRIPTION = 255
"""What every version takes."""


class GiteaHost:
    """Repositories of organisations; for one attempt."""

    def __init__(
        self,
        client: GiteaClient,
        organisation: str | None,
        *,
        pull_requests: PullRequestRules | None = None,
    ) -> None:
        """Without an organisation each team's repositories are in the one named like the team; with
        `pull_requests` nobody pushes past a protection, not even the platform.
        """
        self._client = client
        self._organisation = organisation
        self._rules = pull_requests

    @property
    def provider(self) -> str:
        return self._client.calls.provider

    @property
    def by_pull_request(self) -> ByPullRequest | None:
        rules = self._rules
        return (
            None if rules is None else ByPullRequest(GiteaPulls(self._client, self._owner), rules)
        )

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
        rule = rule_for(self._pushers, required_approvals)
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

    @property
    def _pushers(self) -> frozenset[str]:
        """Whom the platform's rules let push."""
        return frozenset() if self._rules is not None else frozenset({self._client.user().login})

    def _is_own(self, rule: GiteaProtection) -> bool:
        """Whether the rule may be the platform's: it lets the platform push or, where nobody may,
        nobody else. Another is not its own, whatever mark an earlier one has left.
        """
        login, pushers = self._client.user().login, _pushers(rule)
        if self._rules is None:
            return login in pushers
        if not rule.enable_push:
            return True
        others = rule.push_whitelist_teams or rule.push_whitelist_deploy_keys
        return rule.enable_push_whitelist and not others and pushers <= {login}

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
            is_ours = self._is_own(rule)
            return HostedProtection(
                branch=wanted.default_branch,
                required_approvals=rule.required_approvals,
                marker=description.protection_marker if is_ours else NOBODY,
                weaknesses=weaknesses_of(rule, self._pushers),
            )

        return HostedRepository(
            owner=found.owner.login,
            name=found.name,
            url=found.clone_url,
            marker=description.marker,
            default_branch=found.default_branch,
            protection=protection,
            protection_mark=description.protection_marker,
            is_archived=found.archived,
        )


@dataclass(frozen=True)
class GiteaPulls:
    """The platform's pull requests."""

    client: GiteaClient
    owner_of: Callable[[RepositoryWanted], str]

    def find(self, wanted: RepositoryWanted, branch: str) -> PullRequest | None:
        poster = self.client.user().login
        for page in count(1):
            listed = self.client.pull_requests(
                self.owner_of(wanted), wanted.name, poster, page
            ).root
            for each in listed:
                if (each.head.label, each.base.ref) == (branch, wanted.default_branch):
                    return _pull_request(each)
            if not listed:
                break
        return None

    def open(
        self, wanted: RepositoryWanted, branch: str, title: str, text: str
    ) -> PullRequest | None:
        body = {"title": title, "body": text, "head": branch, "base": wanted.default_branch}
        made = self.client.open_pull_request(self.owner_of(wanted), wanted.name, body)
        return None if made is None else _pull_request(made)


def _pull_request(found: GiteaPullRequest) -> PullRequest:
    standing = Standing.MERGED if found.merged else Standing(found.state)
    return PullRequest(found.html_url, standing, found.created_at)


def rule_for(pushers: Collection[str], required_approvals: int) -> Mapping[str, object]:
    """What the platform sets of a rule; the rest, such as status checks, is the team's."""
    return {
        "enable_push": bool(pushers),
        "enable_push_whitelist": bool(pushers),
        "push_whitelist_usernames": sorted(pushers),
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


def weaknesses_of(rule: GiteaProtection, platform: frozenset[str]) -> tuple[str, ...]:
    """Where a rule is not what `rule_for` sets, in words."""
    found = (words for words, is_so in _WEAKNESSES if is_so(rule))
    return (*_wrong_pushers(rule, platform), *found)


def _wrong_pushers(rule: GiteaProtection, platform: frozenset[str]) -> tuple[str, ...]:
    if rule.enable_push and not rule.enable_push_whitelist:
        return ("everybody who may write may push",)
    pushers = _pushers(rule)
    others, lacking = ", ".join(sorted(pushers - platform)), ", ".join(platform - pushers)
    return (
        *([f"{others} may push"] if others else []),
        *([f"the platform may not push as {lacking}"] if lacking else []),
    )


def _pushers(rule: GiteaProtection) -> set[str]:
    """Whom the rule lets push by name."""
    return set(rule.push_whitelist_usernames or ()) if rule.enable_push else set()
