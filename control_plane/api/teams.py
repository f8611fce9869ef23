"""Routes of teams, their members, policies and limits."""

from __future__ import annotations

import json
import re
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from control_plane.api.commands import Key, answered, run_change, run_command
from control_plane.api.conditions import IfMatch, IfNoneMatch, etag_in_parts
from control_plane.api.guards import Admin, AnyPerson, InTeam
from control_plane.api.narrowing import Created, NamePrefix
from control_plane.api.openapi import refuses, texts
from control_plane.api.paging import ById, ByPrincipal, page_of
from control_plane.api.services import Use
from control_plane.application.access import Caller, found, no_such
from control_plane.application.manage_teams import (
    TEAM_EVENTS,
    add_member,
    create_team,
    describe_team,
    lock_team,
    move_team,
    policy_of,
    remove_member,
    set_policy,
    team_view,
)
from control_plane.application.queries import TeamFilter
from control_plane.application.team_limits import limits_view, set_team_limits
from control_plane.domain.teams import TEAM_MOVES, TeamState
from idp_kernel.wire import api as wire
from idp_kernel.wire.engine import TeamRole

router = APIRouter(tags=["teams"])

Viewer = Annotated[Caller, Depends(InTeam("team", "team", TeamRole.TEAM_VIEWER))]
Maintainer = Annotated[Caller, Depends(InTeam("team", "team", TeamRole.TEAM_MAINTAINER))]
AdminOfTeam = Annotated[Caller, Depends(InTeam("team", "team", None))]


@router.post(
    "/v1/teams",
    status_code=201,
    response_model=wire.Team,
    openapi_extra=refuses("team_exists"),
)
def post_team(request: Request, caller: Admin, key: Key, body: wire.CreateTeam) -> Response:
    """Creates a team in draft."""
    act = answered(
        201,
        lambda work: team_view(create_team(work, caller.principal, body)),
        f"/v1/teams/{body.slug}",
    )
    return run_command(request, caller, key, body, act)


@router.get("/v1/teams")
def get_teams(
    services: Use,
    caller: AnyPerson,
    page: ById,
    created: Created,
    state: TeamState | None = None,
    name_prefix: NamePrefix = None,
) -> wire.Page[wire.Team]:
    """Lists the caller's teams; all of them for platform-admins."""
    wanted = TeamFilter(state, name_prefix, created)
    teams = services.queries.teams(caller.visible_teams, page.slice, wanted)
    return page_of(teams, page, lambda team: team.id)


@router.get("/v1/teams/{team}", response_model=wire.Team)
def get_team(services: Use, _caller: Viewer, team: str, seen: IfNoneMatch) -> Response:
    """Shows one team."""
    return seen.answer(found(services.queries.team(team), "team", team))


@router.put("/v1/teams/{team}", response_model=wire.Team)
def put_team(
    request: Request, caller: AdminOfTeam, team: str, body: wire.DescribeTeam, expected: IfMatch
) -> Response:
    """Gives a team another name to be shown by. Takes a platform-admin; repeatable."""
    act = answered(200, lambda work: team_view(describe_team(work, caller.principal, team, body)))
    return run_change(request, expected.before(act, lambda work: team_view(lock_team(work, team))))


def _add_move(action: str) -> None:
    @router.post(
        f"/v1/teams/{{team}}/{action}",
        response_model=wire.Team,
        name=f"post_team_{action}",
        openapi_extra=refuses("move_refused", *(("team_in_use",) if action == "archive" else ())),
        **texts(TEAM_MOVES, action, "Takes a platform-admin."),
    )
    def post_move(
        request: Request, caller: AdminOfTeam, key: Key, team: str, expected: IfMatch
    ) -> Response:
        act = answered(200, lambda work: team_view(move_team(work, caller.principal, team, action)))
        checked = expected.before(act, lambda work: team_view(lock_team(work, team)))
        return run_command(request, caller, key, None, checked)


for _action in TEAM_EVENTS:
    _add_move(_action)


@router.put("/v1/teams/{team}/policy", response_model=wire.TeamPolicy)
def put_policy(
    request: Request,
    caller: AdminOfTeam,
    team: str,
    body: wire.TeamPolicy,
    expected: IfMatch,
) -> Response:
    """Sets whether somebody has to approve the team's new applications, and whether what a request
    made is taken back when it fails. Takes a platform-admin; repeatable.
    """
    act = answered(200, lambda work: set_policy(work, caller.principal, team, body))
    held = expected.before(act, lambda work: policy_of(work, lock_team(work, team)))
    return run_change(request, held)


@router.get("/v1/teams/{team}/policy", response_model=wire.TeamPolicy)
def get_policy(services: Use, _caller: Viewer, team: str, seen: IfNoneMatch) -> Response:
    """Shows what is asked of the team's new applications, and whether what a request made is taken
    back when it fails.
    """
    with services.begin() as work:
        held = found(work.teams.by_slug(team), "team", team)
        return seen.answer(policy_of(work, held))


@router.get("/v1/teams/{team}/limits", response_model=wire.TeamLimits)
def get_limits(services: Use, _caller: Viewer, team: str, seen: IfNoneMatch) -> Response:
    """Shows how much the team may have and have at work, and how much of it is used."""
    with services.begin() as work:
        held = found(work.teams.by_slug(team), "team", team)
        return seen.answer(limits_view(work, held), _tag_of_limits)


@router.put("/v1/teams/{team}/limits", response_model=wire.TeamLimits)
def put_limits(
    request: Request, caller: AdminOfTeam, team: str, body: wire.SetTeamLimits, expected: IfMatch
) -> Response:
    """Sets all limits of the team. Takes a platform-admin; repeatable.

    What the team has already stays, also beyond a limit. Requests above `maxActiveRequests` are
    taken and stay `pending` until others have ended; their deadline does not wait. Emergency
    rotations do not stay.
    """
    act = answered(200, lambda work: set_team_limits(work, caller.principal, team, body))
    held = expected.before(
        act, lambda work: limits_view(work, lock_team(work, team)), _tag_of_limits
    )
    return run_change(request, held, _tag_of_limits)


@router.post("/v1/teams/{team}/members", status_code=201, response_model=wire.Member)
def post_member(
    request: Request, caller: Maintainer, key: Key, team: str, body: wire.AddMember
) -> Response:
    """Gives a principal a role in the team; again to change it."""
    act = answered(201, lambda work: add_member(work, caller.principal, team, body))
    return run_command(request, caller, key, body, act)


@router.get("/v1/teams/{team}/members")
def get_members(
    services: Use,
    _caller: Viewer,
    team: str,
    page: ByPrincipal,
    role: Annotated[TeamRole | None, Query()] = None,
) -> wire.Page[wire.Member]:
    """Lists who is in the team, by name."""
    shown = found(services.queries.team(team), "team", team)
    members = services.queries.members(shown.id, page.slice, role)
    return page_of(members, page, lambda member: member.principal)


@router.delete("/v1/teams/{team}/members/{principal}", status_code=204)
def delete_member(services: Use, caller: Maintainer, team: str, principal: str) -> None:
    """Takes a principal's role in the team away; repeatable."""
    if re.fullmatch(wire.PRINCIPAL_PATTERN, principal) is None:
        raise no_such("member", principal)
    with services.begin() as work:
        remove_member(work, caller.principal, team, principal)


def _tag_of_limits(body: str) -> str:
    """Whoever changes limits need not have seen the present use."""
    own = {name: limit["own"] for name, limit in json.loads(body).items()}
    return etag_in_parts(json.dumps(own, sort_keys=True), body)
