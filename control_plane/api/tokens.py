"""Routes of people's bearer tokens."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request, Response

from control_plane.api.commands import Key, response_of, run_command
from control_plane.api.conditions import IfNoneMatch
from control_plane.api.guards import Admin, AnyPerson, id_in_path
from control_plane.api.narrowing import Created, OfPrincipal
from control_plane.api.openapi import refuses
from control_plane.api.paging import ById, ByPrincipal, page_of
from control_plane.api.services import Use
from control_plane.application.access import no_such
from control_plane.application.manage_tokens import (
    create_token,
    remove_platform_admin,
    revoke_token,
)
from control_plane.application.ports import Answer, Work
from control_plane.application.queries import TokenFilter
from idp_kernel.wire import api as wire

router = APIRouter(tags=["tokens"])


@router.post(
    "/v1/tokens",
    status_code=201,
    response_model=wire.CreatedToken,
    openapi_extra=refuses("token_already_shown"),
)
def post_token(
    request: Request, services: Use, caller: Admin, key: Key, body: wire.CreateToken
) -> Response:
    """Makes a token and shows it this once; a repeat of the command is refused."""
    token = services.new_token()
    created: list[wire.Token] = []

    def act(work: Work) -> Answer:
        made = create_token(work, caller.principal, body, services.hash_token(token))
        created.append(made)
        return Answer(201, None, f"/v1/tokens/{made.id}")

    run_command(request, caller, key, body, act)
    shown = wire.CreatedToken(**dict(created[0]), token=token)
    return response_of(Answer(201, shown.model_dump_json(), f"/v1/tokens/{shown.id}"))


@router.get("/v1/tokens")
def get_tokens(
    services: Use,
    caller: AnyPerson,
    page: ById,
    created: Created,
    principal: OfPrincipal = None,
) -> wire.Page[wire.Token]:
    """Lists the caller's tokens, without themselves; everybody's for platform-admins."""
    if not caller.platform_admin and principal not in (None, caller.principal):
        return page_of((), page, lambda token: token.id)
    owner = principal if caller.platform_admin else caller.principal
    tokens = services.queries.tokens(page.slice, TokenFilter(owner, created))
    return page_of(tokens, page, lambda token: token.id)


@router.get("/v1/tokens/{token_id}", response_model=wire.Token, openapi_extra=refuses("not_found"))
def get_token(services: Use, caller: AnyPerson, token_id: str, seen: IfNoneMatch) -> Response:
    """Shows a token of one's own, or anybody's to platform-admins, without itself."""
    shown = services.queries.token(id_in_path("token", token_id))
    if shown is None or not (caller.platform_admin or shown.principal == caller.principal):
        raise no_such("token", token_id)
    return seen.answer(shown)


@router.delete("/v1/tokens/{token_id}", status_code=204, openapi_extra=refuses("not_found"))
def delete_token(services: Use, caller: AnyPerson, token_id: str) -> None:
    """Revokes a token of one's own, or anybody's for platform-admins; repeatable."""
    named = id_in_path("token", token_id)
    with services.begin() as work:
        revoke_token(work, caller, named)


@router.get("/v1/platform-admins")
def get_platform_admins(
    services: Use, _caller: Admin, page: ByPrincipal
) -> wire.Page[wire.PlatformAdmin]:
    """Lists who is a platform-admin, by name, and until when each has a token that is good.

    `POST /v1/tokens` makes one.
    """
    admins = services.queries.platform_admins(page.slice)
    return page_of(admins, page, lambda admin: admin.principal)


@router.delete(
    "/v1/platform-admins/{principal}",
    status_code=204,
    openapi_extra=refuses("last_platform_admin", "not_found"),
)
def delete_platform_admin(services: Use, caller: Admin, principal: str) -> None:
    """Makes the principal a platform-admin no more, with all its tokens; repeatable.

    They open what its roles in teams do. Refused when nobody else is one with a token that is good.
    """
    if re.fullmatch(wire.PRINCIPAL_PATTERN, principal) is None:
        raise no_such("platform-admin", principal)
    with services.begin() as work:
        remove_platform_admin(work, caller.principal, principal)


@router.get("/v1/whoami")
def get_whoami(services: Use, caller: AnyPerson) -> wire.WhoAmI:
    """Tells who the bearer token belongs to."""
    return wire.WhoAmI(
        principal=caller.principal,
        platform_admin=caller.platform_admin,
        teams=services.queries.roles_by_team_slug(caller.principal),
        token_expires_at=caller.token_expires_at,
    )
