"""What stands between a fresh clone and the first command."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
INSTALL = ROOT / "deploy" / "install-environment"
TARGETS = (
    "demo", "up", "down", "test", "test-system", "lint", "typecheck", "format", "lock", "clean",
)  # fmt: skip


def run(*command: str, path: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env={"PATH": path}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_make_alone_prints_every_command() -> None:
    ran = run("make", path=os.environ["PATH"])
    assert ran.returncode == 0, ran.stderr
    told = {line.split()[1]: line for line in ran.stdout.splitlines()}
    assert set(TARGETS) <= told.keys()
    assert all(len(line.split()) > 3 for line in told.values()), "each says what it does"


@pytest.fixture
def tools_without_python(tmp_path: Path) -> Path:
    """A PATH with what a shell script needs, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "env", "dirname", "git", "grep", "tr", "rm"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def test_a_missing_python_is_said(tools_without_python: Path, tmp_path: Path) -> None:
    ran = run(
        str(INSTALL), str(tmp_path / "venv"), "requirements.lock", path=str(tools_without_python)
    )
    assert ran.returncode == 1
    assert "no Python from 3.11" in ran.stderr
    assert "apt install python3" in ran.stderr
    assert not (tmp_path / "venv").exists()


def test_an_old_python_is_passed_over(tools_without_python: Path, tmp_path: Path) -> None:
    old = tools_without_python / "python3"
    old.write_text("#!/usr/bin/env bash\nexit 1\n")
    old.chmod(0o755)
    ran = run(
        str(INSTALL), str(tmp_path / "venv"), "requirements.lock", path=str(tools_without_python)
    )
    assert ran.returncode == 1
    assert "no Python from 3.11" in ran.stderr
