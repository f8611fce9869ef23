"""The words of a command line, before any of them is understood."""

from __future__ import annotations

import os
from itertools import pairwise

from idp_cli.output import OutputFormat

GLOBAL_OPTIONS = ("--home", "--api-url", "--forge-url", "--token-file", "--output")
"""Options of every command; they may stand anywhere on the line."""
EXEC_OPTION = "--exec"
"""All that stands after it is a command to run."""


def with_global_options_first(arguments: list[str]) -> list[str]:
    """The same command line with `GLOBAL_OPTIONS` moved to its front, up to a `--`, or to
    `--exec`, after which everything belongs to the command that it runs.
    """
    moved: list[str] = []
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*moved, *kept, argument, *rest]
        if argument == EXEC_OPTION:
            command = list(rest)
            return [*moved, *kept, argument, *([] if command[:1] == ["--"] else ["--"]), *command]
        if argument in GLOBAL_OPTIONS:
            moved += [argument, *[value for value in (next(rest, None),) if value is not None]]
        elif argument.startswith(tuple(f"{option}=" for option in GLOBAL_OPTIONS)):
            moved.append(argument)
        else:
            kept.append(argument)
    return [*moved, *kept]


def format_in(arguments: list[str]) -> OutputFormat:
    """Known even when the command line itself is what is wrong; an option beats the variable."""
    asked = os.environ.get("IDP_OUTPUT", "")
    for option, value in pairwise([*arguments, ""]):
        if option == "--output":
            asked = value
        elif option.startswith("--output="):
            asked = option.removeprefix("--output=")
    return OutputFormat(asked) if asked in list(OutputFormat) else OutputFormat.TABLE
