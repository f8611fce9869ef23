"""What a program under the supervisor is.

It sees PATH, HOME, the locale and the settings of services; nothing in them is secret, only the
paths of files that are. What the platform itself sets, no variable of the shell can change.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from idp_cli.supervision.readiness import HasEnded, Readiness
from idp_kernel.failpoints import FAILPOINTS_DIR_VARIABLE
from idp_kernel.settings import SettingsPrefix


class Group(StrEnum):
    """Programs of one group stop together; groups one after the other, the last one here first."""

    STORES = "stores"
    SETUP = "setup"
    SERVICES = "services"
    ENGINE = "engine"


INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", FAILPOINTS_DIR_VARIABLE)
INHERITED_PREFIXES = tuple(SettingsPrefix)
"""All that programs see of the surroundings of `idp up`, their own settings taking its place."""

Settings = Mapping[str, str | int]


@dataclass(frozen=True)
class Program:
    """A program under the supervisor."""

    name: str
    command: tuple[str, ...]
    group: Group
    readiness: Readiness
    settings: Settings = field(default_factory=dict)
    settings_class: str | None = None
    """What reads them, as `package.module:Class`; none of a program that is no part of ours."""
    after: tuple[str, ...] = ()
    """The programs that have to be up before it is started."""
    port: int | None = None
    stop_signal: Literal["TERM", "INT"] = "TERM"
    stop_seconds: int = 10
    """How long it may take to stop before it is killed with all its children."""

    @property
    def environment(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.settings.items()}

    @property
    def is_one_shot(self) -> bool:
        return isinstance(self.readiness, HasEnded)


def python_module(name: str) -> tuple[str, ...]:
    """The command that runs a module with this very Python."""
    return (sys.executable, "-m", name)


def inherited_environment(surroundings: Mapping[str, str]) -> dict[str, str]:
    """What the supervisor and thereby every program gets of the surroundings."""
    known = {
        name: value
        for name, value in surroundings.items()
        if name in INHERITED_VARIABLES or name.startswith(INHERITED_PREFIXES)
    }
    return {"PATH": os.defpath, "PYTHONUNBUFFERED": "1", **known}
