"""A person at the secret store itself: the platform's login exchanged there, values never here."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile

from pydantic import BaseModel, ValidationError

from idp_cli.invocation import Invocation
from idp_kernel.clock import Clock
from idp_kernel.errors import (
    InvalidInput,
    InvariantBroken,
    NotAllowed,
    PlatformError,
    Unauthenticated,
    Unavailable,
)
from idp_kernel.http.client import ServiceClient
from idp_kernel.secret_store import NAMESPACE_HEADER, PEOPLE_MOUNT
from idp_kernel.tokens import StoreAccess, store_role, write_private_file
from idp_kernel.wire.api import Secret, SecretLogin
from idp_kernel.wire.base import WireModel
from idp_kernel.wire.worker import CREDENTIAL_PROPERTIES, CredentialIssuerName

SECRET_STORE = "secret-store"
LOGIN = f"/v1/auth/{PEOPLE_MOUNT}/login"
REVOCATION = "/v1/auth/token/revoke-self"
ADDRESS_VARIABLES = ("BAO_ADDR", "VAULT_ADDR")
TOKEN_VARIABLES = ("BAO_TOKEN", "VAULT_TOKEN")
NAMESPACE_VARIABLES = ("BAO_NAMESPACE", "VAULT_NAMESPACE")
AUTHORITIES_VARIABLES = ("BAO_CACERT", "VAULT_CACERT")
SIGNAL_EXIT_BASE = 128


def store_client(invocation: Invocation, login: SecretLogin) -> ServiceClient:
    """The store as the login says that it is reached."""
    return invocation.client_with(
        None,
        login.store_url,
        SECRET_STORE,
        headers={} if login.namespace is None else {NAMESPACE_HEADER: login.namespace},
        authorities=login.authorities,
    )


class _StoreLogin(WireModel):
    """What the store's auth method `jwt` takes."""

    role: str
    jwt: str


class _Authorized(BaseModel):
    client_token: str
    lease_duration: int


class _StoreAnswer(BaseModel):
    """What matters here of the store's answer."""

    auth: _Authorized


@dataclass(frozen=True)
class StoreToken:
    """A token of the store, not of the platform."""

    token: str
    expires_at: datetime


def exchange(login: SecretLogin, client: ServiceClient, clock: Clock) -> StoreToken:
    """The store's token for the platform's login.

    Raises `NotAllowed` (`store_login_refused`) when the store does not let that role in, and
    `Unavailable` when it does not answer.
    """
    try:
        response = client.send("POST", LOGIN, body=_StoreLogin(role=login.role, jwt=login.jwt))
    except Unavailable:
        raise
    except PlatformError as error:
        raise NotAllowed(
            f"The secret store at {login.store_url} refused the login as {login.role}. The role "
            "is made with the first secret of its team.",
            code="store_login_refused",
        ) from error
    try:
        authorized = _StoreAnswer.model_validate_json(response.content).auth
    except ValidationError as error:
        raise InvariantBroken(
            f"The secret store answered {LOGIN} with what is no login: "
            f"{error.error_count()} errors",
            code="contract_broken",
        ) from None  # the cause would show what was answered
    lasts = timedelta(seconds=authorized.lease_duration)
    return StoreToken(authorized.client_token, clock.now() + lasts)


def revoke(token: StoreToken, client: ServiceClient) -> None:
    """The end of a token; one that has ended already is fine.

    Raises `Unavailable` (`store_token_left`) when the store does not answer.
    """
    try:
        client.send("POST", REVOCATION, bearer=token.token)
    except (Unauthenticated, NotAllowed):
        return  # the store knows it no more: what had it ended it, or its time was over
    except Unavailable as error:
        raise Unavailable(
            "The token for the secret store could not be revoked; it ends by itself at "
            f"{token.expires_at:%H:%M:%S}Z. {error.message}",
            code="store_token_left",
        ) from error


def keep_token(path: Path, token: str) -> None:
    """The token in a file for its owner's eyes only, in place of what was there."""
    try:
        path.unlink(missing_ok=True)
        write_private_file(path, token)
    except OSError as error:
        raise InvalidInput(
            f"The token cannot be written to {path}: {error.strerror}.",
            code="token_file_unwritable",
        ) from error


def run_with_token(command: Sequence[str], login: SecretLogin, token: str) -> int:
    """Runs `command` with the store's address and token in its environment and nowhere else;
    answers its exit code as a shell would.
    """
    told = dict.fromkeys(NAMESPACE_VARIABLES)
    environment = {name: value for name, value in os.environ.items() if name not in told}
    environment |= dict.fromkeys(ADDRESS_VARIABLES, login.store_url)
    environment |= dict.fromkeys(TOKEN_VARIABLES, token)
    if login.namespace is not None:
        environment |= dict.fromkeys(NAMESPACE_VARIABLES, login.namespace)
    with ExitStack() as opened:
        if login.authorities is not None:
            file = opened.enter_context(_kept_for_a_while(login.authorities))
            environment |= dict.fromkeys(AUTHORITIES_VARIABLES, file)
        return _run(command, environment)


@contextmanager
def _kept_for_a_while(text: str) -> Iterator[str]:
    """The name of a file that has it."""
    with NamedTemporaryFile("w", prefix="idp-", suffix=".pem", encoding="ascii") as file:
        file.write(text)
        file.flush()
        yield file.name


def _run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    try:
        code = subprocess.run(command, env=environment, check=False).returncode
    except OSError as error:
        raise InvalidInput(
            f"{command[0]!r} cannot be run: {error.strerror}.", code="command_not_run"
        ) from error
    return code if code >= 0 else SIGNAL_EXIT_BASE - code


def read_command(secret: Secret, login: SecretLogin) -> str:
    """How the store's own program shows the version in use."""
    version = [] if secret.version is None else [f"-version={secret.version}"]
    return shlex.join(
        ["bao", "kv", "get", *_within(login), *version, f"-mount={login.mount}", login.path]
    )


def set_command(secret: Secret, login: SecretLogin) -> str | None:
    """What a shell is told so that the store's own program takes a new value from its standard
    input, whichever version is the newest by then: the store wants it named. None where the person
    may only read, and for what is no single value of a person's.
    """
    may_write = login.role == store_role(secret.team, StoreAccess.WRITE)
    if not may_write or secret.issuer != CredentialIssuerName.OPENBAO:
        return None
    (name,) = CREDENTIAL_PROPERTIES[secret.issuer]
    newest = shlex.join(
        [
            *("bao", "read", *_within(login), "-field=current_version"),
            f"{login.mount}/metadata/{login.path}",
        ]
    )
    where = shlex.join([*_within(login), f"-mount={login.mount}", login.path, f"{name}=-"])
    return f'bao kv put -cas="$({newest})" {where}'


def _within(login: SecretLogin) -> list[str]:
    return [] if login.namespace is None else [f"-namespace={login.namespace}"]
