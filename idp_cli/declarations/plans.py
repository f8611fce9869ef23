"""What has to change so that the platform is as declared, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from idp_cli.declarations.kinds import Kind
from idp_kernel.wire.base import WireModel


class Action(StrEnum):
    """What becomes of a subject."""

    CREATE = "create"
    CHANGE = "change"


@dataclass(frozen=True)
class Command:
    """One call of the API."""

    path: str
    answer: type[WireModel]
    body: WireModel | None = None
    method: Literal["POST", "PUT"] = "POST"
    if_match: str | None = None
    """The entity tag of what was compared; the command changes nothing else."""


@dataclass(frozen=True)
class Removal:
    """One call of the API that takes something away and answers nothing."""

    path: str
    method: Literal["DELETE"] = "DELETE"


@dataclass(frozen=True)
class FieldChange:
    """A field, as it is and as it shall be."""

    name: str
    present: str | None
    declared: str


@dataclass(frozen=True)
class Change:
    """What becomes of one subject, and the commands that bring it about, in order."""

    action: Action
    kind: Kind
    subject: str
    fields: tuple[FieldChange, ...] = ()
    commands: tuple[Command | Removal, ...] = ()
    """None where another change does it too: an application is registered with its environments."""


@dataclass(frozen=True)
class UnderWay:
    """Something that is not compared to its end, since a request is at work on it."""

    kind: Kind
    subject: str
    request_id: str | None
    """None while what it waits for is only now asked for."""
    is_settled: bool
    """Whether the request leads to what is declared; if not, it has to be compared again."""
    proposed_id: str | None = None
    """The application's id, when all waits for somebody to approve that."""


@dataclass
class Plan:
    """Everything, in the order in which it is done."""

    changes: list[Change] = field(default_factory=list)
    under_way: list[UnderWay] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """Why it cannot be: each with the place in the file and what to do."""
    unchanged: int = 0

    def settle(self, change: Change) -> None:
        """A subject was compared; one without a change is as declared."""
        if change.fields or change.commands or change.action == Action.CREATE:
            self.changes.append(change)
        else:
            self.unchanged += 1

    @property
    def unsettled(self) -> Sequence[UnderWay]:
        """What has to be compared again."""
        return [each for each in self.under_way if not each.is_settled]
