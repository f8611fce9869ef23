"""What the platform's account at Harbor has to be allowed, and whether it is."""

from __future__ import annotations

from collections.abc import Sequence

from execution_workers.ports import Permission
from execution_workers.providers.harbor.client import HarborClient

_MAKE_ADMIN = "Make the account a system administrator of Harbor."


def permissions_of(client: HarborClient) -> Sequence[Permission]:
    """An administrator may do all of it; what another account may, only trying would tell."""
    account = client.account()
    is_admin = bool(account.get("sysadmin_flag") or account.get("admin_role_in_auth"))
    otherwise = True if is_admin else None
    return (
        Permission("list robots", is_admin or client.may_list_robots(), _MAKE_ADMIN),
        Permission("create, update and delete robots", otherwise, _MAKE_ADMIN),
        Permission("create projects and their labels", otherwise, _MAKE_ADMIN),
    )
