"""Routes of secrets and their bindings, as references; a value never passes here."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AwareDatetime

from control_plane.api.commands import Key, answered, response_of, run_command
from control_plane.api.guards import AnyPerson, InTeam
from control_plane.api.paging import ById, page_of
from control_plane.api.requests import accepted
from control_plane.api.services import Services, Use
from control_plane.application.access import Caller, no_such
from control_plane.application.manage_secrets import (
    SECRET_EVENTS,
    admit_to_store,
    move_secret,
    report_compromised,
    set_rotation_policy,
)
from control_plane.application.ports import Answer, Work
from control_plane.application.queries import SecretFilter
from control_plane.application.rotate_secret import rotate_secret
from control_plane.application.workflows.flow import Initiator
from control_plane.domain.managed_secrets import SecretState
from idp_kernel.ids import Id, Slug
from idp_kernel.telemetry.traces import current_traceparent
from idp_kernel.tokens import StoreAccess, issue_store_login, store_role
from idp_kernel.wire import api as wire
from idp_kernel.wire.engine import TeamRole

router = APIRouter(tags=["secrets"])

LOGIN_LIFETIME = timedelta(minutes=5)

_SECRET = ("secret", "secret_id")
_BINDING = ("secret_binding", "binding_id")
Viewer = Annotated[Caller, Depends(InTeam(*_SECRET, TeamRole.TEAM_VIEWER))]
Maintainer = Annotated[Caller, Depends(InTeam(*_SECRET, TeamRole.TEAM_MAINTAINER))]
ViewerOfBinding = Annotated[Caller, Depends(InTeam(*_BINDING, TeamRole.TEAM_VIEWER))]


@router.get("/v1/secrets")
def get_secrets(
    services: Use,
    caller: AnyPerson,
    page: ById,
    team: Slug | None = None,
    application_environment_id: Annotated[
        Id | None, Query(alias="applicationEnvironmentId")
    ] = None,
    state: SecretState | None = None,
    due_before: Annotated[AwareDatetime | None, Query(alias="dueBefore")] = None,
) -> wire.Page[wire.Secret]:
    """Secrets of the teams one may see; `dueBefore` asks for those the schedule rotates by then."""
    wanted = SecretFilter(team, application_environment_id, state, due_before)
    secrets = services.queries.secrets(caller.visible_teams, page.slice, wanted)
    return page_of(secrets, page, lambda secret: secret.id)


@router.get("/v1/secrets/{secret_id}")
def get_secret(services: Use, _caller: Viewer, secret_id: str) -> wire.Secret:
    """One secret with its bindings and its rotation."""
    shown = services.queries.secret(secret_id)
    if shown is None:
        raise no_such("secret", secret_id)
    return shown


@router.get("/v1/secrets/{secret_id}/bindings")
def get_secret_bindings(
    services: Use, _caller: Viewer, secret_id: str, page: ById
) -> wire.Page[wire.SecretBinding]:
    """Where the secret is bound."""
    bindings = services.queries.secret_bindings(secret_id, page.slice)
    return page_of(bindings, page, lambda binding: binding.id)


@router.get("/v1/secret-bindings/{binding_id}")
def get_secret_binding(
    services: Use, _caller: ViewerOfBinding, binding_id: str
) -> wire.SecretBinding:
    """One binding."""
    shown = services.queries.secret_binding(binding_id)
    if shown is None:
        raise no_such("secret binding", binding_id)
    return shown


@router.put("/v1/secrets/{secret_id}/rotation-policy")
def put_rotation_policy(
    services: Use, caller: Maintainer, secret_id: str, body: wire.SetRotationPolicy
) -> wire.Secret:
    """Sets all of the secret's own policy; repeatable."""
    with services.begin() as work:
        return set_rotation_policy(work, caller.principal, secret_id, body)


@router.post(
    "/v1/secrets/{secret_id}/rotation", status_code=202, response_model=wire.RequestAccepted
)
def post_rotation(
    request: Request,
    caller: Maintainer,
    key: Key,
    secret_id: str,
    body: wire.RotateSecret | None = None,
) -> Response:
    """Starts SecretRotation; `Location` leads to the request."""
    wanted = body or wire.RotateSecret()
    initiator = Initiator(caller.principal, wanted.reason, current_traceparent())

    def act(work: Work) -> Answer:
        return accepted(rotate_secret(work, initiator, secret_id, wanted))

    return run_command(request, caller, key, wanted, act)


@router.post("/v1/secrets/{secret_id}/compromised", response_model=wire.Secret)
def post_compromised(
    request: Request, caller: Maintainer, key: Key, secret_id: str, body: wire.ReportCompromised
) -> Response:
    """Says that the secret is known to others; an emergency rotation follows soon."""
    act = answered(200, lambda work: report_compromised(work, caller.principal, secret_id, body))
    return run_command(request, caller, key, body, act)


def _add_move(action: str) -> None:
    @router.post(
        f"/v1/secrets/{{secret_id}}/{action}",
        response_model=wire.Secret,
        name=f"post_secret_{action}",
    )
    def post_move(request: Request, caller: Maintainer, key: Key, secret_id: str) -> Response:
        act = answered(200, lambda work: move_secret(work, caller.principal, secret_id, action))
        return run_command(request, caller, key, None, act)


for _action in SECRET_EVENTS:
    _add_move(_action)


@router.post(wire.SECRET_LOGIN, response_model=wire.SecretLogin)
def post_secret_login(
    request: Request, services: Use, caller: Viewer, key: Key, secret_id: str
) -> Response:
    """The way to the value, at the store: viewers read, maintainers write. Shown this once."""
    admitted: list[tuple[wire.Secret, StoreAccess]] = []

    def act(work: Work) -> Answer:
        admitted.append(admit_to_store(work, caller, secret_id))
        return Answer(200, None)

    run_command(request, caller, key, None, act)
    login = _login(services, caller, *admitted[0])
    return response_of(Answer(200, login.model_dump_json()))


def _login(
    services: Services, caller: Caller, secret: wire.Secret, access: StoreAccess
) -> wire.SecretLogin:
    now = services.clock.now().replace(microsecond=0)
    until, path, store = now + LOGIN_LIFETIME, secret.store_path or "", services.secret_store
    return wire.SecretLogin(
        store_url=store.url,
        mount=store.mount,
        path=path,
        role=store_role(secret.team, access),
        jwt=issue_store_login(
            services.signing_key,
            caller.principal,
            team=secret.team,
            access=access,
            now=now,
            until=until,
        ),
        expires_at=until,
        link=store.link(path),
    )
