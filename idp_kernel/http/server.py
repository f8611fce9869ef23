"""What every HTTP server of the platform has: problems for every error, a body limit, health,
metrics by route template, a server span, a request id.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Annotated, Any

import structlog
from fastapi import FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute, iter_route_contexts
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from idp_kernel.errors import (
    InvalidInput,
    InvariantBroken,
    NotFound,
    PlatformError,
    Unauthenticated,
    Unavailable,
)
from idp_kernel.http.event_stream import EVENT_STREAM
from idp_kernel.http.problems import PROBLEM_JSON, problem_of, status_of
from idp_kernel.ids import new_id
from idp_kernel.services import OPENAPI_PATH, ServiceName
from idp_kernel.telemetry.metrics import UNKNOWN_ROUTE, HttpMetrics
from idp_kernel.telemetry.subjects import subject_of
from idp_kernel.telemetry.traces import span

DEFAULT_BODY_LIMIT_BYTES = 256 * 1024
DEFAULT_BODY_SECONDS = 30.0
OPEN_PATHS = ("/healthz", "/readyz", "/metrics")
"""Routes without authentication; they show nothing private."""

REQUEST_ID_HEADER = "X-Request-Id"
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_log = structlog.get_logger(__name__)


def new_server(
    *,
    service: ServiceName,
    env: str,
    registry: CollectorRegistry,
    is_ready: Callable[[], None],
    description: str,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    body_limit_bytes: int | None = DEFAULT_BODY_LIMIT_BYTES,
    body_seconds: float = DEFAULT_BODY_SECONDS,
) -> FastAPI:
    """An application that has all that this module promises, and no routes of its own yet.

    `is_ready` raises `Unavailable` while the service cannot do its work. `body_limit_bytes=None`
    leaves bodies unlimited in size and time, for a server that streams them; any other body must
    have arrived after `body_seconds`. FastAPI's own spans are off: the platform's carry the names
    of the telemetry contract. So are its documentation pages, which load scripts from elsewhere;
    the document itself is at `OPENAPI_PATH`.
    """
    app = FastAPI(
        title=service.value,
        description=description,
        version=version("idp-dagster"),
        lifespan=lifespan,
        openapi_url=OPENAPI_PATH,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    _add_error_handlers(app)
    _add_open_routes(app, registry, is_ready)
    if body_limit_bytes is not None:
        app.add_middleware(RequestBodyLimitMiddleware, max_body_size=body_limit_bytes)
        app.add_middleware(TooLargeAsProblem)
        app.add_middleware(BodyInTime, seconds=body_seconds)
    app.add_middleware(Observed, metrics=HttpMetrics(registry, service, env))
    return app


def problem_response(request: Request, error: PlatformError) -> JSONResponse:
    """An error as the caller sees it."""
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, Unavailable) and error.retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_seconds)))
    return JSONResponse(
        problem_of(error, request_id_of(request.scope)),
        status_code=status_of(error),
        media_type=PROBLEM_JSON,
        headers=headers,
    )


def request_id_of(scope: Scope) -> str:
    """The id of this HTTP request, as it stands in logs and problems."""
    return str(scope.get("state", {}).get("http_request_id", "unknown"))


def _add_open_routes(
    app: FastAPI, registry: CollectorRegistry, is_ready: Callable[[], None]
) -> None:
    @app.get("/healthz", include_in_schema=False)
    def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> dict[str, str]:
        is_ready()
        return {"status": "ready"}

    @app.get("/metrics", include_in_schema=False)
    def metrics(accept: Annotated[str, Header()] = "") -> Response:
        encode, media_type = choose_encoder(accept)
        return Response(encode(registry), media_type=media_type)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(PlatformError)
    async def platform_error(request: Request, error: PlatformError) -> JSONResponse:
        if isinstance(error, InvariantBroken):
            _log.error("invariant_broken", code=error.code, detail=error.message, exc_info=error)
        return problem_response(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem_response(request, _invalid_input(error))

    @app.exception_handler(HTTPException)
    async def http_exception(request: Request, error: HTTPException) -> JSONResponse:
        response = problem_response(request, _of_http_exception(error))
        if error.status_code == 405:
            response.headers["Allow"] = ", ".join(sorted(_allowed_methods(request)))
        return response


def _allowed_methods(request: Request) -> set[str]:
    """The methods of all routes at the address."""
    found = (context.original_route for context in iter_route_contexts(request.app.routes))
    return {
        method
        for route in found
        if isinstance(route, APIRoute) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }


def _invalid_input(error: RequestValidationError) -> InvalidInput:
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        return InvalidInput("The body is not valid JSON.", code="malformed_json")
    fields = [
        {"field": ".".join(str(part) for part in each["loc"]), "problem": each["msg"]}
        for each in found
    ]
    first = fields[0]
    return InvalidInput(f"{first['field']}: {first['problem']}", details={"errors": fields})


_TOO_LARGE = InvalidInput("The body is larger than allowed here.", code="body_too_large")
_BUG = InvariantBroken("Something unexpected went wrong here; the logs have it.")
_OF_STATUS: dict[int, PlatformError] = {
    400: InvalidInput("The body could not be read.", code="malformed_json"),
    404: NotFound("There is nothing at this address.", code="no_such_route"),
    405: InvalidInput("This address has no such method.", code="method_not_allowed"),
    408: Unavailable(
        "The body did not arrive in time; nothing was done. Send it again.", code="body_too_slow"
    ),
    413: _TOO_LARGE,
}
"""What the framework itself raises; our routes raise errors of the tree."""


def _of_http_exception(error: HTTPException) -> PlatformError:
    return _OF_STATUS.get(error.status_code) or InvalidInput(str(error.detail))


class TooLargeAsProblem:
    """Turns the plain text that Starlette's body limit answers into a problem."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        replaced = False

        async def translated_send(message: Message) -> None:
            nonlocal replaced
            if not replaced and _is_plain_413(message):
                replaced = True
                await problem_response(Request(scope), _TOO_LARGE)(scope, receive, send)
            elif not replaced:
                await send(message)

        await self._app(scope, receive, translated_send)


