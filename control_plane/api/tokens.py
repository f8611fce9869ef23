"""Routes of people's bearer tokens."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from control_plane.api.commands import Key, response_of, run_command
from control_plane.api.guards import Admin, AnyPerson, id_in_path
from control_plane.api.paging import ById, page_of
from control_plane.api.services import Use
from control_plane.application.manage_tokens import create_token, revoke_token
from control_plane.application.ports import Answer, Work
from idp_kernel.wire import api as wire

router = APIRouter(tags=["tokens"])


@router.post("/v1/tokens", status_code=201, response_model=wire.CreatedToken)
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
    return response_of(Answer(201, shown.model_dump_json()))


@router.get("/v1/tokens")
def get_tokens(services: Use, caller: AnyPerson, page: ById) -> wire.Page[wire.Token]:
    """The caller's tokens, without themselves; everybody's for platform-admins."""
    owner = None if caller.platform_admin else caller.principal
    tokens = services.queries.tokens(owner, page.slice)
    return page_of(tokens, page, lambda token: token.id)


@router.delete("/v1/tokens/{token_id}", status_code=204)
def delete_token(services: Use, caller: AnyPerson, token_id: str) -> None:
    """Revokes a token of one's own, or anybody's for platform-admins; repeatable."""
    named = id_in_path("token", token_id)
    with services.begin() as work:
        revoke_token(work, caller, named)


@router.get("/v1/whoami")
def get_whoami(services: Use, caller: AnyPerson) -> wire.WhoAmI:
    """Who the bearer token belongs to."""
    return wire.WhoAmI(
        principal=caller.principal,
        platform_admin=caller.platform_admin,
        teams=services.queries.roles_by_team_slug(caller.principal),
        token_expires_at=caller.token_expires_at,
    )
