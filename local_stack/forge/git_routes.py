"""Git's own routes: `/{owner}/{name}.git/…`, with a platform token as the password."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from idp_kernel.errors import InvalidInput, NotFound, PlatformError, Unauthenticated
from idp_kernel.http.problems import status_of
from idp_kernel.http.server import problem_response
from idp_kernel.ids import Slug
from idp_kernel.wire.forge import RepositoryName
from local_stack.forge.authentication import Authentication
from local_stack.forge.callers import Caller, require_push, require_sight
from local_stack.forge.repositories import Repositories
from local_stack.forge.smart_http import (
    FETCH_REQUEST_LIMIT_BYTES,
    PUSH_LIMIT_BYTES,
    Exchange,
    GitService,
    SmartHttp,
    collect,
    inflate,
)

StartExchange = Callable[[GitService], Exchange]
"""Authorizes the caller for a service and gives the exchange."""

_REPOSITORY = "/{owner}/{name}.git"
_NEVER_CACHED = {"Cache-Control": "no-cache, max-age=0, must-revalidate"}
_CLIENT_CLOSED = 499


class GitRoute(APIRoute):
    """Tells errors the way a git client shows them, and asks it for a password."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_git(request: Request) -> Response:
            try:
                return await handle(request)
            except PlatformError as error:
                return _refusal(request, error)
            except ClientDisconnect:
                return Response(status_code=_CLIENT_CLOSED)

        return handle_git


def git_routes(
    *, repositories: Repositories, authentication: Authentication, smart_http: SmartHttp
) -> APIRouter:
    """The three routes of smart HTTP."""
    router = APIRouter(route_class=GitRoute, include_in_schema=False)
    authorized = Depends(_exchanges(repositories, authentication))

    @router.get(f"{_REPOSITORY}/info/refs")
    async def advertise_refs(
        service: Annotated[GitService, Query()], exchange: StartExchange = authorized
    ) -> Response:
        advertisement = await smart_http.advertise(await run_in_threadpool(exchange, service))
        media_type = f"application/x-{service}-advertisement"
        return Response(advertisement, media_type=media_type, headers=_NEVER_CACHED)

    @router.post(
        f"{_REPOSITORY}/{GitService.UPLOAD_PACK}",
        max_body_size=FETCH_REQUEST_LIMIT_BYTES,
    )
    async def upload_pack(request: Request, exchange: StartExchange = authorized) -> Response:
        wanted = await run_in_threadpool(exchange, GitService.UPLOAD_PACK)
        body = _body(request, GitService.UPLOAD_PACK, FETCH_REQUEST_LIMIT_BYTES)
        asked = await collect(body, FETCH_REQUEST_LIMIT_BYTES)
        return StreamingResponse(
            smart_http.upload(wanted, asked),
            media_type=f"application/x-{GitService.UPLOAD_PACK}-result",
            headers=_NEVER_CACHED,
        )

    @router.post(f"{_REPOSITORY}/{GitService.RECEIVE_PACK}", max_body_size=PUSH_LIMIT_BYTES)
    async def receive_pack(request: Request, exchange: StartExchange = authorized) -> Response:
        wanted = await run_in_threadpool(exchange, GitService.RECEIVE_PACK)
        body = _body(request, GitService.RECEIVE_PACK, PUSH_LIMIT_BYTES)
        report = await smart_http.receive(wanted, body)
        media_type = f"application/x-{GitService.RECEIVE_PACK}-result"
        return Response(report, media_type=media_type, headers=_NEVER_CACHED)

    return router


def _exchanges(
    repositories: Repositories, authentication: Authentication
) -> Callable[..., StartExchange]:
    """Authenticates a call; what it gives authorizes the call before git is started for it."""

    def exchanges(
        owner: Slug,
        name: RepositoryName,
        authorization: Annotated[str | None, Header()] = None,
        git_protocol: Annotated[str | None, Header()] = None,
    ) -> StartExchange:
        caller = authentication.caller(authorization, basic=True)

        def exchange(service: GitService) -> Exchange:
            _require_service(caller, service, owner, name)
            repository = repositories.get(owner, name)
            return Exchange(service, repository.path, caller.name, git_protocol)

        return exchange

    return exchanges


def _require_service(caller: Caller, service: GitService, owner: str, name: str) -> None:
    if service is GitService.RECEIVE_PACK:
        require_push(caller, owner, name)
    else:
        require_sight(caller, owner, name)


def _body(request: Request, service: GitService, limit_bytes: int) -> AsyncIterator[bytes]:
    """The request's body, unpacked, after its type was found right."""
    if request.headers.get("content-type") != f"application/x-{service}-request":
        raise InvalidInput(
            f"The body must be of type application/x-{service}-request.",
            code="unsupported_media_type",
        )
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding in ("gzip", "x-gzip"):
        return inflate(request.stream(), limit_bytes)
    if encoding != "identity":
        raise InvalidInput(
            f"The encoding {encoding} is not known here.", code="unsupported_media_type"
        )
    return request.stream()


def _refusal(request: Request, error: PlatformError) -> Response:
    """A git client prints plain text behind `remote:` and nothing else; others get the problem."""
    response: Response = problem_response(request, error)
    if request.headers.get("user-agent", "").startswith("git/") and not isinstance(error, NotFound):
        headers = {
            name: value
            for name, value in response.headers.items()
            if name in ("www-authenticate", "retry-after")
        }
        response = PlainTextResponse(f"{error.message}\n", status_of(error), headers)
    if isinstance(error, Unauthenticated):
        response.headers["WWW-Authenticate"] = 'Basic realm="idp", charset="UTF-8"'
    return response
