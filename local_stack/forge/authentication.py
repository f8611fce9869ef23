"""From a token to a caller: static tokens for the platform's own, introspection for people."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from idp_kernel.errors import InvalidInput, PlatformError, Unauthenticated, Unavailable
from idp_kernel.http.client import ServiceClient
from idp_kernel.wire.engine import TOKEN_INTROSPECTION, Introspection, IntrospectToken
from local_stack.forge.callers import Agent, Bot, Caller, Person

TOKEN_MAX_LENGTH = 512
REMEMBER_SECONDS = 3.0
"""How long a revoked token may still work here."""
REMEMBERED_PEOPLE = 1000
RETRY_AFTER_SECONDS = 5.0
_UNKNOWN_TOKEN = "The token is not valid, has expired or was revoked; get a new one with `idp`."


class Introspect(Protocol):
    """Asks who holds a token."""

    def __call__(self, token: str) -> Introspection:
        """Raises `Unavailable` when nobody can say."""
        ...


class ControlPlaneIntrospection:
    """Asks the control plane, as this service."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    def __call__(self, token: str) -> Introspection:
        """Every trouble but a refused token means that nobody can say, and is never an answer."""
        try:
            return self._client.call(
                "POST", TOKEN_INTROSPECTION, Introspection, body=IntrospectToken(token=token)
            )
        except InvalidInput:
            return Introspection(active=False)
        except PlatformError as error:
            raise Unavailable(
                f"The control plane could not say whose token this is ({error.code}); try again.",
                code="control_plane_unavailable",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            ) from error


@dataclass(frozen=True)
class _Remembered:
    person: Person
    until: float


class Authentication:
    """Tells who holds a token. Thread-safe; keeps digests, never tokens."""

    def __init__(
        self,
        *,
        bot_token: str,
        agent_token: str,
        introspect: Introspect,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._static: tuple[tuple[bytes, Caller], ...] = (
            (_digest(bot_token), Bot()),
            (_digest(agent_token), Agent()),
        )
        self._introspect = introspect
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._people: dict[bytes, _Remembered] = {}

    def caller(self, authorization: str | None, *, basic: bool = False) -> Caller:
        """Whose `Authorization` header it is; `basic` takes the password of basic ones too.

        Raises `Unauthenticated` for nobody known, `Unavailable` when the control plane is away
        and the token is not one of the platform's own.
        """
        token = _token_of(authorization, basic=basic)
        digest = _digest(token)
        for known, caller in self._static:
            if hmac.compare_digest(known, digest):
                return caller
        return self._remembered(digest) or self._ask(token, digest)

    def _remembered(self, digest: bytes) -> Person | None:
        with self._lock:
            remembered = self._people.get(digest)
            if remembered is not None and remembered.until > self._monotonic():
                return remembered.person
            return None

    def _ask(self, token: str, digest: bytes) -> Person:
        answer = self._introspect(token)
        if not answer.active or answer.principal is None:
            raise Unauthenticated(_UNKNOWN_TOKEN, code="token_invalid")
        person = Person(answer.principal, answer.platform_admin, answer.teams)
        with self._lock:
            if len(self._people) >= REMEMBERED_PEOPLE:
                self._people.clear()
            until = self._monotonic() + REMEMBER_SECONDS
            self._people[digest] = _Remembered(person, until)
        return person


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _token_of(authorization: str | None, *, basic: bool) -> str:
    scheme, _, credentials = (authorization or "").partition(" ")
    token = ""
    if scheme.lower() == "bearer":
        token = credentials.strip()
    elif scheme.lower() == "basic" and basic:
        token = _password_of(credentials)
    if not token:
        raise Unauthenticated("This needs a platform token; get one with `idp`.")
    if len(token) > TOKEN_MAX_LENGTH or not (token.isascii() and token.isprintable()):
        raise Unauthenticated(_UNKNOWN_TOKEN, code="token_invalid")
    return token


def _password_of(credentials: str) -> str:
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return ""
    return decoded.partition(":")[2]
