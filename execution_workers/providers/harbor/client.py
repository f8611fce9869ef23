"""Harbor's REST API as far as registry credentials need it: projects, their labels, robots.

No robot's secret is in an error: what was sent is not repeated, and answers' texts are Harbor's
own words.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from execution_workers.credentials import SecretFile
from execution_workers.ports import Marker
from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.harbor.errors import ERRORS, NOT_CONFIGURED, OTHER_PREFIX
from execution_workers.providers.rest import RestClient
from idp_kernel.errors import ProviderRejected

API = "api/v2.0"
TOKEN_SERVICE = "harbor-registry"
OF_REFUSALS = "errors"
"""What each refusal of Harbor's API has."""
NEVER_EXPIRES = -1
PAGE_SIZE = 100
LABEL_OF_PROJECTS = "p"
Found = TypeVar("Found")


@dataclass(frozen=True)
class Project:
    """A project as Harbor tells it."""

    id: int
    name: str
    is_public: bool
    repositories: int


@dataclass(frozen=True)
class Robot:
    """A robot account as its description tells."""

    id: int
    name: str
    """With Harbor's prefix, as it logs in."""
    marker: Marker
    version: int | None
    """The store's version with its secret; None while the platform lets it in no more."""
    is_disabled: bool
    expires_at: int
    """In seconds since 1970; `NEVER_EXPIRES` for never."""


class HarborClient:
    """Logged in with the platform's account on each call. Thread-safe."""

    def __init__(
        self,
        base_url: str | None,
        credentials: SecretFile | None,
        calls: ProviderCalls,
        *,
        registry: str | None,
        robot_prefix: str,
        robots_push: bool,
        timeout_seconds: float,
        ca_file: Path | None = None,
    ) -> None:
        self._url = base_url
        self._credentials = credentials
        self._calls = calls
        self._registry = registry
        self.robot_prefix = robot_prefix
        self._actions = ("pull", "push") if robots_push else ("pull",)
        self._client = RestClient(
            base_url or "", calls, ERRORS, timeout_seconds=timeout_seconds, ca_file=ca_file
        )

    @property
    def provider(self) -> str:
        return self._calls.provider

    @property
    def registry(self) -> str:
        """Begins the names of images; raises `ProviderRejected` (`issuer_not_configured`)."""
        return self._registry or urlsplit(self._configured[0]).netloc

    def project(self, name: str) -> Project | None:
        """None when there is no such project."""
        operation = "read project"
        with self._calls.calling(operation):
            response = self._send("GET", f"{API}/projects/{name}", operation)
            if response.status_code == 404:
                self._client.require_own(response, operation, OF_REFUSALS)
                return None
            return _project_of(self._document(response, operation, dict))

    def create_project(self, name: str) -> None:
        """A private one. Raises `Unavailable` (`harbor_contended`) when it is there by now."""
        body = {"project_name": name, "metadata": {"public": "false"}}
        self._change("POST", f"{API}/projects", "create project", body)

    def has_label(self, project: Project, name: str) -> bool:
        """Whether the project has a label of exactly that name."""
        query: dict[str, str | int] = {
            "scope": LABEL_OF_PROJECTS,
            "project_id": project.id,
            "name": name,
            "page_size": PAGE_SIZE,
        }
        found = self._list(f"{API}/labels", "read labels", query)
        return any(each.get("name") == name for each in found)

    def create_label(self, project: Project, name: str, description: str) -> None:
        body = {
            "name": name,
            "description": description,
            "scope": LABEL_OF_PROJECTS,
            "project_id": project.id,
        }
        self._change("POST", f"{API}/labels", "create label", body)

    def robots(self, begin: str) -> dict[str, Robot]:
        """Those whose name, after Harbor's prefix, begins like this; by name with the prefix.

        Raises `ProviderRejected` (`harbor_misconfigured`) when they have another prefix.
        """
        operation = "read robots"
        query: dict[str, str | int] = {"q": f"name=~{begin}", "page_size": PAGE_SIZE}
        found = [_robot_of(each) for each in self._list(f"{API}/robots", operation, query)]
        for robot in found:
            if not robot.name.startswith(f"{self.robot_prefix}{begin}"):
                of_prefix = f"a robot of the platform has the name {robot.name}"
                raise OTHER_PREFIX.of(self.provider, operation, of_prefix)
        return {robot.name: robot for robot in found}

    def create_robot(self, name: str, project: str, marker: Marker) -> None:
        """With a secret that nobody knows; `name` has Harbor's prefix, as it will have there.

        Raises `Unavailable` (`harbor_contended`) when it is there by now.
        """
        body = {
            "name": name.removeprefix(self.robot_prefix),
            **self._described(project, marker, None, disable=False),
        }
        self._change("POST", f"{API}/robots", "create robot", body)

    def describe_robot(
        self, robot: Robot, project: str, marker: Marker, version: int | None
    ) -> None:
        """Lets it in as that version's, and for None in no more; with the rights it should have."""
        body = {
            "id": robot.id,
            "name": robot.name,
            **self._described(project, marker, version, disable=version is None),
        }
        self._change("PUT", f"{API}/robots/{robot.id}", "describe robot", body)

    def set_secret(self, robot: Robot, secret: str) -> None:
        """In the place of the robot's only one, which stops at once; none sets one that nobody
        knows.
        """
        body = {"secret": secret}
        self._change("PATCH", f"{API}/robots/{robot.id}", "set robot secret", body)

    def delete_robot(self, robot: Robot) -> None:
        """One that is gone already is fine."""
        operation = "delete robot"
        with self._calls.calling(operation):
            response = self._send("DELETE", f"{API}/robots/{robot.id}", operation)
            if response.status_code == 404:
                self._client.require_own(response, operation, OF_REFUSALS)
            else:
                self._client.decoded(response, operation)

    def account(self) -> dict[str, Any]:
        """The platform's own user, as Harbor knows it; empty when the account is a robot."""
        operation = "read own account"
        with self._calls.calling(operation):
            response = self._send("GET", f"{API}/users/current", operation)
            if response.status_code in (403, 412):
                return {}
            return self._document(response, operation, dict)

    def may_list_robots(self) -> bool:
        """Whether the platform's account may see robots."""
        with self._calls.calling("read robots"):
            response = self._send("GET", f"{API}/robots", "read robots", query={"page_size": 1})
            if response.status_code == 403:
                return False
            self._client.decoded(response, "read robots")
            return True

    def granted(self, username: str, password: str, project: str) -> frozenset[str] | None:
        """What a registry token for the project's images would let the user do; None when Harbor
        refuses the user. Asks for one as a container runtime does.
        """
        operation = "ask for a registry token"
        query = {
            "service": TOKEN_SERVICE,
            "scope": f"repository:{project}/any:{','.join(self._actions)}",
        }
        with self._calls.calling(operation):
            self._require_configured()
            response = self._client.send(
                "GET",
                "service/token",
                operation,
                query=query,
                headers=_basic(username, password),
            )
            if response.status_code == 401:
                return None
            document = self._document(response, operation, dict)
            granted = _granted_by(str(document.get("token", "")))
            if granted is None:
                raise self._client.unreadable(response, operation, "an answer without a token")
            return granted

    @property
    def needed_actions(self) -> tuple[str, ...]:
        """What a robot is for."""
        return self._actions

    def close(self) -> None:
        """Closes the pooled connections."""
        self._client.close()

    def _described(
        self, project: str, marker: Marker, version: int | None, *, disable: bool
    ) -> dict[str, Any]:
        access = [{"resource": "repository", "action": action} for action in self._actions]
        return {
            "description": description_of(marker, version),
            "level": "system",
            "duration": NEVER_EXPIRES,
            "disable": disable,
            "permissions": [{"kind": "project", "namespace": project, "access": access}],
        }

    def _list(self, path: str, operation: str, query: Mapping[str, str | int]) -> list[Any]:
        """An empty one is a list too: 404 is never the answer."""
        with self._calls.calling(operation):
            response = self._send("GET", path, operation, query=query)
            if response.status_code == 404:
                self._client.require_own(response, operation, OF_REFUSALS)
            return self._document(response, operation, list)

    def _change(self, method: str, path: str, operation: str, body: Mapping[str, Any]) -> Any:
        with self._calls.calling(operation):
            response = self._send(method, path, operation, body=body)
            return self._client.decoded(response, operation)

    def _send(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str | int] | None = None,
    ) -> httpx.Response:
        _, credentials = self._configured
        return self._client.send(
            method, path, operation, body=body, query=query, headers=self._own(credentials)
        )

    def _document(self, response: httpx.Response, operation: str, kind: type[Found]) -> Found:
        document = self._client.decoded(response, operation)
        if not isinstance(document, kind):
            raise self._client.unreadable(response, operation, "an answer of another form")
        return document

    def _own(self, credentials: SecretFile) -> dict[str, str]:
        try:
            document = json.loads(credentials.read_document())
            return _basic(str(document["username"]), str(document["password"]))
        except (ValueError, KeyError, TypeError):
            raise ProviderRejected(
                f"{credentials.path} is no JSON with username and password; write it again.",
                code="credential_unreadable",
                details={"target": self.provider},
            ) from None

    @property
    def _configured(self) -> tuple[str, SecretFile]:
        if self._url is None or self._credentials is None:
            raise NOT_CONFIGURED.of(self.provider, "make a robot", "no Harbor is configured")
        return self._url, self._credentials

    def _require_configured(self) -> None:
        _ = self._configured


