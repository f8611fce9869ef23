"""How a field differs from what is declared, and commands that change only what was compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from idp_cli.declarations.plans import Command, FieldChange

ACTIVE, DRAFT, PLANNED, SUSPENDED, FROZEN = "Active", "Draft", "Planned", "Suspended", "Frozen"

SUSPENSIONS = {(SUSPENDED, ACTIVE): "resume", (ACTIVE, SUSPENDED): "suspend"}
"""The move from one state to the other."""
FREEZES = {(FROZEN, ACTIVE): "unfreeze", (ACTIVE, FROZEN): "freeze"}


def state_to_be(declared: str | None, present: str | None) -> str:
    """What it is once the file is applied: what is new, or was only begun, becomes active."""
    if declared is not None:
        return declared
    return ACTIVE if present in (None, DRAFT, PLANNED) else str(present)


def described(present: str | None, declared: str | None) -> Iterator[FieldChange]:
    """A description that is declared and differs."""
    if declared is not None and declared != (present or ""):
        yield FieldChange("description", present, declared)


def state_changed(present: str, wanted: str) -> Iterator[FieldChange]:
    """A state that differs."""
    if present != wanted:
        yield FieldChange("state", present, wanted)


def if_unchanged(tag: str | None, commands: Iterator[Command]) -> Iterator[Command]:
    """The first only if the thing is as it was compared; the others follow from what it made."""
    for number, command in enumerate(commands):
        yield replace(command, if_match=tag) if number == 0 else command
