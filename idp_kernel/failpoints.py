"""Named places where a test may hold a process still, to break something just there.

Off unless `IDP_FAILPOINTS_DIR` names a folder. There, a file called like the failpoint arms it:
the next process to reach it takes the file away (so one arming stops one process once), writes
`<name>.hit` with its process id, and stands still until that file is gone.
"""

from __future__ import annotations

import os
import time
from enum import StrEnum
from pathlib import Path

import structlog

FAILPOINTS_DIR_VARIABLE = "IDP_FAILPOINTS_DIR"
_LONGEST_HOLD_SECONDS = 120.0
_LOOK_EVERY_SECONDS = 0.02

_log = structlog.get_logger(__name__)


class Guard(StrEnum):
    """What keeps effects single and requests moving, and which a test may take away, to see that it
    then finds what the guard is there against.
    """

    LEDGER_LOOKUP = "ledger-lookup"
    """What a request has had already is replayed."""
    FENCE = "fence"
    """A run that was overtaken does nothing more."""
    RECONCILER = "reconciler"
    """A request whose run is gone is taken from it."""


def is_off(guard: Guard) -> bool:
    """Whether a test took the guard away: by a file `<guard>.off` in the folder of failpoints.
    Without that folder nobody can.
    """
    folder = os.environ.get(FAILPOINTS_DIR_VARIABLE)
    if not folder or not (Path(folder) / f"{guard}.off").exists():
        return False
    _log.warning("guard_is_off", guard=guard, variable=FAILPOINTS_DIR_VARIABLE)
    return True


def failpoint(name: str) -> None:
    """Stands still here if a test armed `name`; nothing otherwise."""
    folder = os.environ.get(FAILPOINTS_DIR_VARIABLE)
    if folder:
        _hold(Path(folder), name)


def _hold(folder: Path, name: str) -> None:
    hit = folder / f"{name}.hit"
    try:
        (folder / name).rename(folder / f".{name}.{os.getpid()}")
    except FileNotFoundError:
        return
    (folder / f".{name}.{os.getpid()}").unlink()
    temporary = folder / f".{name}.{os.getpid()}.hit"
    temporary.write_text(str(os.getpid()))
    temporary.rename(hit)
    give_up_at = time.monotonic() + _LONGEST_HOLD_SECONDS
    while hit.exists() and time.monotonic() < give_up_at:
        time.sleep(_LOOK_EVERY_SECONDS)
