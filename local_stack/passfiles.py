"""libpq password files: how a role's password reaches a client without being in a URL.

A client names the file with `passfile=` in its URL. libpq ignores a file that others can read.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from idp_kernel.services import LOOPBACK
from local_stack.secret_files import write_secret

SUPERUSER = "postgres"


@dataclass(frozen=True)
class Passfile:
    """A role's password file and the password in it."""

    path: Path
    password: str


def passfile_path(keys_dir: Path, role: str) -> Path:
    """Where the password of `role` is kept."""
    return keys_dir / "postgres" / f"{role}.pgpass"


def ensure_passfile(keys_dir: Path, role: str, port: int) -> Passfile:
    """The password file of `role`, made with a new password when there is none.

    A file for another port keeps its password and is rewritten for this one.
    """
    path = passfile_path(keys_dir, role)
    password = _password_in(path) if path.exists() else secrets.token_urlsafe(32)
    line = f"{LOOPBACK}:{port}:*:{role}:{password}\n".encode()
    if not path.exists() or path.read_bytes() != line:
        write_secret(path, line)
    return Passfile(path, password)


def _password_in(path: Path) -> str:
    """Generated passwords hold no colon and no backslash, so nothing is escaped."""
    return path.read_text(encoding="utf-8").strip().rsplit(":", 1)[1]
