"""Routes of secrets and their bindings, as references; a value never passes here."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from control_plane.api.commands import Key, answered, response_of, run_change, run_command
from control_plane.api.conditions import IfMatch, IfNoneMatch
from control_plane.api.guards import AnyPerson, InTeam
from control_plane.api.narrowing import NamePrefix, OfAppEnv, OfApplication, OfEnvironment, OfTeam
from control_plane.api.openapi import refuses, texts
from control_plane.api.paging import ById, page_of
from control_plane.api.problem_codes import REVOKES, ROTATES
from control_plane.api.requests import accepted
from control_plane.api.services import Services, Use
from control_plane.application.access import Caller, found
from control_plane.application.manage_secrets import (
    BINDING_EVENTS,
    SECRET_EVENTS,
    admit_to_store,
    lock_secret,
    lock_secret_of_binding,
    move_binding,
    move_secret,
    report_compromised,
    set_rotation_policy,
)
from control_plane.application.ports import Answer, Work
from control_plane.application.queries import SecretFilter
from control_plane.application.revoke_secret import revoke_secret
from control_plane.application.rotate_secret import rotate_secret
from control_plane.application.workflows.flow import Initiator
from control_plane.domain.managed_secrets import (
    SECRET_BINDING_MOVES,
    SECRET_MOVES,
    SecretState,
)
from idp_kernel.secret_store import SECRETS_MOUNT
from idp_kernel.telemetry.traces import current_traceparent
from idp_kernel.tokens import StoreAccess, issue_store_login, store_role
from idp_kernel.wire import api as wire
from idp_kernel.wire.base import Moment
from idp_kernel.wire.engine import TeamRole

router = APIRouter(tags=["secrets"])

LOGIN_LIFETIME = timedelta(minutes=5)

_SECRET = ("secret", "secret_id")
_BINDING = ("secret_binding", "binding_id")
Viewer = Annotated[Caller, Depends(InTeam(*_SECRET, TeamRole.TEAM_VIEWER))]
Maintainer = Annotated[Caller, Depends(InTeam(*_SECRET, TeamRole.TEAM_MAINTAINER))]
ViewerOfBinding = Annotated[Caller, Depends(InTeam(*_BINDING, TeamRole.TEAM_VIEWER))]
MaintainerOfBinding = Annotated[Caller, Depends(InTeam(*_BINDING, TeamRole.TEAM_MAINTAINER))]


@router.get("/v1/secrets")
def get_secrets(
    services: Use,
    caller: AnyPerson,
    page: ById,
    team: OfTeam = None,
    application_id: OfApplication = None,
    application_environment_id: OfAppEnv = None,
    environment: OfEnvironment = None,
    state: SecretState | None = None,
    name_prefix: NamePrefix = None,
    due_before: Annotated[Moment | None, Query(alias="dueBefore")] = None,
) -> wire.Page[wire.Secret]:
    """Lists secrets of the teams one may see. `dueBefore` asks for those the schedule rotates by
    then.
    """
    wanted = SecretFilter(
        team=team,
        application_id=application_id,
        application_environment_id=application_environment_id,
        environment=environment,
        state=state,
        name_prefix=name_prefix,
        due_before=due_before,
    )
    secrets = services.queries.secrets(caller.visible_teams, page.slice, wanted)
    return page_of(secrets, page, lambda secret: secret.id)


@router.get("/v1/secrets/{secret_id}", response_model=wire.Secret)
def get_secret(services: Use, _caller: Viewer, secret_id: str, seen: IfNoneMatch) -> Response:
    """Shows one secret with its bindings and its rotation."""
    return seen.answer(found(services.queries.secret(secret_id), "secret", secret_id))


@router.get("/v1/secrets/{secret_id}/bindings")
def get_secret_bindings(
    services: Use, _caller: Viewer, secret_id: str, page: ById
) -> wire.Page[wire.SecretBinding]:
    """Lists where the secret is bound."""
    bindings = services.queries.secret_bindings(secret_id, page.slice)
    return page_of(bindings, page, lambda binding: binding.id)


@router.get("/v1/secret-bindings/{binding_id}", response_model=wire.SecretBinding)
def get_secret_binding(
    services: Use, _caller: ViewerOfBinding, binding_id: str, seen: IfNoneMatch
) -> Response:
    """Shows one binding."""
    shown = found(services.queries.secret_binding(binding_id), "secret binding", binding_id)
    return seen.answer(shown)


def _add_binding_move(action: str) -> None:
    @router.post(
        f"/v1/secret-bindings/{{binding_id}}/{action}",
        response_model=wire.SecretBinding,
        name=f"post_secret_binding_{action}",
        openapi_extra=refuses("move_refused", "workflow_active", "secret_not_active"),
        **texts(
            SECRET_BINDING_MOVES,
            action,
            "What it brought to its environment stays there; while it is suspended, its secret is"
            " not rotated.",
        ),
    )
    def post_move(
        request: Request,
        caller: MaintainerOfBinding,
        key: Key,
        binding_id: str,
        expected: IfMatch,
    ) -> Response:
        act = answered(200, lambda work: move_binding(work, caller.principal, binding_id, action))
        checked = expected.before(act, lambda work: _held_binding(work, binding_id))
        return run_command(request, caller, key, None, checked)


for _action in BINDING_EVENTS:
    _add_binding_move(_action)


@router.put(
    "/v1/secrets/{secret_id}/rotation-policy",
    response_model=wire.Secret,
    openapi_extra=refuses("time_zone_unknown", "expiry_out_of_range"),
)
def put_rotation_policy(
    request: Request,
    caller: Maintainer,
    secret_id: str,
    body: wire.SetRotationPolicy,
    expected: IfMatch,
) -> Response:
    """Sets all of the secret's own rotation policy. Repeatable."""
    act = answered(200, lambda work: set_rotation_policy(work, caller.principal, secret_id, body))
    return run_change(request, expected.before(act, lambda work: _held(work, secret_id)))


