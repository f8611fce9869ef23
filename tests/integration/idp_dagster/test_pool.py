"""What becomes of a pool whose child is killed, waiting for work or at it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from idp_dagster.pool import ENDED_FOR_A_CHILD

PARENT = """
import sys, time
from idp_dagster.pool import ChildrenOrNone
pool = ChildrenOrNone(processes=2, lost_worker_timeout=0.1)
def say(*words): print(*words, flush=True)
for child in pool._pool: say(child.pid)
def begun(pid, _at): say("begun", pid)
for line in sys.stdin:
    job = pool.apply_async(time.sleep, [float(line)], accept_callback=begun)
    try: say("done", job.get())
    except BaseException: say("lost")
"""


@contextmanager
def parent() -> Iterator[subprocess.Popen[str]]:
    """A process with a pool of two; it says when a task begins and how it ends."""
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def give(process: subprocess.Popen[str], seconds: float) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{seconds}\n")
    process.stdin.flush()


@pytest.mark.timeout(60)
def test_one_that_waits_for_work_takes_its_parent_along() -> None:
    with parent() as process:
        first, _second = int(says(process)), int(says(process))
        give(process, 0)
        assert says(process).startswith("begun")
        assert says(process) == "done None"
        os.kill(first, signal.SIGKILL)
        assert process.wait(30) == ENDED_FOR_A_CHILD


@pytest.mark.timeout(60)
def test_one_at_work_is_replaced() -> None:
    with parent() as process:
        says(process), says(process)
        give(process, 60)
        os.kill(int(says(process).removeprefix("begun ")), signal.SIGKILL)
        assert says(process) == "lost"
        give(process, 0)
        assert says(process).startswith("begun")
        assert says(process) == "done None"
        assert process.poll() is None
