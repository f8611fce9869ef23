"""Private folders for copies of branches, and the end of those that a killed process left."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

_PREFIX = "idp-git-"

_log = structlog.get_logger(__name__)


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder, gone after the block, and locked until then."""
    with _locked_folder() as folder:
        yield folder


def remove_left_folders() -> int:
    """Takes away what nobody holds a lock on any more, and says how many folders that were."""
    return sum(map(_is_removed, Path(tempfile.gettempdir()).glob(f"{_PREFIX}*")))


@contextmanager
def _locked_folder() -> Iterator[Path]:
    """Made again when it was taken for one that is left, in the moment before it was locked."""
    while True:
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
            descriptor = _opened(name)
            if descriptor is None:
                continue
            try:
                with suppress(OSError):  # there are no locks here, so nobody takes it away either
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is_at(name, descriptor):
                    yield Path(name)
                    return
            finally:
                os.close(descriptor)


def _is_removed(path: Path) -> bool:
    descriptor = _opened(path)
    if descriptor is None:
        return False
    try:
        if os.fstat(descriptor).st_uid != os.getuid() or not _is_locked_now(descriptor):
            return False
        shutil.rmtree(path)
    except OSError as error:
        _log.warning("left_copy_stays", folder=str(path), error=str(error))
        return False
    finally:
        os.close(descriptor)
    return True


def _opened(path: str | Path) -> int | None:
    """The folder's descriptor; none when there is no folder, or it is closed to us."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None


def _is_locked_now(descriptor: int) -> bool:
    """Whether we have the lock; else somebody has the folder in use, or there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(path: str, descriptor: int) -> bool:
    """Whether that folder is still what the path leads to."""
    try:
        return os.path.samestat(Path(path).stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