def _is_plain_413(message: Message) -> bool:
    return (
        message["type"] == "http.response.start"
        and message["status"] == 413
        and (b"content-type", PROBLEM_JSON.encode()) not in message["headers"]
    )


class BodyInTime:
    """Gives up on a body that has not arrived in whole after so many seconds."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        until, arrived = time.monotonic() + self._seconds, False

        async def receive_in_time() -> Message:
            nonlocal arrived
            if arrived:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), until - time.monotonic())
            except TimeoutError as error:
                raise HTTPException(408) from error
            arrived = not message.get("more_body", False)
            return message

        await self._app(scope, receive_in_time, send)


class Observed:
    """Measures, traces, names and logs each request; but for the open routes, where probes come
    all the time.
    """

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1"): value for key, value in scope["headers"]}
        request_id = _given_request_id(headers) or new_id()
        scope.setdefault("state", {})["http_request_id"] = request_id
        await self._observe(scope, receive, send, request_id, headers)

    async def _observe(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        request_id: str,
        headers: dict[str, bytes],
    ) -> None:
        status, answered, took_seconds = 500, False, None
        started = time.perf_counter()
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"

        async def observed_send(message: Message) -> None:
            nonlocal status, answered, took_seconds
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
                if _is_stream(message):
                    # How long somebody listens says nothing about us; how soon it begins does.
                    took_seconds = time.perf_counter() - started
                message.setdefault("headers", []).append(
                    (REQUEST_ID_HEADER.lower().encode(), request_id.encode())
                )
            await send(message)

        traceparent = headers.get("traceparent", b"").decode("latin-1") or None
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(http_request_id=request_id)
        is_probe = scope["path"] in OPEN_PATHS
        kind = SpanKind.INTERNAL if is_probe else SpanKind.SERVER
        with span(method, traceparent=traceparent, kind=kind) as current:
            try:
                await self._app(scope, receive, observed_send)
            except Exception:  # what nobody expected is still answered, and logged
                _log.exception("unexpected_error")
                if answered:
                    raise
                await problem_response(Request(scope), _BUG)(scope, receive, observed_send)
            finally:
                route = route_of(scope)
                current.update_name(f"{method} {route}")
                current.set_attributes({"http.route": route, "http.response.status_code": status})
                if status >= 500:
                    current.set_status(Status(StatusCode.ERROR))
                if took_seconds is None:
                    took_seconds = time.perf_counter() - started
                if not is_probe:
                    self._metrics.observe(method, route, status, took_seconds)
                    _log_answer(current, method, route, status, took_seconds)


def _log_answer(current: Span, method: str, route: str, status: int, seconds: float) -> None:
    """What is traced is logged, and what went wrong; the rest, such as polls, for who debugs."""
    tell = _log.info if current.is_recording() or status >= 400 else _log.debug
    tell(
        "request_answered",
        method=method,
        route=route,
        status=status,
        milliseconds=round(seconds * 1000, 1),
        **subject_of(current),
    )


def _is_stream(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(EVENT_STREAM.encode())
        for name, value in message.get("headers", [])
    )


def route_of(scope: Scope) -> str:
    """The template of the route that matched."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", UNKNOWN_ROUTE))


def _given_request_id(headers: dict[str, bytes]) -> str | None:
    given = headers.get(REQUEST_ID_HEADER.lower(), b"").decode("latin-1")
    return given if _REQUEST_ID.match(given) else None
