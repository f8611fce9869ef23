"""Each service stays runnable alone, and what two documents say agrees."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OURS = set(PROJECT["tool"]["importlinter"]["root_packages"])
SERVICES = OURS - {"idp_kernel"}

PROGRAM = """
import pkgutil, sys, importlib
package = importlib.import_module(sys.argv[1])
for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if "migrations" not in found.name:
        importlib.import_module(found.name)
print("\\n".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize(
    "service",
    [
        pytest.param(each, marks=() if each == "control_plane" else pytest.mark.endurance)
        for each in sorted(SERVICES)
    ],
)
def test_a_service_loads_without_the_others(service: str) -> None:
    """Every module of it is imported in a fresh process; none of the other services comes along."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, service],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert SERVICES & set(ran.stdout.split()) == {service}


def test_the_wheel_holds_every_package() -> None:
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == OURS


def test_the_locks_pin_what_the_project_asks_for() -> None:
    pinned = {
        line.partition("==")[0]
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line and not line.startswith((" ", "#"))
    }
    asked = {
        each.split(">")[0].split("=")[0].split("<")[0].split("[")[0].lower()
        for each in PROJECT["project"]["dependencies"]
    }
    assert asked <= pinned


def test_the_locks_hold_no_address() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock"):
        assert "://" not in (ROOT / lock).read_text()


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = (folder / "README.md").read_text()
    pages = sorted(folder.glob("0*.md"))
    assert pages
    assert [page.name for page in pages if f"({page.name})" not in listed] == []
