"""Who the platform is at GitHub: an App's installation, or whoever owns a token."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Protocol

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from pydantic import BaseModel, Field

from execution_workers.credentials import SecretFile
from execution_workers.providers.forges.rest_api import RestApi
from execution_workers.providers.rest import RestClient
from idp_kernel.clock import Clock
from idp_kernel.errors import ProviderRejected

MEDIA_TYPE = "application/vnd.github+json"
API_VERSION = "2022-11-28"
_CLOCKS_APART = timedelta(seconds=60)
_LIFETIME = timedelta(minutes=9)
"""Of the App's own token; GitHub takes at most ten minutes."""
_SOON_OVER = timedelta(minutes=10)


class InstallationToken(BaseModel):
    token: str = Field(repr=False)
    expires_at: datetime
    permissions: dict[str, str] = {}


class GitHubApp(BaseModel):
    id: int
    slug: str


class GitHubUser(BaseModel):
    id: int
    login: str


@dataclass(frozen=True)
class Identity:
    """Who pushes past a protection: one of the two."""

    id: int
    users: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "".join((*self.users, *self.apps))


class Credential(Protocol):
    """What one attempt has to show."""

    def prepare(self) -> None:
        """Has a token ready, so that `token` calls nobody."""
        ...

    def token(self) -> str:
        """For REST and, as a password, for git."""
        ...

    def identity(self, api: RestApi) -> Identity:
        """Whose it is."""
        ...

    def permissions(self) -> Mapping[str, str] | None:
        """By name `read` or `write`; None when GitHub does not tell."""
        ...


@dataclass(frozen=True)
class OwnersToken:
    """A fine-grained token, read each time."""

    file: SecretFile

    def prepare(self) -> None:
        """It is in its file."""

    def token(self) -> str:
        return self.file.read()

    def identity(self, api: RestApi) -> Identity:
        user = api.read("user", GitHubUser, "read user")
        return Identity(user.id, users=(user.login,))

    def permissions(self) -> None:
        return None


@dataclass(frozen=True)
class App:
    """A GitHub App, installed in one organisation."""

    rest: RestClient
    prefix: str
    app_id: int
    installation_id: int
    key: SecretFile
    clock: Clock

    def minted(self) -> InstallationToken:
        """A new token of the installation, for an hour and all repositories it may see."""
        path = f"app/installations/{self.installation_id}/access_tokens"
        operation = "mint token"
        found = self._api.ask("POST", path, InstallationToken, operation)
        assert found is not None  # noqa: S101 - narrows for mypy: nothing means none here
        return found

    def identity(self) -> Identity:
        app = self._api.read("app", GitHubApp, "read app")
        return Identity(app.id, apps=(app.slug,))

    @property
    def _api(self) -> RestApi:
        return RestApi(self.rest, lambda: headers_with(self._signed()), self.prefix)

    def _signed(self) -> str:
        """The App's own token, signed with its key."""
        now = self.clock.now()
        claims = {
            "iss": str(self.app_id),
            "iat": int((now - _CLOCKS_APART).timestamp()),
            "exp": int((now + _LIFETIME).timestamp()),
        }
        pem = self.key.read_document()
        try:
            return jwt.encode({"alg": "RS256"}, claims, _key_of(pem))
        except (ValueError, JoseError):  # its text could hold the key's
            pass
        raise ProviderRejected(
            f"The credential in {self.key.path} could not be read: it is no RSA key in PEM.",
            code="credential_unreadable",
        )


@lru_cache(maxsize=1)
def _key_of(pem: str) -> RSAKey:
    """Kept as long as its file says the same: a key is proven when it is read, which takes longer
    than the call that it is for.
    """
    return RSAKey.import_key(pem)


@dataclass
class MintedToken:
    """A token of an App's installation, minted when it is first needed and kept until it is soon
    over. Thread-safe.
    """

    app: App
    _found: InstallationToken | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self) -> None:
        self._current()

    def token(self) -> str:
        return self._current().token

    def identity(self, _api: RestApi) -> Identity:
        return self.app.identity()

    def permissions(self) -> Mapping[str, str]:
        return self._current().permissions

    def _current(self) -> InstallationToken:
        with self._lock:
            found = self._found
            if found is None or found.expires_at - self.app.clock.now() < _SOON_OVER:
                found = self._found = self.app.minted()
            return found


def headers_with(token: str) -> dict[str, str]:
    """Those of every call."""
    return {
        "Authorization": f"Bearer {token}",
        "Accept": MEDIA_TYPE,
        "X-GitHub-Api-Version": API_VERSION,
    }
