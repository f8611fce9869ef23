"""Signed tokens (JWT, Ed25519): what services assert of themselves and what runs may do.

The control plane is the only issuer of access and run tokens and publishes its public key; each
service signs one thing itself, the assertion that it is that service (RFC 7523).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import KeySet, OKPKey
from joserfc.jws import JWSRegistry
from pydantic import ConfigDict, Field

from idp_kernel.clock import Clock
from idp_kernel.errors import InvalidInput, InvariantBroken, Unauthenticated
from idp_kernel.ids import new_id
from idp_kernel.services import Scope, ServiceName
from idp_kernel.wire.base import WireModel

ALGORITHM = "Ed25519"
ISSUER = "idp-control-plane"
AUDIENCE_CONTROL_PLANE = "control-plane"
AUDIENCE_WORKERS = "execution-workers"
AUDIENCE_SECRET_STORE = "secret-store"
STORE_LOGIN_ALGORITHM = "EdDSA"
"""RFC 8037's name for what we sign with; secret stores do not know RFC 9864's `Ed25519` yet."""
ASSERTION_LIFETIME = timedelta(seconds=60)
JTI_MAX_LENGTH = 100
CLOCK_LEEWAY_SECONDS = 5
"""How far apart two machines' clocks may be when an assertion is checked."""
TOKEN_EXPIRED = "token_expired"


class _StoreLoginRegistry(JWSRegistry):
    """Signs as Ed25519 does, whatever the header calls it: the old name means the same bytes."""

    def get_alg(self, _name: str) -> JWSAlgModel:
        return self.algorithms[ALGORITHM]


_REGISTRIES = {
    ALGORITHM: JWSRegistry(algorithms=[ALGORITHM]),
    STORE_LOGIN_ALGORITHM: _StoreLoginRegistry(),
}


class _Claims(WireModel):
    model_config = ConfigDict(**{**WireModel.model_config, "alias_generator": None})

    iss: str
    sub: str
    aud: list[str]
    iat: int
    exp: int
    jti: Annotated[str, Field(max_length=JTI_MAX_LENGTH)]


class StoreAccess(StrEnum):
    """What a person may do with the values of a team's secrets, at the store."""

    READ = "read"
    WRITE = "write"


class AssertionClaims(_Claims):
    """A service says who it is; `sub` is its name."""


class ServiceClaims(_Claims):
    """A service's access token: teamless, limited to its scopes."""

    scopes: list[Scope]


class StoreLoginClaims(_Claims):
    """What a person shows the secret store; the store's roles bind `team` and `access`."""

    team: str
    access: StoreAccess


class RunClaims(_Claims):
    """A run's token: good for one request, one fence, until the lease ends."""

    request_id: str
    run_id: str
    attempt: int
    generation: int
    fence: int
    team_id: str
    team: str
    deadline: int
    """Of the request that the run works on: no change is begun after it. In seconds, as `exp`."""
    is_for_undo: bool = False
    """Whether it speaks for a request whose effects another one takes back, and does nothing."""


ClaimsT = TypeVar("ClaimsT", bound=_Claims)


