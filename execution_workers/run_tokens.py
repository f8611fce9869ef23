"""Verifies run and service tokens offline, with the keys that the control plane publishes."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from typing import Final, TypeVar

import structlog
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from idp_kernel.clock import Clock
from idp_kernel.errors import NotAllowed, PlatformError, Unauthenticated, Unavailable
from idp_kernel.http.client import ServiceClient
from idp_kernel.services import Scope
from idp_kernel.tokens import (
    AUDIENCE_WORKERS,
    RunClaims,
    ServiceClaims,
    public_key_set,
    verify,
)
from idp_kernel.wire.engine import JWKS

REFETCH_AFTER: Final = timedelta(seconds=3)
"""Soonest after the last try, however many unknown keys are named meanwhile."""
REFRESH_AFTER: Final = timedelta(minutes=5)
"""A key that is published no more counts no longer than this, while the control plane answers."""
ClaimsT = TypeVar("ClaimsT", RunClaims, ServiceClaims)
_log = structlog.get_logger(__name__)


class RunTokens:
    """Knows the published keys, fetched at need and kept. Thread-safe."""

    def __init__(self, control_plane: ServiceClient, clock: Clock) -> None:
        self._control_plane = control_plane
        self._clock = clock
        self._fetching = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched_at: datetime | None = None
        self._tried_at: datetime | None = None

    def claims(self, token: str) -> RunClaims:
        """What a valid run token says.

        Raises `Unauthenticated` (`token_invalid`, `token_expired`), and `Unavailable`
        (`keys_unavailable`) while no key of the control plane is known.
        """
        return self._verified(token, RunClaims)

    def prober(self, token: str) -> ServiceClaims:
        """What a valid token of a service says that may ask for checks.

        Raises as `claims` does, and `NotAllowed` without the scope `probes`.
        """
        claims = self._verified(token, ServiceClaims)
        if Scope.PROBES not in claims.scopes:
            raise NotAllowed(
                f"{claims.sub} lacks the scope {Scope.PROBES}.", details={"needed": Scope.PROBES}
            )
        return claims

    def _verified(self, token: str, claims_type: type[ClaimsT]) -> ClaimsT:
        keys = self._keys_with(_key_id(token))
        return verify(token, keys, claims_type, audience=AUDIENCE_WORKERS, clock=self._clock)

    def _keys_with(self, kid: str | None) -> KeySet:
        """The keys, fetched before if that may help; who names a known one waits for no other's
        fetch, however long the control plane takes.
        """
        if self._fetching.acquire(blocking=not self._knows(kid)):
            try:
                if self._is_worth_a_fetch(kid):
                    self._try_fetch()
            finally:
                self._fetching.release()
        if self._keys is None:
            raise Unavailable(
                "The control plane's keys could not be fetched yet, so no token can be verified.",
                code="keys_unavailable",
                retry_after_seconds=REFETCH_AFTER.total_seconds(),
            )
        return self._keys

    def _knows(self, kid: str | None) -> bool:
        return self._keys is not None and kid in {key.kid for key in self._keys.keys}

    def _is_worth_a_fetch(self, kid: str | None) -> bool:
        now = self._clock.now()
        if self._tried_at is not None and now - self._tried_at < REFETCH_AFTER:
            return False
        if self._keys is None or self._fetched_at is None:
            return True
        return now - self._fetched_at > REFRESH_AFTER or not self._knows(kid)

    def _try_fetch(self) -> None:
        """New keys, or the former ones for as long as the control plane is away."""
        try:
            document = json.loads(self._control_plane.send("GET", JWKS).content)
            self._keys = public_key_set(document)
            self._fetched_at = self._clock.now()
        except (PlatformError, JoseError, ValueError) as error:
            _log.warning("keys_not_fetched", cause=type(error).__name__, detail=str(error))
        finally:
            # Counts from its end: who waited for a slow try does not begin another.
            self._tried_at = self._clock.now()


def _key_id(token: str) -> str | None:
    """The key a token says it is signed with."""
    try:
        kid = jws.extract_compact(token.encode()).headers().get("kid")
    except (JoseError, ValueError) as error:
        raise _invalid() from error
    if kid is not None and not isinstance(kid, str):
        raise _invalid()
    return kid


def _invalid() -> Unauthenticated:
    return Unauthenticated("The bearer token is not valid here.", code="token_invalid")
