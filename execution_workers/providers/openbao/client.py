"""OpenBao's HTTP API as far as secrets need it.

Not hvac: that has one timeout for everything, honours the machine's proxy variables, and its
errors carry the answer's text.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.openbao.errors import ERRORS
from execution_workers.providers.openbao.logins import StoreLogin
from execution_workers.providers.rest import RestClient
from idp_kernel.clock import Clock
from idp_kernel.secret_store import NAMESPACE_HEADER, PEOPLE_MOUNT, SECRETS_MOUNT

LOGIN_ROLES = f"auth/{PEOPLE_MOUNT}/role"
MOST_VERSIONS = 1000
"""That a secret keeps: the store forgets the oldest beyond, were it the one in use."""
_RENEW_AT_SHARE = 0.7
"""Of a token's life; then it is renewed."""
_WORTH_RENEWING_SHARE = 0.5
"""Of the life it had at first: one that gets less is near its very end, and replaced."""
OF_OWN_404 = ("errors", "data")
"""What OpenBao's answer has when there is no such thing, and when a version is deleted."""


@dataclass(frozen=True)
class SecretMetadata:
    """A secret as its metadata tells: no value."""

    custom: Mapping[str, str]
    version: int
    """The newest; 0 before the first value."""
    metadata_version: int
    live: Mapping[int, datetime]
    """The versions that can be read, each with the time it was written."""
    kept: frozenset[int]
    """The versions that are not destroyed."""


@dataclass
class _Login:
    token: str = field(repr=False)
    lifetime: timedelta
    """What it had at first."""
    is_renewable: bool
    renew_at: datetime


