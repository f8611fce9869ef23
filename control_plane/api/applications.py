"""Routes of applications and their environments."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from control_plane.api.commands import Key, run_command
from control_plane.api.guards import AnyPerson, InTeam
from control_plane.api.paging import ById, page_of
from control_plane.api.requests import accepted
from control_plane.api.services import Use
from control_plane.application.access import Caller, no_such
from control_plane.application.ports import Answer, Work
from control_plane.application.provision_application_environment import (
    Initiator,
    provision_environment,
)
from control_plane.application.register_application import register_application
from idp_kernel.ids import Slug
from idp_kernel.telemetry.traces import current_traceparent
from idp_kernel.wire import api as wire
from idp_kernel.wire.engine import TeamRole

router = APIRouter(tags=["applications"])

_APPLICATION = ("application", "application_id")
_APPENV = ("application_environment", "application_environment_id")
Viewer = Annotated[Caller, Depends(InTeam(*_APPLICATION, TeamRole.TEAM_VIEWER))]
Maintainer = Annotated[Caller, Depends(InTeam(*_APPLICATION, TeamRole.TEAM_MAINTAINER))]
ViewerOfAppEnv = Annotated[Caller, Depends(InTeam(*_APPENV, TeamRole.TEAM_VIEWER))]


@router.post("/v1/applications", status_code=201, response_model=wire.Application)
def post_application(
    request: Request, caller: AnyPerson, key: Key, body: wire.RegisterApplication
) -> Response:
    """Registers an application with a team; takes a maintainer of that team."""

    def act(work: Work) -> Answer:
        made = register_application(work, caller, body)
        shown = wire.Application(
            id=made.id,
            team=body.team,
            slug=made.slug,
            description=made.description,
            state=made.state,
            created_at=made.created_at,
        )
        return Answer(201, shown.model_dump_json(), f"/v1/applications/{made.id}")

    return run_command(request, caller, key, body, act)


@router.get("/v1/applications")
def get_applications(
    services: Use,
    caller: AnyPerson,
    page: ById,
    team: Slug | None = None,
    slug: Slug | None = None,
) -> wire.Page[wire.Application]:
    """Applications of the teams one may see."""
    applications = services.queries.applications(
        caller.visible_teams, page.slice, team=team, slug=slug
    )
    return page_of(applications, page, lambda application: application.id)


@router.get("/v1/applications/{application_id}")
def get_application(services: Use, _caller: Viewer, application_id: str) -> wire.Application:
    """One application."""
    shown = services.queries.application(application_id)
    if shown is None:
        raise no_such("application", application_id)
    return shown


@router.post(
    "/v1/applications/{application_id}/environments",
    status_code=202,
    response_model=wire.RequestAccepted,
)
def post_application_environment(
    request: Request,
    caller: Maintainer,
    key: Key,
    application_id: str,
    body: wire.ProvisionEnvironment,
) -> Response:
    """Starts ApplicationEnvironmentProvisioning; `Location` leads to the request."""
    initiator = Initiator(caller.principal, "", current_traceparent())

    def act(work: Work) -> Answer:
        return accepted(provision_environment(work, initiator, application_id, body))

    return run_command(request, caller, key, body, act)


@router.get("/v1/applications/{application_id}/environments")
def get_application_environments(
    services: Use, _caller: Viewer, application_id: str, page: ById
) -> wire.Page[wire.ApplicationEnvironment]:
    """The application's environments."""
    environments = services.queries.application_environments(application_id, page.slice)
    return page_of(environments, page, lambda environment: environment.id)


@router.get("/v1/application-environments/{application_environment_id}")
def get_application_environment(
    services: Use, _caller: ViewerOfAppEnv, application_environment_id: str
) -> wire.ApplicationEnvironment:
    """One application environment with its repository and secrets, as references."""
    shown = services.queries.application_environment(application_environment_id)
    if shown is None:
        raise no_such("application environment", application_environment_id)
    return shown
