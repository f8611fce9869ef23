"""Environments of the whole platform (dev, prod, …), which application environments stand in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from control_plane.domain.moves import Move, MoveTable
from idp_kernel.errors import Conflict


class EnvironmentState(StrEnum):
    PLANNED = "Planned"
    ACTIVE = "Active"
    FROZEN = "Frozen"
    RETIRED = "Retired"


ENVIRONMENT_MOVES = MoveTable(
    "Environment",
    EnvironmentState.PLANNED,
    (
        Move("activate", (EnvironmentState.PLANNED,), EnvironmentState.ACTIVE),
        Move("freeze", (EnvironmentState.ACTIVE,), EnvironmentState.FROZEN),
        Move("unfreeze", (EnvironmentState.FROZEN,), EnvironmentState.ACTIVE),
        Move("retire", (EnvironmentState.FROZEN,), EnvironmentState.RETIRED),
    ),
)


@dataclass(frozen=True)
class Environment:
    id: str
    slug: str
    description: str
    state: EnvironmentState
    created_at: datetime

    def moved(self, action: str) -> Environment:
        return replace(self, state=ENVIRONMENT_MOVES.apply(action, self.state, subject=self.slug))

    def check_may_be_provisioned(self) -> None:
        """A frozen environment is not provisioned, nor is a planned or retired one."""
        if self.state is not EnvironmentState.ACTIVE:
            raise Conflict(
                f"Environment {self.slug} is {self.state} and is not provisioned;"
                " it must be Active.",
                code="environment_not_active",
                details={
                    "environment": self.slug,
                    "current": self.state,
                    "needed": [EnvironmentState.ACTIVE],
                },
            )
