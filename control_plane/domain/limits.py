"""How much a team may have, and how much of it may be at work at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from idp_kernel.errors import Conflict


class LimitName(StrEnum):
    """A limit as it stands on the wire."""

    APPLICATIONS = "maxApplications"
    APPLICATION_ENVIRONMENTS = "maxApplicationEnvironments"
    ACTIVE_REQUESTS = "maxActiveRequests"


_COUNTED: dict[LimitName, str] = {
    LimitName.APPLICATIONS: "applications",
    LimitName.APPLICATION_ENVIRONMENTS: "application environments",
    LimitName.ACTIVE_REQUESTS: "requests at work at once",
}


@dataclass(frozen=True)
class TeamLimits:
    """What a team is limited to; `None` is no limit, or leaves it to the platform's default."""

    max_applications: int | None = None
    max_application_environments: int | None = None
    max_active_requests: int | None = None

    def or_else(self, default: TeamLimits) -> TeamLimits:
        """These limits, and the default's where there is none."""
        return TeamLimits(
            max_applications=_first(self.max_applications, default.max_applications),
            max_application_environments=_first(
                self.max_application_environments, default.max_application_environments
            ),
            max_active_requests=_first(self.max_active_requests, default.max_active_requests),
        )


UNLIMITED = TeamLimits()


def check_room(name: LimitName, limit: int, *, used: int, more: int, team: str) -> None:
    """Raises `Conflict` (`quota_exceeded`), which names the limit and its use, unless there is room
    for that many more.
    """
    if more == 0 or used + more <= limit:
        return
    raise Conflict(
        f"Team {team} may have {limit} {_COUNTED[name]} and has {used}; this would add {more}."
        f" A platform-admin can raise {name} with `PUT /v1/teams/{team}/limits`.",
        code="quota_exceeded",
        details={"limit": name, "inForce": limit, "used": used, "wanted": more},
    )


def _first(own: int | None, default: int | None) -> int | None:
    return default if own is None else own
