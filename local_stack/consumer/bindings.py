"""Which database logins the agent has applied, as far as this consumer may use them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from idp_kernel.wire.agent import AppliedSecret, Reconciliation, Reconciliations

LOGIN_PROPERTIES = frozenset({"username", "password"})
_PATH_BELOW_TEAM = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*")
"""No part is empty or begins with a dot: a path that leads nowhere else."""


@dataclass(frozen=True, order=True)
class BindingKey:
    """Tells a binding from all others."""

    owner: str
    repository: str
    name: str


@dataclass(frozen=True)
class Binding:
    """An applied ExternalSecret that brings a database login."""

    key: BindingKey
    store_path: str
    version: int


def database_bindings(listed: Reconciliations) -> dict[BindingKey, Binding]:
    """In the order of their keys, without those that pin no version or name another team's."""
    found = [each for seen in listed.items for each in _bindings_of(seen)]
    return {each.key: each for each in sorted(found, key=lambda each: each.key)}


def _bindings_of(seen: Reconciliation) -> Iterator[Binding]:
    for secret in seen.applied_secrets:
        if secret.version and _is_login_of(seen.owner, secret):
            key = BindingKey(seen.owner, seen.name, secret.name)
            yield Binding(key, secret.remote_key, secret.version)


def _is_login_of(team: str, secret: AppliedSecret) -> bool:
    below = secret.remote_key.removeprefix(f"teams/{team}/")
    is_of_team = below != secret.remote_key and _PATH_BELOW_TEAM.fullmatch(below) is not None
    return is_of_team and LOGIN_PROPERTIES.issubset(secret.properties)
