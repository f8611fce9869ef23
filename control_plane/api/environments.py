"""Routes of the platform's environments."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from control_plane.api.commands import Key, answered, run_change, run_command
from control_plane.api.conditions import IfMatch, IfNoneMatch
from control_plane.api.guards import Admin, AnyPerson, environment_slug
from control_plane.api.narrowing import NamePrefix
from control_plane.api.openapi import refuses, texts
from control_plane.api.paging import ById, page_of
from control_plane.api.services import Use
from control_plane.application.access import found
from control_plane.application.manage_environments import (
    ENVIRONMENT_EVENTS,
    create_environment,
    describe_environment,
    environment_view,
    lock_environment,
    move_environment,
)
from control_plane.application.ports import Work
from control_plane.application.queries import EnvironmentFilter
from control_plane.domain.environments import ENVIRONMENT_MOVES, EnvironmentState
from idp_kernel.wire import api as wire

router = APIRouter(tags=["environments"])


@router.post(
    "/v1/environments",
    status_code=201,
    response_model=wire.Environment,
    openapi_extra=refuses("environment_exists"),
)
def post_environment(
    request: Request, caller: Admin, key: Key, body: wire.CreateEnvironment
) -> Response:
    """Creates a planned environment."""
    act = answered(
        201,
        lambda work: environment_view(create_environment(work, caller.principal, body)),
        f"/v1/environments/{body.slug}",
    )
    return run_command(request, caller, key, body, act)


@router.get("/v1/environments")
def get_environments(
    services: Use,
    _caller: AnyPerson,
    page: ById,
    state: EnvironmentState | None = None,
    name_prefix: NamePrefix = None,
) -> wire.Page[wire.Environment]:
    """Lists the platform's environments."""
    wanted = EnvironmentFilter(state, name_prefix)
    environments = services.queries.environments(page.slice, wanted)
    return page_of(environments, page, lambda environment: environment.id)


@router.get(
    "/v1/environments/{environment}",
    response_model=wire.Environment,
    openapi_extra=refuses("not_found"),
)
def get_environment(
    services: Use, _caller: AnyPerson, environment: str, seen: IfNoneMatch
) -> Response:
    """Shows one environment."""
    shown = found(
        services.queries.environment(environment_slug(environment)), "environment", environment
    )
    return seen.answer(shown)


@router.put(
    "/v1/environments/{environment}",
    response_model=wire.Environment,
    openapi_extra=refuses("not_found"),
)
def put_environment(
    request: Request,
    caller: Admin,
    environment: str,
    body: wire.DescribeEnvironment,
    expected: IfMatch,
) -> Response:
    """Describes an environment anew. Takes a platform-admin; repeatable."""
    slug = environment_slug(environment)
    act = answered(
        200, lambda work: environment_view(describe_environment(work, caller.principal, slug, body))
    )
    return run_change(request, expected.before(act, lambda work: _held(work, slug)))


def _add_move(action: str) -> None:
    @router.post(
        f"/v1/environments/{{environment}}/{action}",
        response_model=wire.Environment,
        name=f"post_environment_{action}",
        openapi_extra=refuses("not_found", "move_refused"),
        **texts(ENVIRONMENT_MOVES, action, "Takes a platform-admin."),
    )
    def post_move(
        request: Request, caller: Admin, key: Key, environment: str, expected: IfMatch
    ) -> Response:
        slug = environment_slug(environment)
        act = answered(
            200,
            lambda work: environment_view(move_environment(work, caller.principal, slug, action)),
        )
        checked = expected.before(act, lambda work: _held(work, slug))
        return run_command(request, caller, key, None, checked)


for _action in ENVIRONMENT_EVENTS:
    _add_move(_action)


def _held(work: Work, slug: str) -> wire.Environment:
    return environment_view(lock_environment(work, slug))
