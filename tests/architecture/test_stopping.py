"""A run of the tests that is asked to end stops what its fixtures started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHIN_SECONDS = 60
PROGRAM = """
import threading
from pathlib import Path
import pytest

HERE = Path(__file__).parent

@pytest.fixture
def server():
    yield
    (HERE / "stopped").touch()

def test_that_lasts(server):
    (HERE / "started").touch()
    threading.Event().wait(120)
"""


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.endurance)]
)
def test_fixtures_are_torn_down(tmp_path: Path, number: signal.Signals) -> None:
    program = tmp_path / "test_lasting.py"
    program.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", os.devnull]
    with subprocess.Popen(
        [*command, f"--rootdir={tmp_path}", str(program)], cwd=ROOT, stdout=subprocess.DEVNULL
    ) as process:
        try:
            give_up_at = time.monotonic() + WITHIN_SECONDS
            while not (tmp_path / "started").exists() and time.monotonic() < give_up_at:
                assert process.poll() is None
                time.sleep(0.05)
            process.send_signal(number)
            assert process.wait(WITHIN_SECONDS) == pytest.ExitCode.INTERRUPTED
        finally:
            process.kill()
    assert (tmp_path / "stopped").exists()
