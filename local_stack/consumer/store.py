"""The secret store as an application sees it: one version of one secret, read with an AppRole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from idp_kernel.errors import InvalidInput, NotFound, ProviderRejected, Unavailable
from idp_kernel.http.client import CONNECT_TIMEOUT_SECONDS
from idp_kernel.secret_store import SECRETS_MOUNT

READ_TIMEOUT_SECONDS = 5.0
_Name = Annotated[str, Field(min_length=1, max_length=63)]


class DatabaseLogin(BaseModel):
    """The properties of a version that opens a PostgreSQL database."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,253}$")]
    port: Annotated[int, Field(ge=1, le=65535)]
    database: _Name
    username: _Name
    password: SecretStr


class SecretStore:
    """Reads versions; logs in again when its token is refused. For one thread."""

    def __init__(self, base_url: str, approle_file: Path) -> None:
        self._approle_file = approle_file
        self._token: str | None = None
        self._client = httpx.Client(
            base_url=f"{base_url.rstrip('/')}/v1/",
            timeout=httpx.Timeout(READ_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )

    def database_login(self, path: str, version: int) -> DatabaseLogin:
        """The login that is stored as exactly this version.

        Raises `NotFound` when the version is not there or not any more, `InvalidInput` when it is
        no database login, `ProviderRejected` when the store refuses, `Unavailable` when it is away.
        """
        subject = f"version {version} of {path}"
        response = self._read(f"{SECRETS_MOUNT}/data/{path}", version)
        if response.status_code == 404:
            raise NotFound(f"The store has no {subject}.", code="no_such_version")
        _check(response, f"read {subject}")
        try:
            return DatabaseLogin.model_validate(response.json()["data"]["data"])
        except (ValidationError, ValueError, LookupError, TypeError) as error:
            raise InvalidInput(f"There is no database login in {subject}.") from error

    def close(self) -> None:
        """Closes the pooled connections."""
        self._client.close()

    def _read(self, path: str, version: int) -> httpx.Response:
        if self._token is not None:
            response = self._send("GET", path, self._token, version=version)
            if response.status_code != 403:
                return response
        self._token = self._log_in()
        return self._send("GET", path, self._token, version=version)

    def _log_in(self) -> str:
        try:
            credentials = self._approle_file.read_bytes()
        except OSError as error:
            raise Unavailable(
                f"The store's AppRole credentials cannot be read: {error.strerror}."
            ) from error
        response = self._send("POST", "auth/approle/login", None, body=credentials)
        _check(response, "log in with the AppRole")
        return str(response.json()["auth"]["client_token"])

    def _send(
        self,
        method: str,
        path: str,
        token: str | None,
        *,
        version: int | None = None,
        body: bytes | None = None,
    ) -> httpx.Response:
        headers = {"X-Vault-Token": token} if token else {}
        query: dict[str, Any] = {} if version is None else {"version": version}
        try:
            return self._client.request(method, path, params=query, headers=headers, content=body)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Unavailable(
                f"The store gave no answer: {type(error).__name__}.", code="unreachable"
            ) from error


def _check(response: httpx.Response, attempt: str) -> None:
    """Says the status alone: the answer's text may repeat what was sent."""
    status = response.status_code
    if status == 429 or status >= 500:
        raise Unavailable(f"The store could not {attempt} now (status {status}).")
    if status >= 400:
        raise ProviderRejected(f"The store refused to {attempt} (status {status}).")
