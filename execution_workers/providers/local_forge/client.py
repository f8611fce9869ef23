"""The forge's REST API, with the platform's own bot identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote

from execution_workers.credentials import SecretFile
from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.forges.git import GitRemote, bearer
from execution_workers.providers.local_forge.errors import ERRORS
from execution_workers.providers.problems import expect, translate
from idp_kernel.errors import Conflict, NotFound, PlatformError
from idp_kernel.http.client import ServiceClient
from idp_kernel.services import ServiceName
from idp_kernel.wire.forge import (
    ARCHIVE,
    CALLER,
    PROTECTION,
    REPOSITORIES,
    REPOSITORY,
    BranchProtection,
    CreateForgeRepository,
    ForgeCaller,
    ForgeRepository,
)

Result = TypeVar("Result")
_NO_SUCH_REPOSITORY = "no_such_repository"
_NO_SUCH_PROTECTION = "no_such_protection"
_REPOSITORY_EXISTS = "repository_exists"


class ForgeClient:
    """Calls the forge; thread-safe. Errors are raised by the error table."""

    def __init__(
        self,
        base_url: str,
        token: SecretFile,
        calls: ProviderCalls,
        *,
        timeout_seconds: float,
        git_timeout_seconds: float,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._calls = calls
        self._git_timeout_seconds = git_timeout_seconds
        self._client = ServiceClient(
            base_url,
            party=calls.provider,
            user_agent=ServiceName.EXECUTION_WORKERS,
            timeout_seconds=timeout_seconds,
        )

    @property
    def calls(self) -> ProviderCalls:
        return self._calls

    def caller(self) -> ForgeCaller:
        """Whom the forge takes the platform for."""

        def call(bearer: str) -> ForgeCaller:
            return self._client.call("GET", CALLER, ForgeCaller, bearer=bearer)

        return self._answer("read caller", call)

    def repository(self, owner: str, name: str) -> ForgeRepository | None:
        """None when there is no such repository."""

        def call(bearer: str) -> ForgeRepository | None:
            try:
                return self._client.call(
                    "GET", _path(REPOSITORY, owner, name), ForgeRepository, bearer=bearer
                )
            except NotFound as error:
                expect(error, _NO_SUCH_REPOSITORY)
                return None

        return self._answer("read repository", call)

    def create_repository(self, wanted: CreateForgeRepository) -> ForgeRepository | None:
        """The new repository; None when somebody else was faster."""

        def call(bearer: str) -> ForgeRepository | None:
            try:
                return self._client.call(
                    "POST", REPOSITORIES, ForgeRepository, body=wanted, bearer=bearer
                )
            except Conflict as error:
                expect(error, _REPOSITORY_EXISTS)
                return None

        return self._answer("create repository", call)

    def delete_repository(self, owner: str, name: str) -> None:
        """One that is gone already is fine."""
        self._delete(_path(REPOSITORY, owner, name), _NO_SUCH_REPOSITORY, "delete repository")

    def archive(self, owner: str, name: str) -> None:
        """One that is archived already is fine."""
        path = _path(ARCHIVE, owner, name)

        def call(bearer: str) -> ForgeRepository:
            return self._client.call("PUT", path, ForgeRepository, bearer=bearer)

        self._answer("archive repository", call)

    def protect(self, owner: str, name: str, protection: BranchProtection) -> None:
        """Adds the protection or puts it in the place of the branch's former one."""
        path = _path(PROTECTION, owner, name, protection.branch)

        def call(bearer: str) -> BranchProtection:
            return self._client.call("PUT", path, BranchProtection, body=protection, bearer=bearer)

        self._answer("protect branch", call)

    def unprotect(self, owner: str, name: str, branch: str) -> None:
        """A protection that is gone already is fine."""
        self._delete(
            _path(PROTECTION, owner, name, branch), _NO_SUCH_PROTECTION, "unprotect branch"
        )

    def git(self, owner: str, name: str) -> GitRemote:
        """The repository for git, at this forge's own address whatever it calls itself."""
        url = f"{self._base_url}/{quote(owner)}/{quote(name)}.git"
        return GitRemote(url, bearer(self._token), self._calls, self._git_timeout_seconds)

    def close(self) -> None:
        """Closes the pooled connections."""
        self._client.close()

    def _delete(self, path: str, code_when_gone: str, operation: str) -> None:
        def call(bearer: str) -> None:
            try:
                self._client.send("DELETE", path, bearer=bearer)
            except NotFound as error:
                expect(error, code_when_gone)

        self._answer(operation, call)

    def _answer(self, operation: str, call: Callable[[str], Result]) -> Result:
        with self._calls.calling(operation):
            bearer = self._token.read()
            try:
                return call(bearer)
            except PlatformError as error:
                raise translate(ERRORS, error, self._calls.provider, operation) from error


def _path(template: str, owner: str, name: str, branch: str = "") -> str:
    return template.format(owner=quote(owner), name=quote(name), branch=quote(branch, safe=""))
