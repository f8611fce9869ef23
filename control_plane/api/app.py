"""The application: every router, one description of errors, no route without a guard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from control_plane.api import (
    application_environments,
    applications,
    assets,
    engine,
    environments,
    events,
    requests,
    rotations,
    secrets,
    streams,
    teams,
    tokens,
)
from control_plane.api.guards import check_every_route_is_guarded
from control_plane.api.openapi import describe, operation_id
from control_plane.api.rate_limits import TellsRates
from control_plane.api.services import Services
from idp_kernel.http.server import DEFAULT_BODY_SECONDS, new_server
from idp_kernel.services import ServiceName

_ROUTERS = (
    teams,
    tokens,
    environments,
    applications,
    application_environments,
    secrets,
    requests,
    events,
    streams,
    engine,
    rotations,
    assets,
)


def create_app(
    services: Services | None,
    *,
    env: str,
    registry: CollectorRegistry,
    is_ready: Callable[[], None],
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    body_seconds: float = DEFAULT_BODY_SECONDS,
) -> FastAPI:
    """The control plane's HTTP application; without services it only describes itself.

    Raises `InvariantBroken` for an unguarded route.
    """
    app = new_server(
        service=ServiceName.CONTROL_PLANE_API,
        env=env,
        registry=registry,
        is_ready=is_ready,
        description="Commands and queries of the internal developer platform.",
        lifespan=lifespan,
        body_seconds=body_seconds,
    )
    app.add_middleware(TellsRates)
    app.state.services = services
    for module in _ROUTERS:
        app.include_router(module.router, generate_unique_id_function=operation_id)
    check_every_route_is_guarded(app.routes)
    describe(app)
    return app
