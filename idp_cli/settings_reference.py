"""The page `docs/settings/cli.md`: what `idp` reads, and what it tells the programs it starts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import typer
from typer.core import TyperGroup, TyperOption

from idp_cli.command_tree import commands_of
from idp_cli.main import app
from idp_cli.supervision.embedded import Embedded
from idp_cli.supervision.home import Home
from idp_cli.supervision.programs import INHERITED_VARIABLES
from idp_kernel.services import DEFAULT_PORTS
from idp_kernel.settings_reference import GENERATED_NOTE, markdown_table

INTRODUCTION = """\
`idp` takes each of these as an option or as a variable; the option wins. A wrong value is named
with both, and the exit code is 2."""

SUPERVISED = """\
What stands here no variable of your shell can change; ports are the default ones plus
`--port-offset`. Every other setting of a service is passed on from the shell, so that
`IDP_ENGINE_WORKER_SLOTS=8 make up` does what it says; of all else only {inherited} are. No value is
a secret: where one is needed, the variable names its file. What a program would refuse is named
before anything starts, all of it at once."""


def cli_settings_page() -> str:
    """The page; ends with a line end."""
    inherited = ", ".join(f"`{name}`" for name in INHERITED_VARIABLES)
    parts = [
        GENERATED_NOTE,
        "# Settings of the command line and the supervisor",
        INTRODUCTION,
        "## `idp`",
        markdown_table(("Variable", "Option", "Default", "Meaning"), _options()),
        "## What `idp up` tells each program",
        SUPERVISED.format(inherited=inherited),
    ]
    for name, variables in _told():
        parts += [f"### `{name}`", markdown_table(("Variable", "Value"), variables)]
    return "\n\n".join(parts) + "\n"


def _options() -> Iterator[tuple[str, str, str, str]]:
    """Those of every command, then those of one."""
    program = typer.main.get_command(app)
    assert isinstance(program, TyperGroup)  # noqa: S101 - it has more than one command
    for words, command in (("", program), *commands_of(program)):
        for parameter in command.params:
            if isinstance(parameter, TyperOption) and parameter.envvar:
                yield _row(parameter, f" of `idp {words}`" if words else "")


def _row(option: TyperOption, of: str) -> tuple[str, str, str, str]:
    default = option.default
    return (
        f"`{option.envvar}`",
        "none: a secret has no place there" if option.hidden else f"`{option.opts[0]}`{of}",
        "not set" if default is None else f"`{getattr(default, 'value', default)}`",
        option.help or "Your token itself.",
    )


def _told() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """What each program is told, the home being `.idp` and its installation's id made up."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home.at(Path(folder))
        installation_id = home.installation_id()
        for program in Embedded(home, DEFAULT_PORTS).programs():
            yield (
                program.name,
                [
                    (f"`{name}`", f"`{_told_value(value, folder, installation_id)}`")
                    for name, value in sorted(program.environment.items())
                ],
            )


def _told_value(value: str, folder: str, installation_id: str) -> str:
    return value.replace(folder, ".idp").replace(installation_id, "made at the first start")
