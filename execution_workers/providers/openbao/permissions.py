"""What the workers' policy in OpenBao has to allow, and whether it does."""

from __future__ import annotations

from collections.abc import Sequence

from execution_workers.ports import Permission
from execution_workers.providers.openbao.client import LOGIN_ROLES, OpenBaoClient
from execution_workers.providers.openbao.settings import VersionEnd
from idp_kernel.secret_store import SECRETS_MOUNT

NEEDED: dict[str, frozenset[str]] = {
    f"{SECRETS_MOUNT}/data/teams/*": frozenset({"create", "read", "update"}),
    f"{SECRETS_MOUNT}/metadata/teams/*": frozenset({"create", "read", "update", "delete"}),
    "sys/policies/acl/team-*": frozenset({"create", "read", "update"}),
    f"{LOGIN_ROLES}/team-*": frozenset({"create", "read", "update"}),
    "auth/token/renew-self": frozenset({"update"}),
}
"""By path as a policy writes it; beside these, how retired versions end."""
_ALL = "root"
_SOMEBODY = "idp-doctor"
"""In the place of `*`: the store answers for paths, not for patterns."""


def permissions_of(client: OpenBaoClient, end: VersionEnd) -> Sequence[Permission]:
    """One for each line of the policy."""
    all_needed = {**NEEDED, f"{SECRETS_MOUNT}/{end}/teams/*": frozenset({"update"})}
    asked = {path: path.replace("*", _SOMEBODY) for path in all_needed}
    found = client.capabilities(list(asked.values()))
    return [
        Permission(
            f"{', '.join(sorted(needed))} at {path}",
            _ALL in found[asked[path]] or needed <= found[asked[path]],
            _line(path, needed),
        )
        for path, needed in all_needed.items()
    ]


def _line(path: str, needed: frozenset[str]) -> str:
    listed = ", ".join(f'"{each}"' for each in sorted(needed))
    return f'Add to the workers\' policy: path "{path}" {{ capabilities = [{listed}] }}.'
