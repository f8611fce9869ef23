"""Services prove who they are with their own key and get a short-lived token for their scopes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from joserfc.jwk import KeySet

from control_plane.application.ports import Work
from idp_kernel.clock import Clock
from idp_kernel.errors import Unauthenticated
from idp_kernel.services import SERVICE_SCOPES, ServiceName
from idp_kernel.tokens import (
    ASSERTION_LIFETIME,
    AUDIENCE_CONTROL_PLANE,
    CLOCK_LEEWAY_SECONDS,
    AssertionClaims,
    SigningKey,
    issue_service_token,
    verify,
)
from idp_kernel.wire.engine import ServiceToken

LIFETIME = timedelta(minutes=10)


@dataclass(frozen=True)
class ServiceKeys:
    """The public key of each service that has one, each good for that service alone."""

    by_service: Mapping[ServiceName, KeySet]


def issue_token_to_service(
    work: Work, assertion: str, keys: ServiceKeys, signing_key: SigningKey, clock: Clock
) -> ServiceToken:
    """The access token of the service that signed the assertion.

    Raises `Unauthenticated`: `token_invalid`, `token_expired`, `assertion_replayed`.
    """
    service = _claimed_service(assertion)
    key_set = keys.by_service.get(service) if service else None
    if service is None or key_set is None:
        raise _invalid()
    claims = verify(
        assertion, key_set, AssertionClaims, audience=AUDIENCE_CONTROL_PLANE, clock=clock
    )
    if claims.sub != service or claims.iss != service or claims.exp > _latest_end(work.now):
        raise _invalid()
    if not work.principals.is_new_assertion(claims.jti, datetime.fromtimestamp(claims.exp, UTC)):
        raise Unauthenticated("This assertion was used before.", code="assertion_replayed")
    until = work.now + LIFETIME
    token = issue_service_token(
        signing_key, service, SERVICE_SCOPES[service], now=work.now, until=until
    )
    return ServiceToken(access_token=token, expires_at=until)


def _claimed_service(assertion: str) -> ServiceName | None:
    """Whose key the token says it is signed with; the signature decides whether that is true."""
    encoded = assertion.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        return ServiceName(header["kid"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _latest_end(now: datetime) -> float:
    """In seconds; an assertion that lives longer is none of a minute."""
    return (now + ASSERTION_LIFETIME).timestamp() + CLOCK_LEEWAY_SECONDS


def _invalid() -> Unauthenticated:
    return Unauthenticated("The assertion is not valid here.", code="token_invalid")
