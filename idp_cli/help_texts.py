"""How every command explains itself: paragraphs as wide as the terminal, values named, examples."""

from __future__ import annotations

import inspect

import typer
from typer.core import TyperGroup, TyperOption

from idp_cli.command_tree import Command, commands_of, groups_and_commands_of
from idp_cli.examples import help_of_examples


def complete_help(program: TyperGroup) -> None:
    """Adds to all commands what Typer cannot know, and takes out what tells nobody anything."""
    _tidy(program)
    for _words, command in groups_and_commands_of(program):
        command.help = unwrapped(command.help)
        _tidy(command)
    for words, command in commands_of(program):
        command.epilog = help_of_examples(words)


def unwrapped(text: str | None) -> str:
    """The paragraphs of a docstring, each on one line."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(each.split()) for each in paragraphs)


def value_name(option: TyperOption) -> str:
    """What stands for the value of an option; nothing for one that has none."""
    return "" if option.is_flag else str(option.metavar or option.name.upper())


def _tidy(command: Command) -> None:
    help_option = command.get_help_option(typer.Context(command))
    for option in [*command.params, help_option]:
        if isinstance(option, TyperOption) and not option.type_descriptor.is_choice:
            option.metavar = value_name(option)
