"""Folders of copies: private, gone after use; what a killed process left goes with a start."""

from __future__ import annotations

import errno
import fcntl
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from execution_workers.main import create_app
from execution_workers.providers.forges import folders
from execution_workers.providers.forges.folders import private_folder, remove_left_folders
from execution_workers.settings import ExecutionWorkersSettings

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
    """What a process left that was killed just now."""
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_USE], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = temporary.iterdir()
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


def test_they_go_when_the_service_starts(temporary: Path) -> None:
    left, nowhere = left_folder(temporary), temporary / "nowhere"
    settings = ExecutionWorkersSettings(
        database_url="postgresql+psycopg://nobody@127.0.0.1:1/none",
        installation_id="ours",
        forge_token_file=nowhere,
        openbao_approle_file=nowhere,
        gitops_agent_token_file=nowhere,
    )
    with TestClient(create_app(settings)):
        assert not left.exists()


def test_one_that_cannot_be_opened_is_told_and_not_made_again(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the process has no descriptor left."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(folders, "_opened", refuse)
    with pytest.raises(OSError, match="Too many open files"), private_folder():
        pass


def test_what_is_in_use_stays(temporary: Path) -> None:
    with private_folder() as folder:
        assert remove_left_folders() == 0
        assert folder.is_dir()


def test_one_that_is_taken_away_before_it_is_locked_is_made_again(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, taken = fcntl.flock, list[int]()

    def late(descriptor: int, operation: int) -> None:
        if not taken:
            taken.append(descriptor)
            assert remove_left_folders() == 1
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with private_folder() as folder:
        (folder / "copy.git").mkdir()
    assert taken
    assert list(temporary.iterdir()) == []


def test_what_cannot_be_taken_away_is_told_and_the_rest_goes(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lefts = [left_folder(temporary)]
    with private_folder() as folder:
        lefts.append(Path(shutil.copytree(folder, temporary / "idp-git-second")))
    rmtree = shutil.rmtree

    def refuse(path: Path) -> None:
        if path == lefts[0]:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        rmtree(path)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with capture_logs() as logged:
        assert remove_left_folders() == 1
    assert [(each["event"], each["folder"]) for each in logged] == [
        ("left_copy_stays", str(lefts[0]))
    ]
    assert [each.exists() for each in lefts] == [True, False]


def test_a_link_in_the_place_of_a_folder_leads_nowhere(temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (temporary / "idp-git-link").symlink_to(elsewhere)
    assert remove_left_folders() == 0
    assert elsewhere.is_dir()
