"""What the routes work with; the composition root puts it together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request
from joserfc.jwk import KeySet

from control_plane.api.feed import Feed
from control_plane.api.rate_limits import RateLimits
from control_plane.api.wakeups import Wakeups
from control_plane.application.offer_requests import OfferPolicy
from control_plane.application.ports import Begin
from control_plane.application.queries import Queries
from control_plane.application.service_tokens import ServiceKeys
from control_plane.domain.requests import AttemptPolicy
from idp_kernel.clock import Clock
from idp_kernel.secret_store import SECRETS_MOUNT
from idp_kernel.tokens import SigningKey, public_key_set


@dataclass(frozen=True)
class SecretStore:
    """Where people find the values of secrets."""

    url: str
    namespace: str | None = None
    """None for the root."""
    authorities: str | None = None
    """Who vouches for its certificate, as PEM; None for the well-known ones."""

    def link(self, path: str) -> str:
        """The secret in the store's own user interface."""
        within = "" if self.namespace is None else f"?namespace={quote(self.namespace, safe='')}"
        return f"{self.url.rstrip('/')}/ui/vault/secrets/{SECRETS_MOUNT}/show/{quote(path)}{within}"


@dataclass(frozen=True)
class Services:
    """Everything behind the routes."""

    begin: Begin
    queries: Queries
    clock: Clock
    signing_key: SigningKey
    service_keys: ServiceKeys
    attempts: AttemptPolicy
    offers: OfferPolicy
    rotations_at_once: int
    secret_store: SecretStore
    wakeups: Wakeups
    """Of offers."""
    lost_run_wakeups: Wakeups
    cause_wakeups: Wakeups
    """Of causes of rotations."""
    feed: Feed
    rates: RateLimits
    new_token: Callable[[], str]
    hash_token: Callable[[str], bytes]

    @property
    def published_keys(self) -> dict[str, object]:
        """The JWK set that verifies what the control plane signs."""
        return {"keys": [self.signing_key.public]}

    @cached_property
    def own_keys(self) -> KeySet:
        return public_key_set(self.published_keys)


def services_of(request: Request) -> Services:
    """The services of the application that got the request."""
    services: Services = request.app.state.services
    return services


async def _services(request: Request) -> Services:
    """In the event loop, as all that only computes: FastAPI sends other functions to a thread,
    which takes longer than they do.
    """
    return services_of(request)


Use = Annotated[Services, Depends(_services)]
"""A route's way to the services."""
