"""Application environments: one application in one environment, at most once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from control_plane.domain.moves import Move, MoveTable
from idp_kernel.errors import Conflict


class ApplicationEnvironmentState(StrEnum):
    DECLARED = "Declared"
    PROVISIONING = "Provisioning"
    ACTIVE = "Active"
    FROZEN = "Frozen"
    DECOMMISSIONING = "Decommissioning"
    RETIRED = "Retired"


_S = ApplicationEnvironmentState

APPLICATION_ENVIRONMENT_MOVES = MoveTable(
    "Application environment",
    _S.DECLARED,
    (
        Move("provision", (_S.DECLARED,), _S.PROVISIONING),
        # Provisioning that failed, timed out or was cancelled can be asked for again.
        Move("give_up_provisioning", (_S.PROVISIONING,), _S.DECLARED),
        Move("activate", (_S.PROVISIONING,), _S.ACTIVE),
        Move("freeze", (_S.ACTIVE,), _S.FROZEN),
        Move("unfreeze", (_S.FROZEN,), _S.ACTIVE),
        Move("undo", (_S.ACTIVE,), _S.DECOMMISSIONING),
        # Before anything of it was taken back.
        Move("call_off_undo", (_S.DECOMMISSIONING,), _S.ACTIVE),
        # However the undo ended: what is left is found again by whoever provisions it anew.
        Move("end_undo", (_S.DECOMMISSIONING,), _S.DECLARED),
        Move("decommission", (_S.FROZEN,), _S.DECOMMISSIONING),
        # A decommissioning that came to no end can be asked for again.
        Move("give_up_decommissioning", (_S.DECOMMISSIONING,), _S.FROZEN),
        # One that has nothing ends with its application.
        Move("retire", (_S.DECLARED, _S.DECOMMISSIONING), _S.RETIRED),
    ),
)


@dataclass(frozen=True)
class ApplicationEnvironment:
    id: str
    application_id: str
    environment_id: str
    state: ApplicationEnvironmentState
    revision: str | None
    """The commit at which the bindings are known to stand."""
    created_at: datetime

    def moved(self, action: str) -> ApplicationEnvironment:
        state = APPLICATION_ENVIRONMENT_MOVES.apply(action, self.state, subject=self.id)
        return replace(self, state=state)

    def check_secrets_may_come_and_go(self) -> None:
        """It is in use and stays so meanwhile; one that is frozen is left as it is."""
        if self.state is not _S.ACTIVE:
            raise Conflict(
                f"Application environment {self.id} is {self.state}; secrets are added to one that"
                f" is {_S.ACTIVE}, and taken back from it, alone.",
                code="application_environment_not_ready",
                details={"current": self.state, "needed": [_S.ACTIVE]},
            )
