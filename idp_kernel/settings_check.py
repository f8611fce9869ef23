"""Whether programs accept what they will be told, before one is started.

`python -m idp_kernel.settings_check` reads a `SettingsCheck` from standard input and writes what is
wrong as `Complaints`. It has the surroundings that the programs will have, and loads the modules of
their settings classes, which are light, but none of the programs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pkgutil import resolve_name

from pydantic import ValidationError

from idp_kernel.settings import (
    ServiceSettings,
    form_of,
    unmet_needs,
    unreadable_files,
    variable_of,
    wrong_variables,
)
from idp_kernel.wire.base import WireModel


class ProgramSettings(WireModel):
    """What one program reads, and what it is told beside its surroundings."""

    settings: str
    """The class, as `package.module:Class`."""
    environment: dict[str, str]


class Setting(WireModel):
    """A field of a program's settings."""

    settings: str
    """The class, as `package.module:Class`."""
    name: str


class SameSetting(WireModel):
    """What two programs are told of the same thing."""

    one: Setting
    other: Setting


class SettingsCheck(WireModel):
    programs: tuple[ProgramSettings, ...]
    same: tuple[SameSetting, ...] = ()
    """Where the programs have to agree."""
    working_folder: Path
    """Where the programs will run: relative paths begin there."""
    made_later: Path
    """Files in here are made after the check; that they are missing says nothing."""


class Complaints(WireModel):
    lines: tuple[str, ...]
    """Each begins with its variable, and shows no value."""


def complaints(check: SettingsCheck) -> Complaints:
    """All that is wrong, once each, in the order of the programs."""
    lines, accepted = list[str](), dict[str, ServiceSettings]()
    for program in check.programs:
        with _told(program.environment):
            kind: type[ServiceSettings] = resolve_name(program.settings)
            try:
                accepted[program.settings] = found = kind()
            except ValidationError as error:
                lines += wrong_variables(kind, error)
                found = _files_alone(kind)
            else:
                lines += unmet_needs(found)
            lines += unreadable_files(
                found, working_folder=check.working_folder, made_later=check.made_later
            )
    lines += _disagreements(check, accepted)
    return Complaints(lines=tuple(dict.fromkeys(lines)))


def _disagreements(check: SettingsCheck, accepted: Mapping[str, ServiceSettings]) -> Iterator[str]:
    for same in check.same:
        one, other = accepted.get(same.one.settings), accepted.get(same.other.settings)
        if one is None or other is None:
            continue
        if getattr(one, same.one.name) != getattr(other, same.other.name):
            yield (
                f"{variable_of(type(one), same.one.name)}: it must be the same as"
                f" {variable_of(type(other), same.other.name)}"
            )


@contextmanager
def _told(environment: Mapping[str, str]) -> Iterator[None]:
    surroundings = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(surroundings)


def _files_alone(settings: type[ServiceSettings]) -> ServiceSettings:
    """What is said of files, where something else that is wrong keeps the rest from being read."""
    variables = {
        name: variable_of(settings, name)
        for name, field in settings.model_fields.items()
        if form_of(field).is_file
    }
    files = {name: Path(os.environ[each]) for name, each in variables.items() if each in os.environ}
    return settings.model_construct(set(files), **files)


def main() -> None:
    check = SettingsCheck.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.write(complaints(check).model_dump_json())


if __name__ == "__main__":
    main()
