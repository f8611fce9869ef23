"""Routes of teams and their members."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from control_plane.api.commands import Key, answered, run_command
from control_plane.api.guards import Admin, AnyPerson, InTeam
from control_plane.api.paging import ById, ByPrincipal, page_of
from control_plane.api.services import Use
from control_plane.application.access import Caller, no_such
from control_plane.application.manage_teams import (
    TEAM_EVENTS,
    add_member,
    check_policy,
    create_team,
    move_team,
)
from control_plane.domain.teams import Team
from idp_kernel.wire import api as wire
from idp_kernel.wire.engine import TeamRole

router = APIRouter(tags=["teams"])

Viewer = Annotated[Caller, Depends(InTeam("team", "team", TeamRole.TEAM_VIEWER))]
Maintainer = Annotated[Caller, Depends(InTeam("team", "team", TeamRole.TEAM_MAINTAINER))]
AdminOfTeam = Annotated[Caller, Depends(InTeam("team", "team", None))]


@router.post("/v1/teams", status_code=201, response_model=wire.Team)
def post_team(request: Request, caller: Admin, key: Key, body: wire.CreateTeam) -> Response:
    """Creates a team in draft."""
    act = answered(
        201, lambda work: view(create_team(work, caller.principal, body)), f"/v1/teams/{body.slug}"
    )
    return run_command(request, caller, key, body, act)


@router.get("/v1/teams")
def get_teams(services: Use, caller: AnyPerson, page: ById) -> wire.Page[wire.Team]:
    """The caller's teams; all of them for platform-admins."""
    teams = services.queries.teams(caller.visible_teams, page.slice)
    return page_of(teams, page, lambda team: team.id)


@router.get("/v1/teams/{team}")
def get_team(services: Use, _caller: Viewer, team: str) -> wire.Team:
    """One team."""
    shown = services.queries.team(team)
    if shown is None:
        raise no_such("team", team)
    return shown


def _add_move(action: str) -> None:
    @router.post(
        f"/v1/teams/{{team}}/{action}", response_model=wire.Team, name=f"post_team_{action}"
    )
    def post_move(request: Request, caller: AdminOfTeam, key: Key, team: str) -> Response:
        act = answered(200, lambda work: view(move_team(work, caller.principal, team, action)))
        return run_command(request, caller, key, None, act)


for _action in TEAM_EVENTS:
    _add_move(_action)


@router.put("/v1/teams/{team}/policy")
def put_policy(_caller: AdminOfTeam, team: str, body: wire.TeamPolicy) -> wire.TeamPolicy:  # noqa: ARG001 - the guard reads it
    """Sets what is asked of the team's new applications; takes a platform-admin."""
    return check_policy(body)


@router.get("/v1/teams/{team}/policy")
def get_policy(_caller: Viewer, team: str) -> wire.TeamPolicy:  # noqa: ARG001 - the guard reads it
    """What is asked of the team's new applications."""
    return wire.TeamPolicy()


@router.post("/v1/teams/{team}/members", status_code=201, response_model=wire.Member)
def post_member(
    request: Request, caller: Maintainer, key: Key, team: str, body: wire.AddMember
) -> Response:
    """Gives a principal a role in the team; again to change it."""
    act = answered(201, lambda work: add_member(work, caller.principal, team, body))
    return run_command(request, caller, key, body, act)


@router.get("/v1/teams/{team}/members")
def get_members(
    services: Use, _caller: Viewer, team: str, page: ByPrincipal
) -> wire.Page[wire.Member]:
    """Who is in the team, by name."""
    shown = services.queries.team(team)
    if shown is None:
        raise no_such("team", team)
    members = services.queries.members(shown.id, page.slice)
    return page_of(members, page, lambda member: member.principal)


def view(team: Team) -> wire.Team:
    return wire.Team(
        id=team.id,
        slug=team.slug,
        display_name=team.display_name,
        state=team.state,
        created_at=team.created_at,
    )
