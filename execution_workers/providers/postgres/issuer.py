"""Database logins: a group role owns a schema, two login roles act as it and take turns.

Which of the two a credential is says its user name. A role's comment says which version of the
secret it has the password of, so that repeating a step finds what a killed one has done.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from execution_workers.failpoints import CREDENTIAL_INSTALLED, LOGIN_DISABLED
from execution_workers.ports import (
    Attempt,
    Ended,
    Permission,
    Properties,
    Sessions,
    foreign_owner,
)
from execution_workers.providers.postgres.client import LoginRole, PostgresClient
from execution_workers.providers.postgres.errors import IN_USE, LOGIN_REPLACED, NO_FREE_LOGIN
from execution_workers.providers.postgres.permissions import permissions_of
from idp_kernel.failpoints import failpoint

PASSWORD_BYTES = 32
USERNAME, PASSWORD = "username", "password"


class PostgresIssuer:
    """The port `CredentialIssuer` on PostgreSQL."""

    def __init__(self, client: PostgresClient) -> None:
        self._client = client

    def permissions(self) -> Sequence[Permission]:
        return permissions_of(self._client)

    @property
    def takes_values_of_people(self) -> bool:
        """False: what it did not make lets nobody in."""
        return False

    def draft(
        self,
        secret_id: str,
        in_use: Mapping[int, Properties],
        *,
        team: str,  # noqa: ARG002 - a secret has a schema of its own
        emergency: bool = False,
    ) -> Properties:
        address = self._client.address
        taken = self._taken(secret_id, in_use)
        free = [role for role in login_roles(secret_id) if role not in taken]
        if not free:
            raise NO_FREE_LOGIN.of(self._client.provider, "make a login", "bindings pin both")
        if not emergency:
            self._require_unused(free[0])
        return {
            "host": address.host,
            "port": str(address.port),
            "database": address.database,
            USERNAME: free[0],
            PASSWORD: secrets.token_urlsafe(PASSWORD_BYTES),
        }

    def install(
        self,
        secret_id: str,
        properties: Properties,
        version: int,
        attempt: Attempt,
        *,
        team: str,  # noqa: ARG002 - what it opens is told by its role alone
        emergency: bool = False,
    ) -> None:
        role = _own_role(secret_id, properties)
        standing = self._own_logins(secret_id, attempt).get(role)
        if standing is None or standing.version != version:
            is_elder = standing is None or (standing.version or 0) < version
            if is_elder and not emergency:
                self._require_unused(role)
            self._set_login(secret_id, role, properties, version, attempt)
        if emergency:
            failpoint(CREDENTIAL_INSTALLED)
            attempt.check_fence()
            self._client.end_sessions(role)

    def verify(self, properties: Properties, *, team: str) -> str | None:  # noqa: ARG002
        return self._client.refusal_of(properties.get(USERNAME, ""), properties.get(PASSWORD, ""))

    def problem_with(self, secret_id: str, version: int) -> str | None:
        logins = self._client.logins(group_role(secret_id)).values()
        login = next((each for each in logins if each.version == version), None)
        if login is None:
            return "the database has no login with its password"
        return None if login.can_log_in else f"the role {login.name} may not log in"

    def sessions(self, secret_id: str, properties: Properties) -> Sessions | None:
        role = properties.get(USERNAME, "")
        others = [each for each in login_roles(secret_id) if each != role]
        return Sessions(
            on_new=self._client.sessions(role),
            on_old=sum(self._client.sessions(other) for other in others),
        )

    def retire_others(
        self,
        secret_id: str,
        properties: Properties,
        version: int,
        attempt: Attempt,
        *,
        team: str,  # noqa: ARG002
    ) -> int:
        kept = properties.get(USERNAME)
        logins = self._own_logins(secret_id, attempt).values()
        others = [login for login in logins if login.name != kept]
        for login in others:
            if login.version is not None and login.version > version:
                found = f"the role {login.name} has the password of version {login.version} by now"
                raise LOGIN_REPLACED.of(self._client.provider, "retire elder logins", found)
        return sum(self._disable(secret_id, login, attempt) for login in others)

    def end(self, secret_id: str, attempt: Attempt) -> Ended:
        """First no login is let in, then they go: also where their data keeps them from going."""
        logins = self._own_logins(secret_id, attempt)
        sessions = sum(self._disable(secret_id, login, attempt) for login in logins.values())
        is_removed = self.remove(secret_id, attempt)
        return Ended(
            logins=sum(login.can_log_in for login in logins.values()),
            sessions=sessions,
            kept_logins=0 if is_removed else len(logins),
        )

    def logins_let_in(self, secret_id: str) -> Sequence[str]:
        logins = self._client.logins(group_role(secret_id)).values()
        return [login.name for login in logins if login.can_log_in]

    def remove(self, secret_id: str, attempt: Attempt) -> bool:
        self._own_logins(secret_id, attempt)
        attempt.check_fence()
        return self._client.remove_group(group_role(secret_id))

    def _taken(self, secret_id: str, in_use: Mapping[int, Properties]) -> set[str]:
        """By what the versions say, and by what the roles say of themselves."""
        if not in_use:
            return set()
        logins = self._client.logins(group_role(secret_id)).values()
        named = {each.get(USERNAME, "") for each in in_use.values()}
        return named | {login.name for login in logins if login.version in in_use}

    def _set_login(
        self, secret_id: str, role: str, properties: Properties, version: int, attempt: Attempt
    ) -> None:
        group, marker = group_role(secret_id), attempt.marker(secret_id)
        attempt.check_fence()
        self._client.set_login(group, role, properties[PASSWORD], version=version, marker=marker)

    def _disable(self, secret_id: str, login: LoginRole, attempt: Attempt) -> int:
        """How many sessions ended with it, if it is still as it was found."""
        attempt.check_fence()
        self._client.disable_login(
            group_role(secret_id), login.name, login.version, attempt.marker(secret_id)
        )
        failpoint(LOGIN_DISABLED)
        attempt.check_fence()
        return self._client.end_sessions(login.name)

    def _require_unused(self, role: str) -> None:
        users = self._client.sessions(role)
        if users:
            found = f"{users} sessions are logged in as {role}, the login of the version before"
            raise IN_USE.of(self._client.provider, "replace the elder login", found)

    def _own_logins(self, secret_id: str, attempt: Attempt) -> Mapping[str, LoginRole]:
        logins = self._client.logins(group_role(secret_id))
        marker = attempt.marker(secret_id)
        for login in logins.values():
            if not login.marker.is_of_same_entity(marker):
                raise foreign_owner(self._client.provider, f"a role {login.name}")
        return logins


def group_role(secret_id: str) -> str:
    """The role that owns the secret's schema, which has the same name."""
    return f"idp_{secret_id.replace('-', '')}"


def login_roles(secret_id: str) -> tuple[str, str]:
    """The two that take turns."""
    group = group_role(secret_id)
    return f"{group}_a", f"{group}_b"


def _own_role(secret_id: str, properties: Properties) -> str:
    """The role of a credential; none but the secret's own is ever changed."""
    role = properties.get(USERNAME, "")
    if role not in login_roles(secret_id):
        raise foreign_owner("postgres", "a version whose user name the platform did not choose,")
    return role
