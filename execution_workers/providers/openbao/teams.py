"""What a team's people may do in OpenBao: two policies, and a login role for each.

A login comes from the control plane, which says whose team and which access it is for; a role
takes it only when both are its own.
"""

from __future__ import annotations

from execution_workers.ports import Attempt
from execution_workers.providers.openbao.client import OpenBaoClient
from idp_kernel.secret_store import SECRETS_MOUNT
from idp_kernel.tokens import AUDIENCE_SECRET_STORE, StoreAccess, store_role

TOKEN_SECONDS = 15 * 60
READ_POLICY = """\
# Written by execution-workers: what members of one team may do with their own secrets.
path "{mount}/data/teams/{team}/*" {{
  capabilities = ["read"]
}}

path "{mount}/metadata/teams/{team}/*" {{
  capabilities = ["list", "read"]
}}
"""
WRITE_POLICY = """\
# Written by execution-workers: what maintainers of one team may do with their team's secrets.
path "{mount}/data/teams/{team}/*" {{
  capabilities = ["create", "read", "update"]
}}

path "{mount}/metadata/teams/{team}/*" {{
  capabilities = ["list", "read"]
}}
"""
_TEXTS = {StoreAccess.READ: READ_POLICY, StoreAccess.WRITE: WRITE_POLICY}


def policy_name(team: str, access: StoreAccess) -> str:
    """With two hyphens, which no slug has, so that no team's name leads to another's policy."""
    return f"team-{team}" if access is StoreAccess.READ else f"team-{team}--{access}"


def ensure_team(client: OpenBaoClient, team: str, attempt: Attempt) -> None:
    """The team's people get in with what the control plane signs for them, and see no others'."""
    for access, text in _TEXTS.items():
        _ensure_policy(client, policy_name(team, access), _filled(text, team), attempt)
        _ensure_role(client, team, access, attempt)


def _filled(text: str, team: str) -> str:
    return text.format(mount=SECRETS_MOUNT, team=team)


def _ensure_policy(client: OpenBaoClient, name: str, text: str, attempt: Attempt) -> None:
    if client.policy(name) != text:
        attempt.check_fence()
        client.write_policy(name, text)


def _ensure_role(client: OpenBaoClient, team: str, access: StoreAccess, attempt: Attempt) -> None:
    name, settings = store_role(team, access), _role_settings(team, access)
    found = client.login_role(name)
    if found is None or any(found.get(key) != value for key, value in settings.items()):
        attempt.check_fence()
        client.write_login_role(name, settings)


def _role_settings(team: str, access: StoreAccess) -> dict[str, object]:
    """As OpenBao also tells them."""
    return {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [AUDIENCE_SECRET_STORE],
        "bound_claims": {"team": team, "access": access.value},
        "token_policies": [policy_name(team, access)],
        "token_ttl": TOKEN_SECONDS,
        "token_max_ttl": TOKEN_SECONDS,
    }
