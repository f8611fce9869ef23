"""Child processes of a benchmark: started with their log in a folder, and all of them ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 10.0
_LOOK_EVERY_SECONDS = 0.05


def clean_environment(**more: str) -> dict[str, str]:
    """What a bare shell has, and what is named."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {"LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", **kept, **more}


@contextmanager
def running(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    *,
    stop: signal.Signals = signal.SIGTERM,
    pipes: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """The process, ended with all its descendants after the block; with `pipes` its standard input
    and output are ours.
    """
    pipe = subprocess.PIPE if pipes else None
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command),
            env=clean_environment(**environment),
            cwd=ROOT,
            stdin=pipe or subprocess.DEVNULL,
            stdout=pipe or output,
            stderr=output,
            text=True,
        )
    try:
        yield process
    finally:
        end_family(process, stop)


def end_family(process: subprocess.Popen[str], stop: signal.Signals) -> None:
    """Asks it to stop, then kills what is left of it and of its descendants."""
    try:
        descendants = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        descendants = []
    if process.poll() is None:
        process.send_signal(stop)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    _, alive = psutil.wait_procs(descendants, timeout=1)
    for each in alive:
        each.kill()


class NotInTime(Exception):
    """What was waited for did not come."""


def wait_until(
    look: Callable[[], bool],
    *,
    seconds: float,
    what: str,
    processes: Sequence[subprocess.Popen[str]] = (),
) -> None:
    """Until `look` is true; raises `NotInTime` after `seconds`, or when one of the processes that
    it depends on has ended.
    """
    give_up_at = time.monotonic() + seconds
    while not look():
        ended = [each for each in processes if each.poll() is not None]
        if ended:
            raise NotInTime(f"{what}: {ended[0].args!r} ended with status {ended[0].returncode}")
        if time.monotonic() > give_up_at:
            raise NotInTime(f"{what}: not within {seconds:g} s")
        time.sleep(_LOOK_EVERY_SECONDS)


def end_of(log: Path, characters: int = 1500) -> str:
    """What the log says last."""
    return log.read_text(errors="replace")[-characters:] if log.exists() else ""
