"""How the command line ends: exit codes, and errors as a person or a pipeline reads them."""

from __future__ import annotations

import json
from enum import IntEnum

from rich.console import Console
from rich.markup import escape

from idp_cli.advice import advice_for
from idp_cli.output import OutputFormat
from idp_kernel.errors import PlatformError


class ExitCode(IntEnum):
    """What the shell sees; part of the contract with pipelines."""

    OK = 0
    FAILED = 1
    """Refused, or failed."""
    USAGE = 2
    """The command line itself is wrong."""
    UNREACHABLE = 3
    """The platform does not answer."""
    REQUEST_FAILED = 4
    """The command was taken, and its workflow request did not succeed."""
    INTERRUPTED = 130
    """Ctrl-C, before the command was through."""


EXIT_CODES_HELP = (
    "Exit codes: 0 it is done; 1 refused or failed; 2 wrong usage; 3 the platform does not "
    "answer; 4 the workflow request failed, timed out or was cancelled; 130 interrupted."
)


def exit_code_of(error: PlatformError) -> ExitCode:
    """`unreachable` is the client's own word for a party that gave no whole answer."""
    is_away = error.code in ("unreachable", "not_running")
    return ExitCode.UNREACHABLE if is_away else ExitCode.FAILED


def show_error(error: PlatformError, output: OutputFormat, console: Console) -> None:
    """Says what failed, its code, and what to do next."""
    next_step = advice_for(error)
    if output == OutputFormat.JSON:
        told = {"code": error.code, "detail": error.message, **error.details, "next": next_step}
        console.print(json.dumps(told), soft_wrap=True, highlight=False, markup=False)
        return
    for markup in (
        f"[red]✗[/] {escape(error.message)}",
        f"  [dim]code[/]  {escape(error.code)}",
        f"  [dim]next[/]  {escape(next_step)}",
    ):
        console.print(markup, soft_wrap=True, highlight=False)
