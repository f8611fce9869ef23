"""How the command line ends: exit codes, and errors as a person or a program reads them."""

from __future__ import annotations

from enum import IntEnum

from rich.console import Console
from rich.markup import escape

from idp_cli.advice import WRONG_USAGE, advice_for
from idp_cli.output import OutputFormat
from idp_kernel.errors import PlatformError


class ExitCode(IntEnum):
    """What the shell sees; part of the contract with pipelines."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REQUEST_FAILED = 4
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "it is done",
    ExitCode.FAILED: "refused or failed",
    ExitCode.USAGE: "wrong usage: the command line itself is what is wrong",
    ExitCode.UNREACHABLE: "the platform does not answer",
    ExitCode.REQUEST_FAILED: "the command was taken, and its workflow request failed, timed out "
    "or was cancelled",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
}
"""Everything that help and documentation say of them."""

EXIT_CODES_HELP = (
    "Exit codes: " + "; ".join(f"{code.value} {told}" for code, told in MEANINGS.items()) + "."
)

_EXIT_BY_CODE: dict[str, ExitCode] = {
    "unreachable": ExitCode.UNREACHABLE,
    "not_running": ExitCode.UNREACHABLE,
    WRONG_USAGE: ExitCode.USAGE,
}


def exit_code_of(error: PlatformError) -> ExitCode:
    """`unreachable` is the client's own word for a party that gave no whole answer."""
    return _EXIT_BY_CODE.get(error.code, ExitCode.FAILED)


def show_error(error: PlatformError, output: OutputFormat, console: Console) -> None:
    """Says what failed, its code, and what to do next; a program gets one document."""
    next_step = advice_for(error)
    if output != OutputFormat.TABLE:
        told = {"code": error.code, "detail": error.message, **error.details, "next": next_step}
        text = output.document_text(told)
        console.print(text, soft_wrap=True, highlight=False, markup=False)
        return
    for markup in (
        f"[red]✗[/] {escape(error.message)}",
        f"  [dim]code[/]  {escape(error.code)}",
        f"  [dim]next[/]  {escape(next_step)}",
    ):
        console.print(markup, soft_wrap=True, highlight=False)
