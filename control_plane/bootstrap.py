"""Migrates the database and makes the first platform-admin: `python -m control_plane.bootstrap`.

Repeating it changes nothing. The admin's token is made here unless its file is there already;
the database keeps its hash.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

from control_plane.adapters.bearer_tokens import hash_bearer_token, new_bearer_token
from control_plane.adapters.database import new_engine
from control_plane.adapters.schema import upgrade
from control_plane.adapters.work import beginner
from control_plane.application.manage_tokens import create_token
from control_plane.application.ports import Work
from control_plane.settings import BootstrapSettings
from idp_kernel.clock import SystemClock
from idp_kernel.errors import InvalidInput
from idp_kernel.services import ServiceName
from idp_kernel.settings import read_settings
from idp_kernel.telemetry.logs import configure_logs
from idp_kernel.tokens import write_private_file
from idp_kernel.wire.api import CreateToken

FIRST_ADMIN = "admin"
ADMIN_TOKEN_LIFETIME = timedelta(days=366)
_SHORTEST_TOKEN = 40


def main() -> None:
    """Bring the database that the environment names to where the server needs it."""
    settings = read_settings(BootstrapSettings)
    configure_logs(ServiceName.CONTROL_PLANE_API, settings.log_level)
    is_valid = bootstrap(settings)
    sys.stdout.write("control plane: the database is migrated, the first admin is in place\n")
    if not is_valid:
        sys.stdout.write(
            f"control plane: the token in {settings.admin_token_file} was revoked or has expired;"
            " if no other admin has one, move the file away and start again for a new token\n"
        )


def bootstrap(settings: BootstrapSettings) -> bool:
    """Migrates and ensures the first admin; answers whether the token in the file is valid."""
    engine = new_engine(settings.database_url)
    try:
        upgrade(engine)
        token = admin_token(settings.admin_token_file)
        with beginner(engine, SystemClock())() as work:
            return ensure_admin(work, token)
    finally:
        engine.dispose()


def admin_token(path: Path) -> str:
    """The token in that file, made at the first time (0600)."""
    if not path.exists():
        write_private_file(path, new_bearer_token())
    return path.read_text().strip()


def ensure_admin(work: Work, token: str) -> bool:
    """The principal `admin`, a platform-admin, with that token; answers whether it is valid.

    One that was revoked or has expired stays so: somebody may have meant it.
    """
    if len(token) < _SHORTEST_TOKEN:
        raise InvalidInput(
            f"The admin token has {len(token)} characters; it needs {_SHORTEST_TOKEN}."
        )
    token_hash = hash_bearer_token(token)
    known = work.principals.token_by_hash(token_hash)
    if known is None:
        command = CreateToken(
            principal=FIRST_ADMIN,
            platform_admin=True,
            expires_in_seconds=int(ADMIN_TOKEN_LIFETIME.total_seconds()),
        )
        create_token(work, "control-plane-bootstrap", command, token_hash)
    return known is None or (known.revoked_at is None and known.expires_at > work.now)


if __name__ == "__main__":
    main()