@dataclass(frozen=True)
class SigningKey:
    """A private key and the name (`kid`) its public half is published under."""

    key: OKPKey

    @classmethod
    def generate(cls, kid: str) -> SigningKey:
        return cls(OKPKey.generate_key("Ed25519", {"kid": kid, "use": "sig", "alg": ALGORITHM}))

    @classmethod
    def read(cls, path: Path) -> SigningKey:
        """The key of a file that `write` made; raises `InvalidInput` (`key_file_unusable`) for
        anything else, and shows nothing of what is in it.
        """
        try:
            key = cls(OKPKey.import_key(json.loads(path.read_text(encoding="utf-8"))))
        except OSError as error:
            raise _unusable_key(path, f"cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, AttributeError, KeyError, JoseError):
            raise _unusable_key(path, "holds no key: it must be a private key as JSON") from None
        if not key.key.is_private or key.key.kid is None:
            raise _unusable_key(path, "holds no private key with a `kid`")
        return key

    def write(self, path: Path) -> None:
        """Creates the file with mode 0600; an existing one is left alone and refused."""
        write_private_file(path, json.dumps(self.key.as_dict(private=True)))

    @property
    def kid(self) -> str:
        return str(self.key.kid)

    @property
    def public(self) -> dict[str, Any]:
        """The public JWK."""
        return dict(self.key.as_dict(private=False))

    @property
    def public_pem(self) -> str:
        """The public half as PEM, for those who know no JWK."""
        return self.key.as_pem(private=False).decode("ascii").strip()

    def sign(self, claims: _Claims, algorithm: str = ALGORITHM) -> str:
        return jwt.encode(
            {"alg": algorithm, "kid": self.kid},
            claims.model_dump(mode="json"),
            self.key,
            registry=_REGISTRIES[algorithm],
        )


def _unusable_key(path: Path, found: str) -> InvalidInput:
    return InvalidInput(f"The key file {path} {found}.", code="key_file_unusable")


def write_private_file(path: Path, content: str) -> None:
    """A file for its owner's eyes only, whole or not at all; raises `FileExistsError`."""
    temporary = path.with_name(f".{path.name}.{new_id()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        temporary.unlink()


def public_key_set(keys: Mapping[str, object] | str) -> KeySet:
    """A JWK set from its JSON text or the decoded document."""
    document = json.loads(keys) if isinstance(keys, str) else keys
    return KeySet.import_key_set(document)  # type: ignore[arg-type]


def verify(
    token: str, keys: KeySet, claims_type: type[ClaimsT], *, audience: str, clock: Clock
) -> ClaimsT:
    """The claims of a valid token.

    Raises `Unauthenticated`: `token_invalid` when it is not signed by one of `keys`, not for
    this audience or not of this form; `token_expired` when its time is over.
    """
    try:
        claims = claims_type.model_validate(_signed(token, keys))
    except (JoseError, ValueError) as error:
        raise Unauthenticated(
            "The bearer token is not valid here.", code="token_invalid"
        ) from error
    if audience not in claims.aud:
        raise Unauthenticated("The bearer token is not meant for this.", code="token_invalid")
    now = clock.now().timestamp()
    if claims.iat > now + CLOCK_LEEWAY_SECONDS:
        raise Unauthenticated("The bearer token is from the future.", code="token_invalid")
    if claims.exp <= now:
        raise Unauthenticated("The bearer token has expired.", code=TOKEN_EXPIRED)
    return claims


def _signed(token: str, keys: KeySet) -> dict[str, Any]:
    """The claims under a good signature; raises `JoseError` or `ValueError`."""
    try:
        return jwt.decode(token, keys, algorithms=[ALGORITHM]).claims
    except (TypeError, RecursionError) as error:
        # joserfc takes the header's shape for granted: `crit` may be no list, or nested for ever.
        raise ValueError("the token's header has no form of ours") from error


def service_assertion(key: SigningKey, service: ServiceName, clock: Clock) -> str:
    """What a service sends to `/internal/tokens`, signed with its own key."""
    now = clock.now()
    return key.sign(
        AssertionClaims(
            iss=service,
            sub=service,
            aud=[AUDIENCE_CONTROL_PLANE],
            iat=_seconds(now),
            exp=_seconds(now + ASSERTION_LIFETIME),
            jti=new_id(),
        )
    )


def issue_service_token(
    key: SigningKey,
    service: ServiceName,
    scopes: frozenset[Scope],
    *,
    now: datetime,
    until: datetime,
) -> str:
    """A service's access token; only the control plane holds a key that counts.

    It is good at the control plane, with the scope `probes` at execution-workers too.
    """
    audiences = [AUDIENCE_CONTROL_PLANE]
    if Scope.PROBES in scopes:
        audiences.append(AUDIENCE_WORKERS)
    return key.sign(
        ServiceClaims(
            iss=ISSUER,
            sub=service,
            aud=audiences,
            iat=_seconds(now),
            exp=_seconds(until),
            jti=new_id(),
            scopes=sorted(scopes),
        )
    )


def issue_run_token(
    key: SigningKey,
    *,
    request_id: str,
    run_id: str,
    attempt: int,
    generation: int,
    fence: int,
    team_id: str,
    team: str,
    now: datetime,
    until: datetime,
    deadline: datetime,
    is_for_undo: bool = False,
) -> str:
    """A run's token, good until its lease ends, at both parties; one for an undo is good at
    execution-workers alone, and makes nothing there.
    """
    if until <= now:
        raise InvariantBroken(f"run token for request {request_id} would be born expired")
    return key.sign(
        RunClaims(
            iss=ISSUER,
            sub=f"run:{run_id}",
            aud=[AUDIENCE_WORKERS] if is_for_undo else [AUDIENCE_CONTROL_PLANE, AUDIENCE_WORKERS],
            iat=_seconds(now),
            exp=_seconds(until),
            jti=new_id(),
            request_id=request_id,
            run_id=run_id,
            attempt=attempt,
            generation=generation,
            fence=fence,
            team_id=team_id,
            team=team,
            deadline=_seconds(deadline),
            is_for_undo=is_for_undo,
        )
    )


def store_role(team: str, access: StoreAccess) -> str:
    """The role at the secret store that lets a person of the team in."""
    return f"team-{team}-{access}"


def issue_store_login(
    key: SigningKey,
    principal: str,
    *,
    team: str,
    access: StoreAccess,
    now: datetime,
    until: datetime,
) -> str:
    """What a person shows the secret store to get a token there; opens nothing else."""
    claims = StoreLoginClaims(
        iss=ISSUER,
        sub=principal,
        aud=[AUDIENCE_SECRET_STORE],
        iat=_seconds(now),
        exp=_seconds(until),
        jti=new_id(),
        team=team,
        access=access,
    )
    return key.sign(claims, STORE_LOGIN_ALGORITHM)


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
