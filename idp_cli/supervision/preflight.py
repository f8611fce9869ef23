"""What must be so before anything starts, each said in words a person can act on."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from idp_cli.output import program_word
from idp_cli.supervision.home import Home, check_path
from idp_cli.supervision.ports import holder_of, is_free
from idp_cli.supervision.programs import Program, inherited_environment
from idp_kernel.errors import InvalidInput, InvariantBroken, Unavailable
from idp_kernel.services import DefaultPorts
from idp_kernel.settings_check import (
    Complaints,
    ProgramSettings,
    SameSetting,
    Setting,
    SettingsCheck,
)

OLDEST_PYTHON = (3, 11)
OLDEST_GIT = (2, 38)
"""`git merge-tree --write-tree`, which the forge merges with, came with 2.38."""
LEAST_FREE_BYTES = 1024**3
GIT_TIMEOUT_SECONDS = 10
SETTINGS_TIMEOUT_SECONDS = 120
SAME_SETTINGS = (
    SameSetting(
        one=Setting(
            settings="control_plane.settings:ControlPlaneSettings", name="secret_store_namespace"
        ),
        other=Setting(
            settings="execution_workers.settings:ExecutionWorkersSettings",
            name="openbao_namespace",
        ),
    ),
)
"""People find at the store what the workers keep there."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    is_good: bool
    found: str
    advice: str = ""
    """What to do when it is not good."""


def machine_findings(home: Home) -> Iterator[Finding]:
    """Python, git, disk and the home's path."""
    yield python_finding()
    yield git_finding()
    yield disk_finding(home.root)
    yield path_finding(home)


def port_findings(ports: DefaultPorts) -> Iterator[Finding]:
    """One finding for each port that is taken; all free gives a single good one."""
    taken = [each for each in dataclasses.asdict(ports).items() if not is_free(each[1])]
    for name, port in taken:
        yield Finding(
            subject="ports",
            is_good=False,
            found=f"{port}, which {name.replace('_', ' ')} needs, is held by {holder_of(port)}",
            advice=f"End that process, or move every port: {program_word()} up --port-offset 100 "
            "(make up PORT_OFFSET=100)",
        )
    if not taken:
        yield Finding("ports", True, f"{len(dataclasses.asdict(ports))} ports free")


def settings_findings(home: Home, programs: Iterable[Program]) -> Iterator[Finding]:
    """One finding for each variable that a program would refuse; none gives a single good one.

    The programs' own classes are asked, in a process of its own, since nothing here may load them.
    """
    told = {
        (each.settings_class, tuple(each.environment.items()))
        for each in programs
        if each.settings_class is not None
    }
    check = SettingsCheck(
        programs=tuple(
            ProgramSettings(settings=settings, environment=dict(environment))
            for settings, environment in sorted(told)
        ),
        same=SAME_SETTINGS,
        working_folder=home.run,
        made_later=home.root,
    )
    lines = _complaints(check)
    for line in lines:
        yield Finding("settings", False, line, "Set it right, or take it out of your shell.")
    if not lines:
        yield Finding("settings", True, "settings accepted")


def _complaints(check: SettingsCheck) -> tuple[str, ...]:
    try:
        asked = subprocess.run(
            # -P: the platform's own modules, whatever lies in this folder
            [sys.executable, "-P", "-m", "idp_kernel.settings_check"],
            input=check.model_dump_json().encode(),
            env=inherited_environment(os.environ),
            capture_output=True,
            timeout=SETTINGS_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(
            f"The settings could not be checked within {SETTINGS_TIMEOUT_SECONDS} s.",
            code="start_failed",
        ) from error
    if asked.returncode:
        raise InvariantBroken(f"The settings could not be checked: {asked.stderr.decode()[-2000:]}")
    return Complaints.model_validate_json(asked.stdout).lines


def python_finding() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(
        "python",
        sys.version_info[:2] >= OLDEST_PYTHON,
        f"Python {found}",
        f"Install Python {_dotted(OLDEST_PYTHON)} or newer, remove .venv and call make again.",
    )


def git_finding() -> Finding:
    advice = f"Install git {_dotted(OLDEST_GIT)} or newer and have it on PATH."
    program = shutil.which("git")
    if program is None:
        return Finding("git", False, "git is not on PATH", advice)
    try:
        answer = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding("git", False, f"{program} gives no answer", advice)
    version = git_version(answer.stdout)
    if version is None:
        return Finding("git", False, f"{program} does not tell its version", advice)
    return Finding("git", version >= OLDEST_GIT, f"git {_dotted(version)}", advice)


def git_version(text: str) -> tuple[int, ...] | None:
    """The version in what `git --version` prints; its vendors add words of their own."""
    found = re.search(r"\b(\d+(?:\.\d+)+)", text)
    return tuple(int(part) for part in found.group(1).split(".")) if found else None


def disk_finding(folder: Path) -> Finding:
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(existing).free
    return Finding(
        "disk",
        free >= LEAST_FREE_BYTES,
        f"{free / 1024**3:.1f} GiB free",
        f"Make 1 GiB free at {existing}, or choose another home: "
        f"{program_word()} up --home /elsewhere",
    )


def path_finding(home: Home) -> Finding:
    try:
        for path in (home.root, Path(sys.executable)):
            check_path(path)
    except InvalidInput as error:
        return Finding("path", False, error.message, "Choose another home or move the checkout.")
    return Finding("path", True, str(home.root))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
