"""Routes of the platform's environments."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from control_plane.api.commands import Key, answered, run_command
from control_plane.api.guards import Admin, AnyPerson, environment_slug
from control_plane.api.paging import ById, page_of
from control_plane.api.services import Use
from control_plane.application.access import no_such
from control_plane.application.manage_environments import (
    ENVIRONMENT_EVENTS,
    create_environment,
    move_environment,
)
from control_plane.domain.environments import Environment
from idp_kernel.wire import api as wire

router = APIRouter(tags=["environments"])


@router.post("/v1/environments", status_code=201, response_model=wire.Environment)
def post_environment(
    request: Request, caller: Admin, key: Key, body: wire.CreateEnvironment
) -> Response:
    """Creates a planned environment."""
    act = answered(
        201,
        lambda work: view(create_environment(work, caller.principal, body)),
        f"/v1/environments/{body.slug}",
    )
    return run_command(request, caller, key, body, act)


@router.get("/v1/environments")
def get_environments(services: Use, _caller: AnyPerson, page: ById) -> wire.Page[wire.Environment]:
    """All environments."""
    environments = services.queries.environments(page.slice)
    return page_of(environments, page, lambda environment: environment.id)


@router.get("/v1/environments/{environment}")
def get_environment(services: Use, _caller: AnyPerson, environment: str) -> wire.Environment:
    """One environment."""
    shown = services.queries.environment(environment_slug(environment))
    if shown is None:
        raise no_such("environment", environment)
    return shown


def _add_move(action: str) -> None:
    @router.post(
        f"/v1/environments/{{environment}}/{action}",
        response_model=wire.Environment,
        name=f"post_environment_{action}",
    )
    def post_move(request: Request, caller: Admin, key: Key, environment: str) -> Response:
        slug = environment_slug(environment)
        act = answered(
            200, lambda work: view(move_environment(work, caller.principal, slug, action))
        )
        return run_command(request, caller, key, None, act)


for _action in ENVIRONMENT_EVENTS:
    _add_move(_action)


def view(environment: Environment) -> wire.Environment:
    return wire.Environment(
        id=environment.id,
        slug=environment.slug,
        description=environment.description,
        state=environment.state,
        created_at=environment.created_at,
    )
