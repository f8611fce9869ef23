"""Asks a person before something is done, where somebody can answer."""

from __future__ import annotations

import sys

import typer

from idp_cli.exits import ExitCode
from idp_cli.invocation import Invocation
from idp_kernel.errors import InvalidInput


def agree(
    invocation: Invocation,
    question: str,
    *,
    whether: str,
    code: str,
    is_agreed: bool,
    can_be_asked: bool = True,
) -> None:
    """Returns once it is agreed to; ends the program when it is not.

    Raises `InvalidInput` with the code where nobody can be asked `whether`.
    """
    if is_agreed:
        return
    output = invocation.output
    is_terminal = sys.stdin.isatty() and output.console.is_terminal
    if output.is_for_programs or not is_terminal or not can_be_asked:
        raise InvalidInput(
            f"Nobody can be asked whether {whether}, so nothing was changed.", code=code
        )
    if typer.confirm(question, err=True):
        return
    output.hint("Nothing was changed.")
    raise typer.Exit(ExitCode.FAILED)
