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
import ctypes, os, sys, time
from idp_dagster import pool as pools
def say(*words): print(*words, flush=True)
def work(seconds):
    say("begun", os.getpid())
    time.sleep(seconds)
def die_with_parent(): ctypes.CDLL(None).prctl(1, 9)
pools.RESULT_TOLD_WITHIN_SECONDS = 2.0
pool = pools.ChildrenOrNone(processes=2, lost_worker_timeout=0.1, initializer=die_with_parent)
for child in pool._pool: say(child.pid)
for line in sys.stdin:
    job = pool.apply_async(work, [float(line)])
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


LOST_TURN = """
import ctypes, sys, threading, time
from idp_dagster import pool as pools
def die_with_parent(): ctypes.CDLL(None).prctl(1, 9)
pools.RESULT_TOLD_WITHIN_SECONDS = 2.0
pool = pools.ChildrenOrNone(processes=2, lost_worker_timeout=0.1, initializer=die_with_parent)
pool.apply_async(time.sleep, [0.0]).get()
pool._outqueue._wlock.acquire()  # as one that died while it told its result
jobs = [pool.apply_async(time.sleep, [0.0]) for _ in range(2)]
if sys.argv[1] == "ending":
    pool.close()
    pool.join()
threading.Event().wait()
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("state", ["at work", "ending"])
def test_children_that_cannot_tell_their_results_take_their_parent_along(state: str) -> None:
    with subprocess.Popen([sys.executable, "-c", LOST_TURN, state]) as process:
        try:
            assert process.wait(40) == ENDED_FOR_A_CHILD
        finally:
            process.kill()


@pytest.mark.timeout(60)
def test_results_that_are_told_one_after_the_other_end_nothing() -> None:
    with parent() as process:
        says(process), says(process)
        for _ in range(4):
            give(process, 0.8)
            assert says(process).startswith("begun")
            assert says(process) == "done None"
        assert process.poll() is None
