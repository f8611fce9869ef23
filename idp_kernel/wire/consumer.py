"""The REST API of `local-consumer`: which database logins it uses and how that goes."""

from __future__ import annotations

from idp_kernel.wire.base import Timestamp, WireModel

CONSUMPTION = "/api/v1/consumption"


class ConsumedSecret(WireModel):
    """One database login, taken from the secret store as a binding says."""

    owner: str
    repository: str
    name: str
    """The binding's."""
    version: int | None
    """The version in use; none before the first login."""
    logins: int
    """Log-ins that went well, each followed by a query."""
    refused: int
    """Log-ins that the database refused."""
    failed: int = 0
    """Log-ins that came to nothing since the database was away, or ended the session in use."""
    last_login_at: Timestamp | None = None
    problem: str | None = None
    """What stands in the way now."""


class Consumption(WireModel):
    """Answer of `/api/v1/consumption`, by owner, repository and name."""

    items: tuple[ConsumedSecret, ...]
