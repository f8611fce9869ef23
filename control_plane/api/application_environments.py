"""Routes of application environments."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from control_plane.api.commands import Key, answered, run_command
from control_plane.api.conditions import IfMatch, IfNoneMatch
from control_plane.api.guards import AnyPerson, InTeam
from control_plane.api.narrowing import OfApplication, OfEnvironment, OfTeam
from control_plane.api.openapi import refuses, texts
from control_plane.api.paging import ById, page_of
from control_plane.api.problem_codes import PROVISIONS, REVOKES
from control_plane.api.requests import accepted
from control_plane.api.services import Use
from control_plane.application.access import Caller, found
from control_plane.application.decommission import decommission_environment
from control_plane.application.manage_applications import (
    APPENV_EVENTS,
    lock_application_environment,
    move_application_environment,
)
from control_plane.application.ports import Answer, Work
from control_plane.application.provision_application_environment import (
    add_secrets,
    provision_environment,
)
from control_plane.application.queries import AppEnvFilter
from control_plane.application.workflows.flow import Initiator
from control_plane.domain.application_environments import (
    APPLICATION_ENVIRONMENT_MOVES,
    ApplicationEnvironmentState,
)
from idp_kernel.telemetry.traces import current_traceparent
from idp_kernel.wire import api as wire
from idp_kernel.wire.engine import TeamRole

router = APIRouter(tags=["application environments"])

_APPLICATION = ("application", "application_id")
_APPENV = ("application_environment", "application_environment_id")
ViewerOfApplication = Annotated[Caller, Depends(InTeam(*_APPLICATION, TeamRole.TEAM_VIEWER))]
MaintainerOfApplication = Annotated[
    Caller, Depends(InTeam(*_APPLICATION, TeamRole.TEAM_MAINTAINER))
]
Viewer = Annotated[Caller, Depends(InTeam(*_APPENV, TeamRole.TEAM_VIEWER))]
Maintainer = Annotated[Caller, Depends(InTeam(*_APPENV, TeamRole.TEAM_MAINTAINER))]
InState = Annotated[ApplicationEnvironmentState | None, Query(alias="state")]


@router.post(
    "/v1/applications/{application_id}/environments",
    status_code=202,
    response_model=wire.RequestAccepted,
    openapi_extra=refuses(*PROVISIONS, "quota_exceeded"),
)
def post_application_environment(
    request: Request,
    caller: MaintainerOfApplication,
    key: Key,
    application_id: str,
    body: wire.ProvisionEnvironment,
) -> Response:
    """Starts ApplicationEnvironmentProvisioning. `Location` leads to the request."""
    initiator = Initiator(caller.principal, "", current_traceparent())

    def act(work: Work) -> Answer:
        return accepted(provision_environment(work, initiator, application_id, body))

    return run_command(request, caller, key, body, act)


@router.get("/v1/applications/{application_id}/environments")
def get_environments_of_application(
    services: Use,
    caller: ViewerOfApplication,
    application_id: str,
    page: ById,
    environment: OfEnvironment = None,
    state: InState = None,
) -> wire.Page[wire.ApplicationEnvironment]:
    """Lists the application's environments."""
    wanted = AppEnvFilter(None, application_id, environment, state)
    found = services.queries.application_environments(caller.visible_teams, page.slice, wanted)
    return page_of(found, page, lambda each: each.id)


@router.get("/v1/application-environments")
def get_application_environments(
    services: Use,
    caller: AnyPerson,
    page: ById,
    team: OfTeam = None,
    application_id: OfApplication = None,
    environment: OfEnvironment = None,
    state: InState = None,
) -> wire.Page[wire.ApplicationEnvironment]:
    """Lists application environments of the teams one may see."""
    wanted = AppEnvFilter(team, application_id, environment, state)
    found = services.queries.application_environments(caller.visible_teams, page.slice, wanted)
    return page_of(found, page, lambda each: each.id)


@router.get(
    "/v1/application-environments/{application_environment_id}",
    response_model=wire.ApplicationEnvironment,
)
def get_application_environment(
    services: Use, _caller: Viewer, application_environment_id: str, seen: IfNoneMatch
) -> Response:
    """Shows one application environment with its repository and secrets, as references."""
    shown = found(
        services.queries.application_environment(application_environment_id),
        "application environment",
        application_environment_id,
    )
    return seen.answer(shown)


_NOTES = {
    "freeze": "It is not provisioned meanwhile; its secrets are rotated all the same.",
    "unfreeze": "",
}

_REFUSALS = {"unfreeze": ("ending_unfinished",)}


def _add_move(action: str) -> None:
    @router.post(
        f"/v1/application-environments/{{application_environment_id}}/{action}",
        response_model=wire.ApplicationEnvironment,
        name=f"post_application_environment_{action}",
        openapi_extra=refuses("move_refused", *_REFUSALS.get(action, ())),
        **texts(APPLICATION_ENVIRONMENT_MOVES, action, _NOTES[action]),
    )
    def post_move(
        request: Request,
        caller: Maintainer,
        key: Key,
        application_environment_id: str,
        expected: IfMatch,
    ) -> Response:
        id_ = application_environment_id
        act = answered(
            200, lambda work: move_application_environment(work, caller.principal, id_, action)
        )
        checked = expected.before(act, lambda work: _held(work, id_))
        return run_command(request, caller, key, None, checked)


for _action in APPENV_EVENTS:
    _add_move(_action)


@router.post(
    "/v1/application-environments/{application_environment_id}/secrets",
    status_code=202,
    response_model=wire.RequestAccepted,
    openapi_extra=refuses(*PROVISIONS, "application_environment_not_ready"),
)
def post_application_environment_secrets(
    request: Request,
    caller: Maintainer,
    key: Key,
    application_environment_id: str,
    body: wire.AddSecrets,
) -> Response:
    """Starts ApplicationEnvironmentProvisioning of these secrets alone. The environment must be
    Active and stays so, whatever becomes of the request; no other secret of it begins to rotate
    meanwhile. A secret whose request came to nothing is Declared, and is named again. `Location`
    leads to the request.
    """
    initiator = Initiator(caller.principal, body.reason, current_traceparent())

    def act(work: Work) -> Answer:
        return accepted(add_secrets(work, initiator, application_environment_id, body))

    return run_command(request, caller, key, body, act)


@router.post(
    "/v1/application-environments/{application_environment_id}/decommission",
    status_code=202,
    response_model=wire.RequestAccepted,
    openapi_extra=refuses(*REVOKES),
)
def post_application_environment_decommission(
    request: Request,
    caller: Maintainer,
    key: Key,
    application_environment_id: str,
    body: wire.Decommission | None = None,
) -> Response:
    """Starts ApplicationEnvironmentDecommissioning, which nothing takes back: the environment's
    secrets are revoked, with their logins and values, as a revocation does it; and its repository
    is archived with all that people put there; the GitOps agent applies it no more. It must be
    Frozen and becomes Retired. `Location` leads to the request.
    """
    wanted = body or wire.Decommission()
    initiator = Initiator(caller.principal, wanted.reason, current_traceparent())

    def act(work: Work) -> Answer:
        return accepted(decommission_environment(work, initiator, application_environment_id))

    return run_command(request, caller, key, wanted, act)


def _held(work: Work, id_: str) -> wire.ApplicationEnvironment:
    return work.views.application_environment(lock_application_environment(work, id_).id)
