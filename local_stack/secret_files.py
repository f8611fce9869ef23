"""Secrets live in files of mode 0600 that are replaced whole; nothing else carries them."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

SECRET_FILE_MODE = 0o600
SECRET_DIRECTORY_MODE = 0o700


def write_secret(path: Path, content: bytes) -> None:
    """Put `content` at `path`, readable by its owner only.

    After a crash at any moment the file holds the old content or the new one, never a part.
    Missing parent directories are made, private.
    """
    path.parent.mkdir(mode=SECRET_DIRECTORY_MODE, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def read_token(path: Path) -> str:
    """The one-line secret in `path`, without the line end; an empty file is an error."""
    token = path.read_text(encoding="utf-8").strip()
    if not token:
        raise ValueError(f"{path} is empty; it must hold a token")
    return token


def sync_directory(path: Path) -> None:
    """Make a rename inside `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
