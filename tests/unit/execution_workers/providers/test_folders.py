"""Folders of copies: private, gone after use; what a killed process left goes with a start."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from execution_workers.providers.forges.folders import private_folder, remove_left_folders

KILLED_IN_USE = """
import os, signal
from execution_workers.providers.forges.folders import private_folder
with private_folder() as folder:
    (folder / "copy.git").mkdir()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, as this process and its children see it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def left_folder(temporary: Path) -> Path:
    """What a process left that was killed an hour ago."""
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_USE], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = temporary.iterdir()
    an_hour_ago = time.time() - 3600
    os.utime(left, (an_hour_ago, an_hour_ago))
    return left


def test_a_folder_is_closed_to_others_and_gone_after_use(temporary: Path) -> None:
    with private_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "copy.git").mkdir()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_goes(temporary: Path) -> None:
    left = left_folder(temporary)
    assert remove_left_folders() == 1
    assert not left.exists()
    assert remove_left_folders() == 0


def test_what_is_in_use_stays_however_old(temporary: Path) -> None:
    with private_folder() as folder:
        os.utime(folder, (0, 0))
        assert remove_left_folders() == 0
        assert folder.is_dir()


def test_what_is_new_stays_since_its_lock_may_be_to_come(temporary: Path) -> None:
    left = left_folder(temporary)
    os.utime(left)
    assert remove_left_folders() == 0
    assert left.is_dir()


def test_a_link_in_the_place_of_a_folder_leads_nowhere(temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    os.utime(elsewhere, (0, 0))
    (temporary / "idp-git-link").symlink_to(elsewhere)
    assert remove_left_folders() == 0
    assert elsewhere.is_dir()
