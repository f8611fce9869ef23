"""The application: every router, one description of errors, no route without a guard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from control_plane.api import (
    applications,
    assets,
    engine,
    environments,
    events,
    requests,
    rotations,
    secrets,
    teams,
    tokens,
)
from control_plane.api.commands import IDEMPOTENCY_KEY_HEADER
from control_plane.api.guards import check_every_route_is_guarded
from control_plane.api.services import Services
from idp_kernel.http.problems import PROBLEM_JSON
from idp_kernel.http.server import new_server
from idp_kernel.services import ServiceName

_ROUTERS = (
    teams,
    tokens,
    environments,
    applications,
    secrets,
    requests,
    events,
    engine,
    rotations,
    assets,
)
_PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "RFC 9457. `code` is stable; a refused move adds current, wanted, allowed.",
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "requestId"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "requestId": {"type": "string"},
        "retryAfter": {"type": "number"},
        "current": {"type": "string"},
        "wanted": {"type": "string"},
        "allowed": {"type": "array", "items": {"type": "string"}},
        "workflowRequestId": {"type": "string"},
        "activeRequestId": {"type": "string"},
    },
    "additionalProperties": True,
}
_PROBLEM = {
    "description": "A problem, told as `application/problem+json`.",
    "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def create_app(
    services: Services,
    *,
    env: str,
    registry: CollectorRegistry,
    is_ready: Callable[[], None],
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """The control plane's HTTP application. Raises `InvariantBroken` for an unguarded route."""
    app = new_server(
        service=ServiceName.CONTROL_PLANE_API,
        env=env,
        registry=registry,
        is_ready=is_ready,
        description="Commands and queries of the internal developer platform.",
        lifespan=lifespan,
    )
    app.state.services = services
    for module in _ROUTERS:
        app.include_router(module.router)
    check_every_route_is_guarded(app.routes)
    _describe_all_that_is_true(app)
    return app


def _describe_all_that_is_true(app: FastAPI) -> None:
    """Adds what FastAPI cannot see: problems on every route, the key that commands need."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(describe())
        return describe()

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    schemas["Problem"] = _PROBLEM_SCHEMA
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    for operations in document["paths"].values():
        for operation in operations.values():
            _complete_operation(operation)


def _complete_operation(operation: dict[str, Any]) -> None:
    operation["responses"].pop("422", None)
    operation["responses"]["default"] = _PROBLEM
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == IDEMPOTENCY_KEY_HEADER:
            parameter["required"] = True
            parameter["schema"] = {"type": "string", "minLength": 1, "maxLength": 200}