class OpenBaoClient:
    """Logged in; the token is renewed before it ends, and replaced when it is near its longest life
    or refused. Thread-safe.
    """

    def __init__(
        self,
        base_url: str,
        login: StoreLogin,
        calls: ProviderCalls,
        clock: Clock,
        *,
        timeout_seconds: float,
        namespace: str | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self._proof = login
        self._calls = calls
        self._clock = clock
        self._lock = threading.Lock()
        self._login: _Login | None = None
        self._client = RestClient(
            f"{base_url.rstrip('/')}/v1",
            calls,
            ERRORS,
            timeout_seconds=timeout_seconds,
            headers={} if namespace is None else {NAMESPACE_HEADER: namespace},
            ca_file=ca_file,
        )

    @property
    def provider(self) -> str:
        return self._calls.provider

    def metadata(self, path: str) -> SecretMetadata | None:
        """None when there is no such secret."""
        document = self._read(f"{SECRETS_MOUNT}/metadata/{path}", "read secret metadata")
        return None if document is None else _metadata_of(document["data"])

    def write_metadata(
        self, path: str, custom: Mapping[str, str], *, expected_version: int
    ) -> None:
        """Marks a secret and lets it be written with check-and-set only.

        Raises `Unavailable` (`openbao_contended`) when its metadata is not at `expected_version`
        any more; 0 stands for a secret that is not there.
        """
        body = {
            "cas_required": True,
            "max_versions": MOST_VERSIONS,
            "metadata_cas": expected_version,
            "custom_metadata": dict(custom),
        }
        self._call("POST", f"{SECRETS_MOUNT}/metadata/{path}", "write secret metadata", body)

    def write_value(self, path: str, data: Mapping[str, str], *, expected_version: int) -> int:
        """The new version's number.

        Raises `Unavailable` (`openbao_contended`) when the newest is not `expected_version`.
        """
        body = {"options": {"cas": expected_version}, "data": dict(data)}
        answer = self._call("POST", f"{SECRETS_MOUNT}/data/{path}", "write secret", body)
        return int(answer["data"]["version"])

    def value(self, path: str, version: int) -> dict[str, Any] | None:
        """What the version holds; None when it is missing, deleted or destroyed."""
        document = self._read(f"{SECRETS_MOUNT}/data/{path}?version={version}", "read secret")
        return None if document is None else document["data"]["data"]

    def destroy(self, path: str, versions: Sequence[int]) -> None:
        """Ends the versions for good; destroyed ones are fine."""
        body = {"versions": list(versions)}
        self._call("POST", f"{SECRETS_MOUNT}/destroy/{path}", "destroy versions", body)

    def delete_versions(self, path: str, versions: Sequence[int]) -> None:
        """Hides the versions, which can be undeleted; deleted ones are fine."""
        self._call(
            "POST", f"{SECRETS_MOUNT}/delete/{path}", "delete versions", {"versions": [*versions]}
        )

    def delete(self, path: str) -> None:
        """The secret with all its versions; one that is gone already is fine."""
        self._call("DELETE", f"{SECRETS_MOUNT}/metadata/{path}", "delete secret")

    def policy(self, name: str) -> str | None:
        """The text of an access policy; None when there is none."""
        document = self._read(f"sys/policies/acl/{name}", "read policy")
        return None if document is None else str(document["data"]["policy"])

    def write_policy(self, name: str, policy: str) -> None:
        self._call("POST", f"sys/policies/acl/{name}", "write policy", {"policy": policy})

    def login_role(self, name: str) -> dict[str, Any] | None:
        """The settings of a role of people's logins; None when there is none."""
        document = self._read(f"{LOGIN_ROLES}/{name}", "read login role")
        return None if document is None else dict(document["data"])

    def write_login_role(self, name: str, settings: Mapping[str, object]) -> None:
        self._call("POST", f"{LOGIN_ROLES}/{name}", "write login role", settings)

    def capabilities(self, paths: Sequence[str]) -> Mapping[str, frozenset[str]]:
        """What the workers' token may do at each path; `root` and `deny` are told as such."""
        body = {"paths": list(paths)}
        answer = self._call("POST", "sys/capabilities-self", "read capabilities", body)
        return {path: frozenset(answer["data"][path] or ()) for path in paths}

    def close(self) -> None:
        """Closes the pooled connections."""
        self._client.close()

    def _read(self, path: str, operation: str) -> dict[str, Any] | None:
        """The decoded answer; None when there is no such thing."""
        with self._calls.calling(operation):
            response = self._exchange("GET", path, operation, None)
            if response.status_code == 404:
                self._client.require_own(response, operation, *OF_OWN_404)
                return None
            return self._decoded(response, operation)

    def _call(
        self, method: str, path: str, operation: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The decoded answer, `{}` for an empty one."""
        with self._calls.calling(operation):
            return self._decoded(self._exchange(method, path, operation, body), operation)

    def _exchange(
        self, method: str, path: str, operation: str, body: Mapping[str, Any] | None
    ) -> httpx.Response:
        """The answer; a refused token is replaced once, since OpenBao ends tokens as it likes."""
        login = self._logged_in()
        response = self._send(method, path, operation, body, login.token)
        if response.status_code != 403:
            return response
        return self._send(method, path, operation, body, self._logged_in(refused=login).token)

    def _logged_in(self, refused: _Login | None = None) -> _Login:
        """The login in use, renewed when it is due; a new one when it is the one that was refused,
        or can live on no longer.
        """
        with self._lock:
            login = self._login
            if login is not None and login is not refused:
                if self._clock.now() < login.renew_at:
                    return login
                login = self._renewed(login)
                if login is not None:
                    return login
            login = self._login = self._log_in()
            return login

    def _log_in(self) -> _Login:
        operation = "log the workers in"
        response = self._send("POST", self._proof.path, operation, self._proof.proof(), None)
        auth = self._decoded(response, operation)["auth"]
        lifetime = timedelta(seconds=auth["lease_duration"])
        return _Login(
            auth["client_token"], lifetime, bool(auth.get("renewable")), self._due_after(lifetime)
        )

    def _renewed(self, login: _Login) -> _Login | None:
        """The same token with more time; None when the store gives it none or too little. OpenBao
        refuses one past its longest life with status 500.
        """
        if not login.is_renewable:
            return None
        operation = "renew the workers' token"
        response = self._send("POST", "auth/token/renew-self", operation, {}, login.token)
        if not response.is_success:
            return None
        auth = self._decoded(response, operation)["auth"]
        left = timedelta(seconds=auth["lease_duration"])
        if left < login.lifetime * _WORTH_RENEWING_SHARE:
            return None
        login.renew_at = self._due_after(left)
        return login

    def _due_after(self, lifetime: timedelta) -> datetime:
        return self._clock.now() + lifetime * _RENEW_AT_SHARE

    def _send(
        self,
        method: str,
        path: str,
        operation: str,
        body: Mapping[str, Any] | None,
        token: str | None,
    ) -> httpx.Response:
        headers = {} if token is None else {"X-Vault-Token": token}
        return self._client.send(method, path, operation, body=body, headers=headers)

    def _decoded(self, response: httpx.Response, operation: str) -> dict[str, Any]:
        document = self._client.decoded(response, operation)
        if document is None:
            return {}
        if not isinstance(document, dict):
            raise self._client.unreadable(response, operation, "an answer that is no JSON object")
        return document


def _metadata_of(data: Mapping[str, Any]) -> SecretMetadata:
    versions = {int(number): facts for number, facts in (data["versions"] or {}).items()}
    kept = {number: facts for number, facts in versions.items() if not facts["destroyed"]}
    return SecretMetadata(
        custom=data["custom_metadata"] or {},
        version=int(data["current_version"]),
        metadata_version=int(data.get("current_metadata_version", 0)),
        live={
            number: datetime.fromisoformat(facts["created_time"])
            for number, facts in kept.items()
            if not facts["deletion_time"]
        },
        kept=frozenset(kept),
    )
