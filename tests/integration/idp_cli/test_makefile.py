"""What stands between a fresh clone and the first command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
INSTALL = ROOT / "deploy" / "install-environment"
TARGETS = (
    "demo", "up", "down", "test", "test-system", "lint", "typecheck", "format", "docs", "lock",
    "clean",
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


def test_a_python_that_is_too_new_is_named(tools_without_python: Path, tmp_path: Path) -> None:
    new = tools_without_python / "python3"
    new.write_text('#!/usr/bin/env bash\n[[ $1 == -V ]] && echo "Python 3.15.0" || exit 1\n')
    new.chmod(0o755)
    ran = run(
        str(INSTALL), str(tmp_path / "venv"), "requirements.lock", path=str(tools_without_python)
    )
    assert ran.returncode == 1
    assert "no Python from 3.11 to 3.14" in ran.stderr
    assert f"{new} is Python 3.15.0." in ran.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Just what makes the virtual environment, for a project that needs nothing."""
    root = tmp_path / "checkout"
    (root / "deploy").mkdir(parents=True)
    shutil.copy(INSTALL, root / "deploy")
    (root / "requirements.lock").write_text("")
    (root / "pyproject.toml").write_text(PROJECT)
    (root / "backend.py").write_text(BACKEND)
    return root


PROJECT = """[project]
name = "bare"
version = "1"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """import zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "bare-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        for file, text in {
            "METADATA": "Metadata-Version: 2.1\\nName: bare\\nVersion: 1\\n",
            "WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
            "RECORD": "",
        }.items():
            wheel.writestr(f"bare-1.dist-info/{file}", text)
    return name
build_wheel = build_editable
"""


@pytest.mark.endurance
def test_an_environment_without_pip_is_made_anew_where_uv_is_not(
    checkout: Path, tools_without_python: Path
) -> None:
    python = Path(sys.executable).resolve()
    (tools_without_python / "python3").symlink_to(python)
    venv = checkout / ".venv"
    subprocess.run([python, "-m", "venv", "--without-pip", venv], check=True, timeout=60)
    (venv / "old").write_text("")
    ran = run(
        str(checkout / "deploy" / "install-environment"), ".venv", "requirements.lock",
        path=str(tools_without_python), cwd=checkout,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert not (venv / "old").exists()


@pytest.mark.endurance
def test_what_is_installed_can_be_read_by_others_whatever_the_umask(
    checkout: Path, tools_without_python: Path
) -> None:
    (tools_without_python / "python3").symlink_to(Path(sys.executable).resolve())
    ran = run(
        "bash", "-c", "umask 077; deploy/install-environment .venv requirements.lock",
        path=str(tools_without_python), cwd=checkout,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    made = [path for path in (checkout / ".venv").rglob("*") if not path.is_symlink()]
    assert made
    assert [path for path in made if path.stat().st_mode & 0o004 == 0] == []


def test_the_ports_of_a_platform_can_be_moved() -> None:
    for target in ("demo", "up"):
        ran = run("make", "-n", target, "PORT_OFFSET=100", path=os.environ["PATH"])
        assert "--port-offset 100" in ran.stdout
