"""Every command there is, as it is typed."""

from __future__ import annotations

from collections.abc import Iterator

from typer.core import TyperCommand, TyperGroup

Command = TyperCommand | TyperGroup


def commands_of(group: TyperGroup, path: str = "") -> Iterator[tuple[str, TyperCommand]]:
    """Each command that does something, with the words that call it, in the order of the help."""
    for words, command in groups_and_commands_of(group, path):
        if isinstance(command, TyperCommand):
            yield words, command


def groups_and_commands_of(group: TyperGroup, path: str = "") -> Iterator[tuple[str, Command]]:
    """Each group, followed by what is in it; hidden ones left out."""
    for name, command in group.commands.items():
        assert isinstance(command, Command)  # noqa: S101 - Typer makes nothing else
        if command.hidden:
            continue
        words = f"{path} {name}".lstrip()
        yield words, command
        if isinstance(command, TyperGroup):
            yield from groups_and_commands_of(command, words)
