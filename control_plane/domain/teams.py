"""Teams: who owns applications and who may start workflows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from control_plane.domain.moves import Move, MoveTable
from idp_kernel.errors import Conflict


class TeamState(StrEnum):
    DRAFT = "Draft"
    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    ARCHIVED = "Archived"


TEAM_MOVES = MoveTable(
    "Team",
    TeamState.DRAFT,
    (
        Move("activate", (TeamState.DRAFT,), TeamState.ACTIVE),
        Move("suspend", (TeamState.ACTIVE,), TeamState.SUSPENDED),
        Move("resume", (TeamState.SUSPENDED,), TeamState.ACTIVE),
        Move("archive", (TeamState.SUSPENDED,), TeamState.ARCHIVED),
    ),
)


@dataclass(frozen=True)
class Team:
    id: str
    slug: str
    display_name: str
    state: TeamState
    created_at: datetime

    def moved(self, action: str) -> Team:
        return replace(self, state=TEAM_MOVES.apply(action, self.state, subject=self.slug))

    def check_may_start_workflow(self) -> None:
        """A suspended team starts no workflow, nor does one that is not active yet or any more."""
        if self.state is not TeamState.ACTIVE:
            raise Conflict(
                f"Team {self.slug} is {self.state} and starts no workflow; it must be Active.",
                code="team_not_active",
                details={"team": self.slug, "current": self.state, "needed": [TeamState.ACTIVE]},
            )
