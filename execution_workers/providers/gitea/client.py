"""Gitea's REST API, with an account of the platform's own.

Nothing here is a list but pull requests: every other thing is asked for by its name.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlencode

from pydantic import BaseModel, RootModel

from execution_workers.credentials import SecretFile
from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.forges.git import GitRemote, basic
from execution_workers.providers.forges.rest_api import Json, RestApi
from execution_workers.providers.gitea.errors import ERRORS
from execution_workers.providers.rest import RestClient

API = "api/v1/"
GIT_USER = "idp"
"""Gitea takes any name with a token as its password."""
PULL_REQUESTS_A_PAGE = 50
"""As many as it gives by default."""


class GiteaUser(BaseModel):
    """An account, or an organisation as the owner of a repository."""

    login: str


class GiteaRepository(BaseModel):
    name: str
    owner: GiteaUser
    description: str = ""
    default_branch: str
    clone_url: str
    archived: bool = False


class GiteaTeam(BaseModel):
    name: str


class GiteaOrganisation(BaseModel):
    repo_admin_change_team_access: bool = False
    """Whether who administers a repository may give teams access to it."""


class GiteaOrganisationPermissions(BaseModel):
    can_create_repository: bool = False
    is_owner: bool = False


class GiteaProtection(BaseModel):
    """A rule for branches; what an older server does not know is off."""

    required_approvals: int = 0
    enable_push: bool = False
    enable_push_whitelist: bool = False
    push_whitelist_usernames: tuple[str, ...] | None = None
    push_whitelist_teams: tuple[str, ...] | None = None
    push_whitelist_deploy_keys: bool = False
    enable_force_push: bool = False
    block_on_rejected_reviews: bool = False
    block_on_official_review_requests: bool = False
    block_on_outdated_branch: bool = False
    dismiss_stale_approvals: bool = False
    unprotected_file_patterns: str = ""
    apply_to_admins: bool | None = None
    """Forgejo only."""


class GiteaBranch(BaseModel):
    label: str
    """Its name, which it keeps here when it is removed."""


class GiteaBase(BaseModel):
    ref: str


class GiteaPullRequest(BaseModel):
    html_url: str
    state: str
    merged: bool = False
    created_at: datetime
    head: GiteaBranch
    base: GiteaBase


class GiteaPullRequests(RootModel[tuple[GiteaPullRequest, ...]]):
    """A page of them."""


class GiteaClient:
    """Calls Gitea; thread-safe. Errors are raised by the error table."""

    def __init__(
        self,
        base_url: str,
        token: SecretFile,
        calls: ProviderCalls,
        *,
        timeout_seconds: float,
        git_timeout_seconds: float,
        ca_file: Path | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._git_timeout_seconds = git_timeout_seconds
        self._ca_file = ca_file
        self._rest = RestClient(
            base_url, calls, ERRORS, timeout_seconds=timeout_seconds, ca_file=ca_file
        )
        self._api = RestApi(
            self._rest, lambda: {"Authorization": f"token {token.read()}"}, prefix=API
        )

    @property
    def calls(self) -> ProviderCalls:
        return self._rest.calls

    def user(self) -> GiteaUser:
        """The platform's own account."""
        return self._api.read("user", GiteaUser, "read user")

    def organisation(self, name: str) -> GiteaOrganisation | None:
        """None when there is no such organisation, or the account may not see it."""
        return self._api.find(f"orgs/{quote(name)}", GiteaOrganisation, "read organisation")

    def organisation_permissions(
        self, login: str, organisation: str
    ) -> GiteaOrganisationPermissions | None:
        """What the account may do in the organisation; None as `organisation`."""
        path = f"users/{quote(login)}/orgs/{quote(organisation)}/permissions"
        return self._api.find(path, GiteaOrganisationPermissions, "read permissions")

    def repository(self, owner: str, name: str) -> GiteaRepository | None:
        """None when there is no such repository, or the account may not see it."""
        return self._api.find(_repository(owner, name), GiteaRepository, "read repository")

    def create_repository(self, owner: str, body: Json) -> GiteaRepository | None:
        """The new repository of an organisation; None when one of that name is there."""
        return self._api.ask(
            "POST",
            f"orgs/{quote(owner)}/repos",
            GiteaRepository,
            "create repository",
            body=body,
            is_none=lambda response: response.status_code == 409,
        )

    def describe_repository(self, owner: str, name: str, description: str) -> None:
        """Sets the description."""
        body = {"description": description}
        self._api.tell("PATCH", _repository(owner, name), "describe repository", body=body)

    def archive_repository(self, owner: str, name: str) -> None:
        """Read-only for everybody; one that is archived already is fine."""
        body = {"archived": True}
        self._api.tell("PATCH", _repository(owner, name), "archive repository", body=body)

    def delete_repository(self, owner: str, name: str) -> None:
        """One that is gone already is fine."""
        self._api.tell("DELETE", _repository(owner, name), "delete repository", fine_at=(404,))

    def protection(self, owner: str, name: str, branch: str) -> GiteaProtection | None:
        """The rule that is named like the branch; None when there is none."""
        return self._api.find(_rule(owner, name, branch), GiteaProtection, "read protection")

    def add_protection(self, owner: str, name: str, body: Json) -> None:
        """A new rule; `rule_name` in the body says for which branch."""
        path = f"{_repository(owner, name)}/branch_protections"
        self._api.tell("POST", path, "protect branch", body=body)

    def change_protection(self, owner: str, name: str, branch: str, body: Json) -> None:
        """Sets what the body has of the rule."""
        self._api.tell("PATCH", _rule(owner, name, branch), "protect branch", body=body)

    def remove_protection(self, owner: str, name: str, branch: str) -> None:
        """One that is gone already is fine."""
        self._api.tell("DELETE", _rule(owner, name, branch), "unprotect branch", fine_at=(404,))

    def team_with_access(self, owner: str, name: str, team: str) -> GiteaTeam | None:
        """The organisation's team, None while it has no access to the repository."""
        return self._api.find(_team(owner, name, team), GiteaTeam, "read team access")

    def give_team_access(self, owner: str, name: str, team: str) -> None:
        """What the team may do there, Gitea keeps with the team; 422 is a team that has access."""
        self._api.tell("PUT", _team(owner, name, team), "give team access", fine_at=(422,))

    def pull_requests(self, owner: str, name: str, poster: str, page: int) -> GiteaPullRequests:
        """Those that the account has opened, the newest first; a page without any is behind the
        last.
        """
        asked = urlencode(
            {"state": "all", "poster": poster, "limit": PULL_REQUESTS_A_PAGE, "page": page}
        )
        path = f"{_repository(owner, name)}/pulls?{asked}"
        return self._api.read(path, GiteaPullRequests, "list pull requests")

    def open_pull_request(self, owner: str, name: str, body: Json) -> GiteaPullRequest | None:
        """A new one; None when one is open from that branch."""
        return self._api.ask(
            "POST",
            f"{_repository(owner, name)}/pulls",
            GiteaPullRequest,
            "open pull request",
            body=body,
            is_none=lambda response: response.status_code == 409,
        )

    def git(self, owner: str, name: str) -> GitRemote:
        """The repository for git, at the address that is set whatever Gitea calls itself."""
        url = f"{self._base_url}/{quote(owner)}/{quote(name)}.git"
        authorization = basic(GIT_USER, self._token.read)
        return GitRemote(
            url, authorization, self.calls, self._git_timeout_seconds, ca_file=self._ca_file
        )

    def close(self) -> None:
        """Closes the pooled connections."""
        self._rest.close()


def _repository(owner: str, name: str) -> str:
    return f"repos/{quote(owner)}/{quote(name)}"


def _rule(owner: str, name: str, branch: str) -> str:
    return f"{_repository(owner, name)}/branch_protections/{quote(branch, safe='')}"


def _team(owner: str, name: str, team: str) -> str:
    return f"{_repository(owner, name)}/teams/{quote(team)}"
