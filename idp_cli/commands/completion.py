"""`idp completion`: the script that makes a shell complete what is typed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from idp_cli.completion import Shell, script_of


def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell that loads it.", metavar="SHELL")],
) -> None:
    """Print the script with which bash, zsh or fish completes commands and names.

    Its first lines say how that shell loads it.
    """
    sys.stdout.write(script_of(shell))
