"""Private folders for copies of branches, and the end of those that a killed process left."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

_PREFIX = "idp-git-"

_log = structlog.get_logger(__name__)


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder, gone after the block, and locked until then; made again when it was taken for
    one that is left, in the moment before its lock.
    """
    while True:
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
            try:
                descriptor = _opened(name)
            except FileNotFoundError:
                continue
            try:
                # Where nothing can be locked, nobody takes it away either.
                _is_locked(descriptor, fcntl.LOCK_EX)
                if _is_at(name, descriptor):
                    yield Path(name)
                    return
            finally:
                os.close(descriptor)


def remove_left_folders() -> int:
    """Takes away what nobody holds a lock on any more, and says how many folders that were."""
    return sum(map(_is_removed, Path(tempfile.gettempdir()).glob(f"{_PREFIX}*")))


def _is_removed(path: Path) -> bool:
    try:
        if not _is_own_folder(path):
            return False
        descriptor = _opened(path)
        try:
            if not _is_locked(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
                return False
            shutil.rmtree(path)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        # Whoever had it in use is through with it.
        return False
    except OSError as error:
        _log.warning("left_copy_stays", folder=str(path), error=str(error))
        return False
    return True


def _is_own_folder(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _opened(path: str | Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _is_locked(descriptor: int, operation: int) -> bool:
    """Whether we have the lock; else somebody else has it, or the file system knows none."""
    try:
        fcntl.flock(descriptor, operation)
    except OSError:
        return False
    return True


def _is_at(path: str, descriptor: int) -> bool:
    """Whether that folder is still what the path leads to."""
    try:
        return os.path.samestat(Path(path).stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
