"""GitHub's REST API, for one attempt; what was read before is asked for with its ETag."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import count
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import httpx
from pydantic import BaseModel, RootModel

from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.forges.git import GitRemote, basic
from execution_workers.providers.forges.rest_api import Json, RestApi
from execution_workers.providers.github.credentials import Credential, Identity, headers_with
from execution_workers.providers.github.errors import ERRORS
from execution_workers.providers.github.rulesets import Ruleset, RulesetName, RulesetNames
from execution_workers.providers.rest import RestClient

GIT_USER = "x-access-token"
_TEAM_REPOSITORY = "application/vnd.github.v3.repository+json"
"""Has GitHub tell what a team may do, instead of only whether it may anything."""
MOST_KEPT = 1000
_NAME_TAKEN = "name already exists"
_IS_OPEN = "A pull request already exists"
RULESETS_A_PAGE = 100


class GitHubOwner(BaseModel):
    login: str


class GitHubRepository(BaseModel):
    name: str
    owner: GitHubOwner
    description: str | None = None
    default_branch: str
    clone_url: str
    archived: bool = False


class TeamPermissions(BaseModel):
    push: bool = False


class TeamRepository(BaseModel):
    """What a team may do in a repository."""

    permissions: TeamPermissions


class Switch(BaseModel):
    enabled: bool = False


class Named(BaseModel):
    """A user by login, a team or an App by slug."""

    login: str = ""
    slug: str = ""


class Allowances(BaseModel):
    users: tuple[Named, ...] = ()
    teams: tuple[Named, ...] = ()
    apps: tuple[Named, ...] = ()


class RequiredReviews(BaseModel):
    dismiss_stale_reviews: bool = False
    require_code_owner_reviews: bool = False
    required_approving_review_count: int = 0
    bypass_pull_request_allowances: Allowances = Allowances()


class StatusCheck(BaseModel):
    context: str
    app_id: int | None = None


class RequiredChecks(BaseModel):
    strict: bool = False
    checks: tuple[StatusCheck, ...] = ()


class GitHubProtection(BaseModel):
    """The protection of a branch; what a server does not tell is off."""

    required_pull_request_reviews: RequiredReviews | None = None
    required_status_checks: RequiredChecks | None = None
    enforce_admins: Switch = Switch()
    required_linear_history: Switch = Switch()
    required_conversation_resolution: Switch = Switch()
    allow_force_pushes: Switch = Switch()
    allow_deletions: Switch = Switch()


class GitHubPullRequest(BaseModel):
    html_url: str
    state: str
    merged_at: datetime | None = None
    created_at: datetime


class GitHubPullRequests(RootModel[tuple[GitHubPullRequest, ...]]):
    """The newest first."""


class Kept:
    """The newest answers with their ETags, so many. Thread-safe."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, str], httpx.Response] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str]) -> httpx.Response | None:
        with self._lock:
            return self._answers.get(key)

    def put(self, key: tuple[str, str], response: httpx.Response) -> None:
        with self._lock:
            self._answers[key] = response
            self._answers.move_to_end(key)
            while len(self._answers) > MOST_KEPT:
                self._answers.popitem(last=False)


@dataclass(frozen=True)
class ConditionalApi(RestApi):
    """Reads count against no limit while nothing has changed: GitHub says so, and we have it."""

    kept: Kept = field(default_factory=Kept)

    def sent(
        self, method: str, path: str, operation: str, body: Json | None, headers: dict[str, str]
    ) -> httpx.Response:
        if method != "GET":
            return super().sent(method, path, operation, body, headers)
        key = (path, headers["Accept"])
        known = self.kept.get(key)
        condition = {} if known is None else {"If-None-Match": known.headers["ETag"]}
        response = super().sent(method, path, operation, body, {**headers, **condition})
        if response.status_code == 304 and known is not None:
            return known
        if response.is_success and "ETag" in response.headers and _is_whole(response):
            self.kept.put(key, response)
        return response


def _is_whole(response: httpx.Response) -> bool:
    """An answer that was cut off would be found again and again, for as long as nothing changes."""
    try:
        response.json()
    except ValueError:
        return False
    return True


class GitHubServer:
    """One GitHub: its addresses, its pooled connections and what was read. Thread-safe."""

    def __init__(
        self,
        url: str,
        calls: ProviderCalls,
        *,
        timeout_seconds: float,
        git_timeout_seconds: float,
        ca_file: Path | None = None,
    ) -> None:
        base, self.prefix = api_address(url)
        self.url = url.rstrip("/")
        self.git_timeout_seconds = git_timeout_seconds
        self.ca_file = ca_file
        self.kept = Kept()
        self.rest = RestClient(
            base, calls, ERRORS, timeout_seconds=timeout_seconds, ca_file=ca_file
        )

    def close(self) -> None:
        """Closes the pooled connections."""
        self.rest.close()


def api_address(url: str) -> tuple[str, str]:
    """The API's base, and what stands before each path there."""
    address = urlsplit(url)
    if address.hostname == "github.com" or (address.hostname or "").endswith(".ghe.com"):
        return f"{address.scheme}://api.{address.netloc}", ""
    return url, "api/v3/"