def description_of(marker: Marker, version: int | None) -> str:
    """What a robot's description says; Harbor keeps nothing else for us."""
    said = dict(zip(_MARKER_KEYS, _marks(marker), strict=True))
    return json.dumps({**said, "version": version})


_MARKER_KEYS = ("installationId", "entityId", "requestId")


def _marks(marker: Marker) -> Sequence[str]:
    return marker.installation_id, marker.entity_id, marker.request_id


def _project_of(document: Mapping[str, Any]) -> Project:
    metadata = document.get("metadata") or {}
    return Project(
        id=int(document["project_id"]),
        name=str(document["name"]),
        is_public=metadata.get("public") == "true",
        repositories=int(document.get("repo_count", 0)),
    )


def _robot_of(document: Mapping[str, Any]) -> Robot:
    """What a description of ours says; another's says nothing."""
    try:
        said = json.loads(document.get("description") or "{}")
        marker = Marker(*(str(said.get(key, "")) for key in _MARKER_KEYS))
        version = said.get("version")
    except (ValueError, AttributeError):
        marker, version = Marker("", "", ""), None
    return Robot(
        id=int(document["id"]),
        name=str(document["name"]),
        marker=marker,
        version=version if isinstance(version, int) else None,
        is_disabled=bool(document.get("disable", False)),
        expires_at=int(document.get("expires_at", NEVER_EXPIRES)),
    )


def _basic(username: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {encoded_login(username, password)}"}


def encoded_login(username: str, password: str) -> str:
    """Both as HTTP's basic authentication and container runtimes write them."""
    return base64.b64encode(f"{username}:{password}".encode()).decode()


def _granted_by(token: str) -> frozenset[str] | None:
    """The actions in a registry token's own claims; None when it is none. Whether it is signed
    well is for the registry to see.
    """
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        access = claims.get("access") or ()
        return frozenset(action for each in access for action in each["actions"])
    except (ValueError, IndexError, KeyError, TypeError, AttributeError):
        return None
