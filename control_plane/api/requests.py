"""Routes of workflow requests."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from control_plane.api.commands import Key, run_command
from control_plane.api.conditions import IfNoneMatch
from control_plane.api.guards import AnyPerson, InTeam
from control_plane.api.narrowing import Created, OfAppEnv, OfApplication, OfTeam
from control_plane.api.openapi import refuses
from control_plane.api.paging import ById, page_of
from control_plane.api.problem_codes import ROTATES, UNDOES
from control_plane.api.services import Use
from control_plane.api.spans import name_request
from control_plane.application.access import Caller, found
from control_plane.application.ports import Answer
from control_plane.application.queries import RequestFilter
from control_plane.application.steer_requests import (
    cancel_request,
    retry_request,
    undo_request,
)
from control_plane.application.undo_previews import preview_undo
from control_plane.application.workflows.flow import Initiator
from control_plane.application.workflows.registry import COMPENSATION
from control_plane.domain import requests as domain
from idp_kernel.ids import Id
from idp_kernel.telemetry.traces import current_traceparent
from idp_kernel.wire import api as wire
from idp_kernel.wire.base import Line
from idp_kernel.wire.engine import TeamRole
from idp_kernel.workflows import RequestState, WaitingReason, WorkflowName

router = APIRouter(tags=["workflow requests"])

_REQUEST = ("request", "request_id")
Viewer = Annotated[Caller, Depends(InTeam(*_REQUEST, TeamRole.TEAM_VIEWER))]
Maintainer = Annotated[Caller, Depends(InTeam(*_REQUEST, TeamRole.TEAM_MAINTAINER))]


@router.get("/v1/workflow-requests")
def get_requests(
    services: Use,
    caller: AnyPerson,
    page: ById,
    created: Created,
    team: OfTeam = None,
    state: RequestState | None = None,
    workflow: WorkflowName | None = None,
    application_id: OfApplication = None,
    application_environment_id: OfAppEnv = None,
    secret_id: Annotated[Id | None, Query(alias="secretId")] = None,
    requested_by: Annotated[Line | None, Query(alias="requestedBy", max_length=100)] = None,
    waiting_reason: Annotated[WaitingReason | None, Query(alias="waitingReason")] = None,
) -> wire.Page[wire.WorkflowRequest]:
    """Lists requests of the teams one may see, newest first, without their steps."""
    wanted = RequestFilter(
        team=team,
        state=state,
        workflow=workflow,
        requested_by=requested_by,
        waiting_reason=waiting_reason,
        created=created,
        application_id=application_id,
        application_environment_id=application_environment_id,
        secret_id=secret_id,
    )
    requests = services.queries.requests(caller.visible_teams, page.slice, wanted)
    return page_of(requests, page, lambda request: request.id)


@router.get("/v1/workflow-requests/{request_id}", response_model=wire.WorkflowRequest)
def get_request(services: Use, _caller: Viewer, request_id: str, seen: IfNoneMatch) -> Response:
    """Shows one request with its attempts and the steps of all of them."""
    return seen.answer(found(services.queries.request(request_id), "request", request_id))


@router.post(
    "/v1/workflow-requests/{request_id}/cancel",
    status_code=202,
    response_model=wire.RequestAccepted,
    openapi_extra=refuses("move_refused"),
)
def post_cancel(
    request: Request,
    caller: Maintainer,
    key: Key,
    request_id: str,
    body: wire.CancelRequest | None = None,
) -> Response:
    """Cancels a request: at once what no run holds; otherwise the run is told and ends it soon."""
    wanted = body or wire.CancelRequest()
    return run_command(
        request,
        caller,
        key,
        wanted,
        lambda work: accepted(
            cancel_request(work, caller.principal, request_id, wanted.reason), offers_undo=True
        ),
    )


@router.post(
    "/v1/workflow-requests/{request_id}/retry",
    status_code=202,
    response_model=wire.RequestAccepted,
    openapi_extra=refuses(
        *ROTATES, *UNDOES, "request_superseded", "request_never_begun", "environment_not_active"
    ),
)
def post_retry(
    request: Request,
    caller: Maintainer,
    key: Key,
    request_id: str,
    body: wire.RetryRequest | None = None,
) -> Response:
    """Asks for the next attempt of a request that failed, timed out or was cancelled."""
    wanted = body or wire.RetryRequest()
    return run_command(
        request,
        caller,
        key,
        wanted,
        lambda work: accepted(retry_request(work, caller.principal, request_id, wanted.reason)),
    )


@router.get("/v1/workflow-requests/{request_id}/undo", response_model=wire.UndoPreview)
def get_undo(services: Use, _caller: Viewer, request_id: str, seen: IfNoneMatch) -> Response:
    """Shows what an undo of the request would remove, what it would keep and why, and what nothing
    can take back. Changes nothing.
    """
    with services.begin() as work:
        return seen.answer(preview_undo(work, request_id))


@router.post(
    "/v1/workflow-requests/{request_id}/undo",
    status_code=202,
    response_model=wire.RequestAccepted,
    openapi_extra=refuses(
        *UNDOES, "move_refused", "workflow_active", "rotation_in_grace", "team_not_active"
    ),
)
def post_undo(
    request: Request,
    caller: Maintainer,
    key: Key,
    request_id: str,
    body: wire.UndoRequest | None = None,
) -> Response:
    """Takes back, newest first, what an ended request made and nobody took over since: another
    request, of the workflow `Compensation`.
    """
    wanted = body or wire.UndoRequest()
    return run_command(
        request,
        caller,
        key,
        wanted,
        lambda work: accepted(
            undo_request(
                work,
                Initiator(caller.principal, wanted.reason, current_traceparent()),
                request_id,
            )
        ),
    )


def accepted(
    request: domain.Request, *, offers_undo: bool = False, needs_approval: bool = False
) -> Answer:
    """`202` with the way to the request, and to its undo."""
    name_request(request)
    path = f"/v1/workflow-requests/{request.id}"
    is_undoable = offers_undo and COMPENSATION.can_undo(request.workflow)
    body = wire.RequestAccepted(
        request_id=request.id,
        workflow=request.workflow,
        state=request.state,
        application_id=request.application_id,
        application_environment_id=request.application_environment_id,
        secret_id=request.secret_id,
        undo=f"{path}/undo" if is_undoable else None,
        needs_approval=needs_approval,
    )
    return Answer(202, body.model_dump_json(), path)