class GitHubClient:
    """Calls GitHub with one credential. Errors are raised by the error table."""

    def __init__(self, server: GitHubServer, credential: Credential) -> None:
        self._server = server
        self.credential = credential
        self._api = ConditionalApi(
            server.rest,
            lambda: headers_with(credential.token()),
            server.prefix,
            credential.prepare,
            server.kept,
        )

    @property
    def calls(self) -> ProviderCalls:
        return self._server.rest.calls

    @cached_property
    def identity(self) -> Identity:
        """Who the platform is there."""
        return self.credential.identity(self._api)

    def repository(self, owner: str, name: str) -> GitHubRepository | None:
        """None when there is no such repository, or the credential may not see it."""
        return self._api.find(_repository(owner, name), GitHubRepository, "read repository")

    def create_repository(self, owner: str, body: Json) -> GitHubRepository | None:
        """The new repository of an organisation; None when one of that name is there."""
        return self._api.ask(
            "POST",
            f"orgs/{quote(owner)}/repos",
            GitHubRepository,
            "create repository",
            body=body,
            is_none=lambda response: response.status_code == 422 and _NAME_TAKEN in response.text,
        )

    def change_repository(self, owner: str, name: str, body: Json) -> None:
        """Sets what the body has."""
        self._api.tell("PATCH", _repository(owner, name), "describe repository", body=body)

    def archive_repository(self, owner: str, name: str) -> None:
        """Read-only for everybody."""
        body: Json = {"archived": True}
        self._api.tell("PATCH", _repository(owner, name), "archive repository", body=body)

    def delete_repository(self, owner: str, name: str) -> None:
        """One that is gone already is fine."""
        self._api.tell("DELETE", _repository(owner, name), "delete repository", fine_at=(404,))

    def protection(self, owner: str, name: str, branch: str) -> GitHubProtection | None:
        """None while the branch is unprotected."""
        path = _protection(owner, name, branch)
        return self._api.find(path, GitHubProtection, "read protection")

    def protect(self, owner: str, name: str, branch: str, body: Json) -> None:
        """Puts the protection in the place of the branch's former one."""
        self._api.tell("PUT", _protection(owner, name, branch), "protect branch", body=body)

    def unprotect(self, owner: str, name: str, branch: str) -> None:
        """A protection that is gone already is fine."""
        path = _protection(owner, name, branch)
        self._api.tell("DELETE", path, "unprotect branch", fine_at=(404,))

    def rulesets(self, owner: str, name: str) -> list[RulesetName]:
        """The repository's own."""
        found: list[RulesetName] = []
        for page in count(1):
            asked = urlencode(
                {"includes_parents": "false", "per_page": RULESETS_A_PAGE, "page": page}
            )
            path = f"{_repository(owner, name)}/rulesets?{asked}"
            listed = self._api.read(path, RulesetNames, "list rulesets").root
            found += listed
            if len(listed) < RULESETS_A_PAGE:
                break
        return found

    def ruleset(self, owner: str, name: str, ruleset_id: int) -> Ruleset | None:
        """None when there is no such ruleset."""
        path = f"{_repository(owner, name)}/rulesets/{ruleset_id}"
        return self._api.find(path, Ruleset, "read ruleset")

    def add_ruleset(self, owner: str, name: str, body: Json) -> None:
        """A new one."""
        self._api.tell("POST", f"{_repository(owner, name)}/rulesets", "add ruleset", body=body)

    def change_ruleset(self, owner: str, name: str, ruleset_id: int, body: Json) -> None:
        """Puts the body in the place of what the ruleset had."""
        path = f"{_repository(owner, name)}/rulesets/{ruleset_id}"
        self._api.tell("PUT", path, "change ruleset", body=body)

    def remove_ruleset(self, owner: str, name: str, ruleset_id: int) -> None:
        """One that is gone already is fine."""
        path = f"{_repository(owner, name)}/rulesets/{ruleset_id}"
        self._api.tell("DELETE", path, "remove ruleset", fine_at=(404,))

    def pull_requests(self, owner: str, name: str, branch: str, base: str) -> GitHubPullRequests:
        """Those from that branch of the repository to the other one."""
        asked = urlencode({"state": "all", "head": f"{owner}:{branch}", "base": base})
        path = f"{_repository(owner, name)}/pulls?{asked}"
        return self._api.read(path, GitHubPullRequests, "list pull requests")

    def open_pull_request(self, owner: str, name: str, body: Json) -> GitHubPullRequest | None:
        """A new one; None when one is open from that branch."""
        return self._api.ask(
            "POST",
            f"{_repository(owner, name)}/pulls",
            GitHubPullRequest,
            "open pull request",
            body=body,
            is_none=lambda response: response.status_code == 422 and _IS_OPEN in response.text,
        )

    def team_may_push(self, owner: str, name: str, team: str) -> bool:
        """Whether the organisation's team has that, or more."""
        found = self._api.find(
            _team(owner, name, team), TeamRepository, "read team access", accept=_TEAM_REPOSITORY
        )
        return found is not None and found.permissions.push

    def let_team_push(self, owner: str, name: str, team: str) -> None:
        """Gives the team that permission."""
        body = {"permission": "push"}
        self._api.tell("PUT", _team(owner, name, team), "give team access", body=body)

    def git(self, owner: str, name: str) -> GitRemote:
        """The repository for git, at the address that is set whatever GitHub calls itself."""
        self.credential.prepare()
        return GitRemote(
            f"{self._server.url}/{quote(owner)}/{quote(name)}.git",
            basic(GIT_USER, self.credential.token),
            self.calls,
            self._server.git_timeout_seconds,
            ca_file=self._server.ca_file,
        )


def _repository(owner: str, name: str) -> str:
    return f"repos/{quote(owner)}/{quote(name)}"


def _protection(owner: str, name: str, branch: str) -> str:
    return f"{_repository(owner, name)}/branches/{quote(branch, safe='')}/protection"


def _team(owner: str, name: str, team: str) -> str:
    return f"orgs/{quote(owner)}/teams/{quote(team)}/repos/{quote(owner)}/{quote(name)}"
