"""A command line that cannot be understood, as an error that says what to type instead."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from typer._click.exceptions import NoArgsIsHelpError, UsageError
from typer.core import TyperGroup

from idp_cli.advice import WRONG_USAGE
from idp_cli.command_tree import commands_of
from idp_cli.examples import examples_of
from idp_kernel.errors import InvalidInput

MOST_SUGGESTED = 3

__all__ = ["NoArgsIsHelpError", "UsageError", "wrong_usage"]
"""Typer has no public name for what every wrong command line is raised as."""


def wrong_usage(error: UsageError, program: TyperGroup, arguments: list[str]) -> InvalidInput:
    """The error with an example of the command; for an unknown one, with those near to it."""
    context = error.ctx
    message = " ".join(error.format_message().split()).replace(": Value error, ", ": ")
    words = "" if context is None else context.command_path.partition(" ")[2]
    if context is None or not isinstance(context.command, TyperGroup):
        examples = examples_of(words)
        return _error(message, words, examples[0] if examples else None)
    near = _near(program, words, arguments) if "Did you mean" not in message else []
    if near:
        message = f"{message.rstrip('.')}. Did you mean {' or '.join(near)}?"
    return _error(message, words, None)


def _near(program: TyperGroup, words: str, arguments: list[str]) -> list[str]:
    """Commands of other groups that are called as what was typed, or nearly so."""
    typed = [each for each in arguments if not each.startswith("-")][len(words.split()) :]
    if not typed:
        return []
    return [f"'idp {path}'" for path in _called(program, typed[0])][:MOST_SUGGESTED]


def _called(program: TyperGroup, name: str) -> Iterator[str]:
    paths = [path for path, _command in commands_of(program)]
    last_words = {path.rpartition(" ")[2] for path in paths}
    for close in [name] if name in last_words else get_close_matches(name, last_words):
        yield from (path for path in paths if path.rpartition(" ")[2] == close)


def _error(message: str, command: str, example: str | None) -> InvalidInput:
    details = {"command": command, **({"example": example} if example is not None else {})}
    return InvalidInput(message, code=WRONG_USAGE, details=details)