@router.post(
    "/v1/secrets/{secret_id}/rotation",
    status_code=202,
    response_model=wire.RequestAccepted,
    openapi_extra=refuses(*ROTATES),
)
def post_rotation(
    request: Request,
    caller: Maintainer,
    key: Key,
    secret_id: str,
    body: wire.RotateSecret | None = None,
) -> Response:
    """Starts SecretRotation. `Location` leads to the request."""
    wanted = body or wire.RotateSecret()
    initiator = Initiator(caller.principal, wanted.reason, current_traceparent())

    def act(work: Work) -> Answer:
        return accepted(rotate_secret(work, initiator, secret_id, wanted))

    return run_command(request, caller, key, wanted, act)


@router.post(
    "/v1/secrets/{secret_id}/compromised",
    response_model=wire.Secret,
    openapi_extra=refuses("secret_without_value"),
)
def post_compromised(
    request: Request, caller: Maintainer, key: Key, secret_id: str, body: wire.ReportCompromised
) -> Response:
    """Says that the secret is known to others. An emergency rotation follows soon."""
    act = answered(200, lambda work: report_compromised(work, caller.principal, secret_id, body))
    return run_command(request, caller, key, body, act)


@router.post(
    "/v1/secrets/{secret_id}/revoke",
    status_code=202,
    response_model=wire.RequestAccepted,
    openapi_extra=refuses(*REVOKES),
)
def post_revocation(
    request: Request, caller: Maintainer, key: Key, secret_id: str, body: wire.RevokeSecret
) -> Response:
    """Starts SecretRevocation, which nothing takes back: the secret's bindings are removed, its
    logins and their sessions end, every version of its value ends. A revoked secret never comes
    back. How versions end is a setting of the workers, `OPENBAO_RETIRED_VERSIONS`. With `destroy`,
    the default, the store forgets each value, and nobody brings it back. With `delete` the store
    keeps each value and shows it to nobody, until somebody with its own right to undelete asks for
    it; no binding, login or command of the platform leads to it. `Location` leads to the request.
    """
    initiator = Initiator(caller.principal, body.reason, current_traceparent())

    def act(work: Work) -> Answer:
        return accepted(revoke_secret(work, initiator, secret_id))

    return run_command(request, caller, key, body, act)


_VALUE_STAYS = "Its binding follows. Its value stays as it is; while suspended it is not rotated."
_NOTES = {
    "suspend": _VALUE_STAYS,
    "resume": _VALUE_STAYS,
    "archive": "Nothing follows: it has no value any more, and is kept for the record.",
}

_REFUSALS = {"resume": ("ending_unfinished",)}


def _add_move(action: str) -> None:
    @router.post(
        f"/v1/secrets/{{secret_id}}/{action}",
        response_model=wire.Secret,
        name=f"post_secret_{action}",
        openapi_extra=refuses(
            "move_refused", "secret_not_active", "workflow_active", *_REFUSALS.get(action, ())
        ),
        **texts(SECRET_MOVES, action, _NOTES[action]),
    )
    def post_move(
        request: Request, caller: Maintainer, key: Key, secret_id: str, expected: IfMatch
    ) -> Response:
        act = answered(200, lambda work: move_secret(work, caller.principal, secret_id, action))
        checked = expected.before(act, lambda work: _held(work, secret_id))
        return run_command(request, caller, key, None, checked)


for _action in SECRET_EVENTS:
    _add_move(_action)


@router.post(
    wire.SECRET_LOGIN,
    response_model=wire.SecretLogin,
    openapi_extra=refuses(
        "secret_without_value", "workflow_active", "ending_unfinished", "token_already_shown"
    ),
)
def post_secret_login(
    request: Request, services: Use, caller: Viewer, key: Key, secret_id: str
) -> Response:
    """Opens the way to the value at the store. Viewers read, maintainers write; shown this once.
    The login opens all the secrets of the team, not only this one. None is given for a secret whose
    end, or whose environment's, was asked for; one for another secret of the team opens it still.
    """
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
        namespace=store.namespace,
        authorities=store.authorities,
        mount=SECRETS_MOUNT,
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


def _held(work: Work, secret_id: str) -> wire.Secret:
    return work.views.secret(lock_secret(work, secret_id).id)


def _held_binding(work: Work, binding_id: str) -> wire.SecretBinding:
    return work.views.secret_binding(lock_secret_of_binding(work, binding_id).binding.id)
