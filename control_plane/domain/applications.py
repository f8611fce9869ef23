"""Applications: each belongs to one team, for ever."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from control_plane.domain.moves import Move, MoveTable
from idp_kernel.errors import Conflict


class ApplicationState(StrEnum):
    PROPOSED = "Proposed"
    APPROVED = "Approved"
    ONBOARDING = "Onboarding"
    ACTIVE = "Active"
    DEPRECATED = "Deprecated"
    DECOMMISSIONING = "Decommissioning"
    ARCHIVED = "Archived"


APPLICATION_MOVES = MoveTable(
    "Application",
    ApplicationState.PROPOSED,
    (
        Move("approve", (ApplicationState.PROPOSED,), ApplicationState.APPROVED),
        Move("onboard", (ApplicationState.APPROVED,), ApplicationState.ONBOARDING),
        Move("activate", (ApplicationState.ONBOARDING,), ApplicationState.ACTIVE),
        Move("deprecate", (ApplicationState.ACTIVE,), ApplicationState.DEPRECATED),
        Move("decommission", (ApplicationState.DEPRECATED,), ApplicationState.DECOMMISSIONING),
        Move("archive", (ApplicationState.DECOMMISSIONING,), ApplicationState.ARCHIVED),
    ),
)

_MAY_HAVE_ENVIRONMENTS = (ApplicationState.APPROVED, ApplicationState.ACTIVE)


@dataclass(frozen=True)
class Application:
    """`team_id` has no move: no command changes it."""

    id: str
    team_id: str
    slug: str
    description: str
    state: ApplicationState
    created_at: datetime

    def moved(self, action: str) -> Application:
        return replace(self, state=APPLICATION_MOVES.apply(action, self.state, subject=self.slug))

    def check_may_get_environments(self) -> None:
        """Environments are provisioned for approved and active applications only."""
        if self.state not in _MAY_HAVE_ENVIRONMENTS:
            needed = " or ".join(_MAY_HAVE_ENVIRONMENTS)
            raise Conflict(
                f"Application {self.slug} is {self.state} and gets no environment;"
                f" it must be {needed}.",
                code="application_not_ready",
                details={
                    "application": self.slug,
                    "current": self.state,
                    "needed": list(_MAY_HAVE_ENVIRONMENTS),
                },
            )
