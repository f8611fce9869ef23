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
from control_plane.application.provision_application_environment import provision_environment
from control_plane.application.queries import ApplicationFilter
from control_plane.application.register_application import register_application
from control_plane.application.workflows.application_onboarding import (
    onboard_approved_application,
)
from control_plane.application.workflows.flow import Initiator
from control_plane.domain.applications import ApplicationState
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


@router.post("/v1/applications", status_code=202, response_model=wire.RequestAccepted)
def post_application(
    request: Request, caller: AnyPerson, key: Key, body: wire.RegisterApplication
) -> Response:
    """Registers an application with a team and starts ApplicationOnboarding; takes a maintainer of
    that team. `Location` leads to the request.
    """

    def act(work: Work) -> Answer:
        return accepted(register_application(work, caller, body, current_traceparent()))

    return run_command(request, caller, key, body, act)


@router.get("/v1/applications")
def get_applications(
    services: Use,
    caller: AnyPerson,
    page: ById,
    team: Slug | None = None,
    slug: Slug | None = None,
    state: ApplicationState | None = None,
) -> wire.Page[wire.Application]:
    """Applications of the teams one may see."""
    wanted = ApplicationFilter(team, slug, state)
    applications = services.queries.applications(caller.visible_teams, page.slice, wanted)
    return page_of(applications, page, lambda application: application.id)


@router.get("/v1/applications/{application_id}")
def get_application(services: Use, _caller: Viewer, application_id: str) -> wire.Application:
    """One application with its repositories."""
    shown = services.queries.application(application_id)
    if shown is None:
        raise no_such("application", application_id)
    return shown


@router.post(
    "/v1/applications/{application_id}/onboarding",
    status_code=202,
    response_model=wire.RequestAccepted,
)
def post_onboarding(
    request: Request, caller: Maintainer, key: Key, application_id: str
) -> Response:
    """Starts ApplicationOnboarding of an Approved application, with the environments that were last
    asked for; also repeats one that was given up. `Location` leads to the request.
    """
    initiator = Initiator(caller.principal, "", current_traceparent())

    def act(work: Work) -> Answer:
        return accepted(onboard_approved_application(work, initiator, application_id))

    return run_command(request, caller, key, None, act)


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
