"""Move tables: which state follows which, as data, and the refusal that explains itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from idp_kernel.errors import InvariantBroken, MoveRefused

State = TypeVar("State", bound=StrEnum)


@dataclass(frozen=True)
class Move(Generic[State]):
    """One verb: where it may start and where it ends."""

    action: str
    sources: tuple[State, ...]
    target: State


@dataclass(frozen=True)
class MoveTable(Generic[State]):
    """Every move of one entity; what is not in it is refused."""

    entity: str
    initial: State
    moves: tuple[Move[State], ...]

    def apply(self, action: str, current: State, *, subject: str) -> State:
        """The state after `action`.

        Raises `MoveRefused`, which names the current state, the wanted one, the states that can
        follow now, and what would allow the move. `subject` names the thing to its reader.
        """
        move = self.named(action)
        if current not in move.sources:
            raise self._refusal(move, current, subject)
        return move.target

    def named(self, action: str) -> Move[State]:
        """The move of that name; an unknown name is a bug."""
        for move in self.moves:
            if move.action == action:
                return move
        raise InvariantBroken(f"{self.entity} has no move named {action}")

    def moves_from(self, current: State) -> tuple[Move[State], ...]:
        """The moves that can be made now."""
        return tuple(move for move in self.moves if current in move.sources)

    def _refusal(self, move: Move[State], current: State, subject: str) -> MoveRefused:
        allowed = self.moves_from(current)
        sources = " or ".join(move.sources)
        ways = ", ".join(f"{each.action} (to {each.target})" for each in allowed)
        return MoveRefused(
            f"{self.entity} {subject} is {current}; '{move.action}' would make it {move.target}"
            f" and needs it to be {sources}. From {current} it can: {ways or 'nothing more'}.",
            current=current,
            wanted=move.target,
            allowed=[each.target for each in allowed],
        )
