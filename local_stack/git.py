"""Runs the `git` program: no shell, no configuration but ours, an end to every wait."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from idp_kernel.errors import InvariantBroken, Unavailable

MINIMUM_VERSION = (2, 38)
"""The first whose `merge-tree` merges without a work tree."""
DEFAULT_TIMEOUT_SECONDS = 30.0

Configuration = Mapping[str, str]


@dataclass(frozen=True)
class GitOutcome:
    """How a git process ended; several commands answer by their exit code."""

    exit_code: int
    output: bytes
    errors: str

    @property
    def line(self) -> str:
        """The output as one line of text."""
        return self.output.decode("utf-8", "replace").strip()


class Git:
    """Runs git on bare repositories, with one fixed configuration."""

    def __init__(self, configuration: Configuration) -> None:
        program = shutil.which("git")
        if program is None:
            raise SystemExit("The program `git` is not installed or not on the PATH.")
        self.program = program
        self._configuration = {"safe.directory": "*", **configuration}
        _check_version(program)

    def environment(
        self, variables: Mapping[str, str] | None = None, configuration: Configuration | None = None
    ) -> dict[str, str]:
        """All that a git process sees of ours; nobody's own configuration counts."""
        entries = list({**self._configuration, **(configuration or {})}.items())
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/nonexistent",
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_COUNT": str(len(entries)),
        }
        for index, (key, value) in enumerate(entries):
            environment[f"GIT_CONFIG_KEY_{index}"] = key
            environment[f"GIT_CONFIG_VALUE_{index}"] = value
        return {**environment, **(variables or {})}

    def run(
        self,
        repository: Path,
        arguments: Sequence[str],
        *,
        accepted: Sequence[int] = (0,),
        stdin: bytes = b"",
        variables: Mapping[str, str] | None = None,
        configuration: Configuration | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> GitOutcome:
        """How `git <arguments>` on the repository ended.

        An exit code that is not `accepted` raises `InvariantBroken` (`git_failed`) with git's last
        words, no end in time `Unavailable`.
        """
        try:
            completed = subprocess.run(
                [self.program, f"--git-dir={repository}", *arguments],
                input=stdin,
                capture_output=True,
                cwd="/",
                env=self.environment(variables, configuration),
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(
                f"git {arguments[0]} did not end within {timeout_seconds:g} s.", code="git_timeout"
            ) from error
        errors = completed.stderr.decode("utf-8", "replace").strip()
        if completed.returncode not in accepted:
            raise InvariantBroken(
                f"git {arguments[0]} ended with {completed.returncode}: {errors}",
                code="git_failed",
            )
        return GitOutcome(completed.returncode, completed.stdout, errors)


def _check_version(program: str) -> None:
    text = subprocess.run(
        [program, "version"], capture_output=True, text=True, timeout=10, check=True
    ).stdout
    found = re.search(r"(\d+)\.(\d+)", text)
    if found is None or (int(found[1]), int(found[2])) < MINIMUM_VERSION:
        wanted = ".".join(str(part) for part in MINIMUM_VERSION)
        raise SystemExit(f"git {wanted} or later is needed, found: {text.strip()}")
