"""Applications: each belongs to one team, for ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from control_plane.domain.moves import Move, MoveTable
from idp_kernel.errors import Conflict, NotAllowed


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
        # Before anything of it was made.
        Move("reject", (ApplicationState.PROPOSED,), ApplicationState.ARCHIVED),
        Move("onboard", (ApplicationState.APPROVED,), ApplicationState.ONBOARDING),
        # Onboarding that failed, timed out or was cancelled can be asked for again.
        Move("give_up_onboarding", (ApplicationState.ONBOARDING,), ApplicationState.APPROVED),
        Move("activate", (ApplicationState.ONBOARDING,), ApplicationState.ACTIVE),
        Move("undo", (ApplicationState.ACTIVE,), ApplicationState.DECOMMISSIONING),
        # Before anything of it was taken back.
        Move("call_off_undo", (ApplicationState.DECOMMISSIONING,), ApplicationState.ACTIVE),
        # However the undo ended: what is left is found again by whoever onboards it anew.
        Move("end_undo", (ApplicationState.DECOMMISSIONING,), ApplicationState.APPROVED),
        Move("deprecate", (ApplicationState.ACTIVE,), ApplicationState.DEPRECATED),
        Move("decommission", (ApplicationState.DEPRECATED,), ApplicationState.DECOMMISSIONING),
        # A decommissioning that came to no end can be asked for again.
        Move(
            "give_up_decommissioning",
            (ApplicationState.DECOMMISSIONING,),
            ApplicationState.DEPRECATED,
        ),
        Move("archive", (ApplicationState.DECOMMISSIONING,), ApplicationState.ARCHIVED),
    ),
)

ONBOARDING_ADVICE = (
    "A Proposed application is approved by somebody else first. An Approved one becomes Active by"
    " its onboarding, which a maintainer asks for with"
    " `POST /v1/applications/{application_id}/onboarding`."
)
"""What to do about an application that is not ready."""

_PROVISIONABLE_IN = (
    ApplicationState.APPROVED,
    ApplicationState.ONBOARDING,
    ApplicationState.ACTIVE,
    ApplicationState.DEPRECATED,
)
ROTATABLE_IN = (ApplicationState.ACTIVE, ApplicationState.DEPRECATED)
"""A deprecated application still runs: its secrets are rotated to the end."""


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

    def check_may_be_decided_by(self, principal: str, *, proposed_by: str) -> None:
        """Four eyes: raises `NotAllowed` (`own_proposal`) for the one who proposed it."""
        if principal == proposed_by:
            raise NotAllowed(
                f"{principal} has proposed application {self.slug}. Another maintainer of the team,"
                " or a platform-admin, approves or rejects it.",
                code="own_proposal",
                details={"applicationId": self.id},
            )

    def check_may_get_environments(self) -> None:
        """Environments, and secrets for them, are asked for in active applications only: onboarding
        comes first.
        """
        self._check_ready((ApplicationState.ACTIVE,))

    def check_may_go_on_provisioning(self) -> None:
        """What was asked for goes on: before onboarding existed, also while the application is
        being onboarded; since then, also when it was deprecated meanwhile.
        """
        self._check_ready(_PROVISIONABLE_IN)

    def _check_ready(self, needed: Sequence[ApplicationState]) -> None:
        if self.state not in needed:
            raise Conflict(
                f"Application {self.slug} is {self.state} and gets no environment and no secret; it"
                f" must be Active. {ONBOARDING_ADVICE}",
                code="application_not_ready",
                details={
                    "application": self.slug,
                    "current": self.state,
                    "needed": list(needed),
                },
            )
