"""Limits of teams: whose counts, and when one is reached."""

from __future__ import annotations

import pytest

from control_plane.domain.limits import UNLIMITED, LimitName, TeamLimits, check_room
from idp_kernel.errors import Conflict

NAME = LimitName.APPLICATIONS


def test_the_teams_own_limit_goes_before_the_default() -> None:
    own = TeamLimits(max_applications=0)
    default = TeamLimits(max_applications=5, max_active_requests=2)
    assert own.or_else(default) == TeamLimits(max_applications=0, max_active_requests=2)
    assert UNLIMITED.or_else(UNLIMITED) == UNLIMITED


@pytest.mark.parametrize(("limit", "used", "more"), [(3, 2, 1), (0, 7, 0)])
def test_there_is_room(limit: int, used: int, more: int) -> None:
    check_room(NAME, limit, used=used, more=more, team="payments")


@pytest.mark.parametrize(("limit", "used", "more"), [(0, 0, 1), (3, 3, 1), (3, 2, 2), (1, 5, 1)])
def test_a_refusal_names_the_limit_and_its_use(limit: int, used: int, more: int) -> None:
    with pytest.raises(Conflict, match="PUT /v1/teams/payments/limits") as refused:
        check_room(NAME, limit, used=used, more=more, team="payments")
    assert refused.value.code == "quota_exceeded"
    assert refused.value.details == {
        "limit": "maxApplications",
        "inForce": limit,
        "used": used,
        "wanted": more,
    }
