"""Private folders for copies of branches, and the end of those that a killed process left."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "idp-git-"
_NEW_SECONDS = 5.0
"""A folder that is younger may be one whose maker comes to its lock just now."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder, gone after the block, and locked until then."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name, _opened(name) as folder:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield Path(name)


def remove_left_folders() -> int:
    """Takes away what nobody holds a lock on any more, and says how many folders that were."""
    return sum(map(_is_removed, Path(tempfile.gettempdir()).glob(f"{_PREFIX}*")))


def _is_removed(path: Path) -> bool:
    try:
        with _opened(path) as folder:
            found = os.fstat(folder)
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < _NEW_SECONDS:
                return False
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
    except OSError:
        # In use, somebody else's, or gone meanwhile.
        return False
    return True


@contextmanager
def _opened(path: str | Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
