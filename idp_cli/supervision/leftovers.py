"""Processes of a platform that are there although their supervisor is gone.

Every program stays in the supervisor's session; one that leaves it still carries the variable with
which the supervisor names its socket.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import psutil

from idp_cli.supervision.home import Home, RunRecord

SOCKET_VARIABLE = "SUPERVISOR_SERVER_URL"
END_TIMEOUT_SECONDS = 10.0
CLOCK_SLACK_SECONDS = 5.0
"""How far a correction of the machine's clock may move the times of processes."""


def end_leftovers(home: Home) -> list[str]:
    """Kills what an earlier run of this home left behind; answers what it was.

    To be called only while nothing runs here: with the home's lock held, or its supervisor dead.
    """
    found = list(leftovers(home))
    told = [_describe(process) for process in found]
    for process in found:
        _kill(process)
    psutil.wait_procs(found, timeout=END_TIMEOUT_SECONDS)
    return told


def leftovers(home: Home) -> Iterator[psutil.Process]:
    """Processes this home's supervisor started, itself not counted."""
    record = home.record()
    for process in psutil.process_iter():
        if process.pid != os.getpid() and _belongs(process, home, record):
            yield process


def _belongs(process: psutil.Process, home: Home, record: RunRecord | None) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return _is_of_session(process, record) or _names_socket(process, home)
    except (psutil.Error, ProcessLookupError, PermissionError):
        return False


def _is_of_session(process: psutil.Process, record: RunRecord | None) -> bool:
    """A session keeps its number while it has members; the time rules out a number used again."""
    if record is None or os.getsid(process.pid) != record.supervisor_pid:
        return False
    is_older = process.create_time() < record.supervisor_created - CLOCK_SLACK_SECONDS
    return process.pid != record.supervisor_pid and not is_older


def _names_socket(process: psutil.Process, home: Home) -> bool:
    return process.environ().get(SOCKET_VARIABLE) == f"unix://{home.socket}"


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.name()} (process {process.pid})"
    except psutil.Error:
        return f"process {process.pid}"


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
