"""Who may pass: every route has exactly one guard, and an application without one does not start.

People come with the bearer token they were given, services and runs with a token the control
plane signed for them. A guard answers who passed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.routing import BaseRoute

from control_plane.api.rate_limits import check_rate
from control_plane.api.services import Services, Use
from control_plane.application.access import Caller, authenticate, no_such
from idp_kernel.errors import InvariantBroken, NotAllowed, Unauthenticated
from idp_kernel.http.server import OPEN_PATHS
from idp_kernel.ids import ID_PATTERN, SLUG_MAX_LENGTH, SLUG_PATTERN
from idp_kernel.services import Scope
from idp_kernel.tokens import AUDIENCE_CONTROL_PLANE, RunClaims, ServiceClaims, verify
from idp_kernel.wire.engine import TeamRole

_bearer = HTTPBearer(
    auto_error=False,
    description="People: `idp_pat_…`. Services and runs: a token the control plane signed.",
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]

_LONGEST_TOKEN = 4096


class Guard:
    """Stands before a route."""


class Open(Guard):
    """Lets everybody in: for what proves itself in its body, and for public keys."""

    async def __call__(self) -> None: ...


class Person(Guard):
    """Anybody with a valid bearer token of their own, within its rate."""

    def __call__(self, request: Request, services: Use, credentials: Credentials) -> Caller:
        token_hash = services.hash_token(_token(credentials))
        with services.begin() as work:
            caller = authenticate(work, token_hash)
        check_rate(request.scope, services.rates.take(caller.token_id))
        return caller


ANY_PERSON = Person()


class PlatformAdmin(Guard):
    """Platform-admins."""

    async def __call__(self, caller: Annotated[Caller, Depends(ANY_PERSON)]) -> Caller:
        caller.check_platform_admin()
        return caller


Thing = Literal[
    "team",
    "application",
    "application_environment",
    "repository",
    "gitops_integration",
    "secret",
    "secret_binding",
    "request",
]
_TEAM_OF: dict[Thing, Callable[[Services, str], str | None]] = {
    "team": lambda services, slug: getattr(services.queries.team(slug), "id", None),
    "application": lambda services, id_: services.queries.application_team(id_),
    "application_environment": (
        lambda services, id_: services.queries.application_environment_team(id_)
    ),
    "repository": lambda services, id_: services.queries.repository_team(id_),
    "gitops_integration": lambda services, id_: services.queries.integration_team(id_),
    "secret": lambda services, id_: services.queries.secret_team(id_),
    "secret_binding": lambda services, id_: services.queries.secret_binding_team(id_),
    "request": lambda services, id_: services.queries.request_team(id_),
}
"""Whose it is: the id of the team that owns a thing."""


@dataclass(frozen=True)
class InTeam(Guard):
    """People with a role in the team that owns what the path names.

    `role=None` asks for a platform-admin. A foreign team's thing is told like none at all.
    """

    thing: Thing
    parameter: str
    role: TeamRole | None

    def __call__(
        self, request: Request, services: Use, caller: Annotated[Caller, Depends(ANY_PERSON)]
    ) -> Caller:
        named = str(request.path_params[self.parameter])
        not_seen = no_such(self.thing.replace("_", " "), named)
        valid = is_slug(named) if self.thing == "team" else is_id(named)
        team_id = _TEAM_OF[self.thing](services, named) if valid else None
        if team_id is None:
            raise not_seen
        caller.check_role(self.role or TeamRole.TEAM_VIEWER, team_id, not_seen=not_seen)
        if self.role is None:
            caller.check_platform_admin()
        return caller


@dataclass(frozen=True)
class Service(Guard):
    """A service whose token has the scope."""

    scope: Scope

    async def __call__(self, services: Use, credentials: Credentials) -> ServiceClaims:
        claims = verify(
            _token(credentials),
            services.own_keys,
            ServiceClaims,
            audience=AUDIENCE_CONTROL_PLANE,
            clock=services.clock,
        )
        if self.scope not in claims.scopes:
            raise NotAllowed(
                f"{claims.sub} lacks the scope {self.scope}.", details={"needed": self.scope}
            )
        return claims


class Run(Guard):
    """The run that its claim gave a token for the very request in the path."""

    async def __call__(
        self, request: Request, services: Use, credentials: Credentials
    ) -> RunClaims:
        claims = verify(
            _token(credentials),
            services.own_keys,
            RunClaims,
            audience=AUDIENCE_CONTROL_PLANE,
            clock=services.clock,
        )
        if claims.request_id != request.path_params["request_id"]:
            raise NotAllowed("The run token is for another request.")
        return claims


def guards_of(route: APIRoute) -> list[Guard]:
    """The guards that stand before a route."""
    calls: list[object] = [each.call for each in route.dependant.dependencies]
    return [call for call in calls if isinstance(call, Guard)]


def guarded_routes(routes: Iterable[BaseRoute]) -> list[APIRoute]:
    """Every route that must have a guard: all but health, metrics and the API's description."""
    found = (context.original_route for context in iter_route_contexts(list(routes)))
    return [each for each in found if isinstance(each, APIRoute) and each.path not in OPEN_PATHS]


def check_every_route_is_guarded(routes: Iterable[BaseRoute]) -> None:
    """Raises `InvariantBroken` for a route without its one guard."""
    for route in guarded_routes(routes):
        if len(guards_of(route)) != 1:
            raise InvariantBroken(f"{route.methods} {route.path} needs exactly one guard")


def is_id(text: str) -> bool:
    return re.fullmatch(ID_PATTERN, text) is not None


def is_slug(text: str) -> bool:
    return len(text) <= SLUG_MAX_LENGTH and re.fullmatch(SLUG_PATTERN, text) is not None


def environment_slug(named: str) -> str:
    """The slug in a path; what cannot be one names nothing."""
    if not is_slug(named):
        raise no_such("environment", named)
    return named


def id_in_path(kind: str, named: str) -> str:
    """The id in a path; what cannot be one names nothing."""
    if not is_id(named):
        raise no_such(kind, named)
    return named


def run_id_in_path(named: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9-]{1,64}", named) is None:
        raise no_such("run with a claim", named)
    return named


def _token(credentials: HTTPAuthorizationCredentials | None) -> str:
    if credentials is None or not credentials.credentials:
        raise Unauthenticated("This needs a bearer token.", code="token_missing")
    if len(credentials.credentials) > _LONGEST_TOKEN:
        raise Unauthenticated("The bearer token is not known here.", code="token_invalid")
    return credentials.credentials


AnyPerson = Annotated[Caller, Depends(ANY_PERSON)]
Admin = Annotated[Caller, Depends(PlatformAdmin())]
