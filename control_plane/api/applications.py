"""Routes of applications with their repositories and integrations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from control_plane.api.commands import Key, answered, run_change, run_command
from control_plane.api.conditions import IfMatch, IfNoneMatch
from control_plane.api.guards import AnyPerson, InTeam
from control_plane.api.narrowing import Created, NamePrefix, OfTeam
from control_plane.api.openapi import refuses, texts
from control_plane.api.paging import ById, page_of
from control_plane.api.problem_codes import DECOMMISSIONS, ONBOARDS
from control_plane.api.requests import accepted
from control_plane.api.services import Use
from control_plane.application.access import Caller, found
from control_plane.application.decide_applications import (
    approve_application,
    lock_with_team,
    reject_application,
)
from control_plane.application.decommission import decommission_application
from control_plane.application.manage_applications import (
    APPLICATION_EVENTS,
    describe_application,
    lock_application,
    move_application,
)
from control_plane.application.ports import Answer, Work
from control_plane.application.queries import ApplicationFilter, RepositoryFilter
from control_plane.application.register_application import register_application
from control_plane.application.workflows.application_onboarding import (
    AskedOnboarding,
    onboard_application,
)
from control_plane.application.workflows.flow import Initiator
from control_plane.domain.applications import APPLICATION_MOVES, ApplicationState
from control_plane.domain.repositories import RepositoryState
from idp_kernel.ids import Slug
from idp_kernel.telemetry.traces import current_traceparent
from idp_kernel.wire import api as wire
from idp_kernel.wire.engine import TeamRole
from idp_kernel.wire.worker import RepositoryKind

router = APIRouter(tags=["applications"])

_APPLICATION = ("application", "application_id")
Viewer = Annotated[Caller, Depends(InTeam(*_APPLICATION, TeamRole.TEAM_VIEWER))]
Maintainer = Annotated[Caller, Depends(InTeam(*_APPLICATION, TeamRole.TEAM_MAINTAINER))]
ViewerOfRepository = Annotated[
    Caller, Depends(InTeam("repository", "repository_id", TeamRole.TEAM_VIEWER))
]
ViewerOfIntegration = Annotated[
    Caller, Depends(InTeam("gitops_integration", "integration_id", TeamRole.TEAM_VIEWER))
]


@router.post(
    "/v1/applications",
    status_code=202,
    response_model=wire.RequestAccepted,
    openapi_extra=refuses(
        *ONBOARDS,
        "not_found",
        "not_allowed",
        "application_exists",
        "declared_twice",
        "quota_exceeded",
    ),
)
def post_application(
    request: Request, caller: AnyPerson, key: Key, body: wire.RegisterApplication
) -> Response:
    """Registers an application with a team and starts ApplicationOnboarding, which waits for an
    approval where the team's policy asks for one. Takes a maintainer of that team. `Location` leads
    to the request.
    """

    def act(work: Work) -> Answer:
        return _answer(register_application(work, caller, body, current_traceparent()))

    return run_command(request, caller, key, body, act)


@router.get("/v1/applications")
def get_applications(
    services: Use,
    caller: AnyPerson,
    page: ById,
    created: Created,
    team: OfTeam = None,
    slug: Slug | None = None,
    state: ApplicationState | None = None,
    name_prefix: NamePrefix = None,
) -> wire.Page[wire.Application]:
    """Lists applications of the teams one may see."""
    wanted = ApplicationFilter(team, slug, state, name_prefix, created)
    applications = services.queries.applications(caller.visible_teams, page.slice, wanted)
    return page_of(applications, page, lambda application: application.id)


@router.get("/v1/applications/{application_id}", response_model=wire.Application)
def get_application(
    services: Use, _caller: Viewer, application_id: str, seen: IfNoneMatch
) -> Response:
    """Shows one application with its repositories."""
    shown = found(services.queries.application(application_id), "application", application_id)
    return seen.answer(shown)


@router.put("/v1/applications/{application_id}", response_model=wire.Application)
def put_application(
    request: Request,
    caller: Maintainer,
    application_id: str,
    body: wire.DescribeApplication,
    expected: IfMatch,
) -> Response:
    """Describes an application anew. Repeatable."""
    act = answered(
        200, lambda work: describe_application(work, caller.principal, application_id, body)
    )
    return run_change(request, expected.before(act, lambda work: _held(work, application_id)))


@router.post(
    "/v1/applications/{application_id}/onboarding",
    status_code=202,
    response_model=wire.RequestAccepted,
    openapi_extra=refuses(*ONBOARDS, "workflow_active", "move_refused"),
)
def post_onboarding(
    request: Request, caller: Maintainer, key: Key, application_id: str
) -> Response:
    """Starts ApplicationOnboarding of an Approved application, or of a Proposed one, which is to be
    approved then. It has the environments that were last asked for; this also repeats one that was
    given up. `Location` leads to the request.
    """
    initiator = Initiator(caller.principal, "", current_traceparent())

    def act(work: Work) -> Answer:
        return _answer(onboard_application(work, initiator, application_id))

    return run_command(request, caller, key, None, act)


def _add_move(action: str) -> None:
    @router.post(
        f"/v1/applications/{{application_id}}/{action}",
        response_model=wire.Application,
        name=f"post_application_{action}",
        openapi_extra=refuses("move_refused"),
        **texts(
            APPLICATION_MOVES,
            action,
            "No environment can be asked for any more; what it has and what was asked for goes on.",
        ),
    )
    def post_move(
        request: Request,
        caller: Maintainer,
        key: Key,
        application_id: str,
        expected: IfMatch,
    ) -> Response:
        act = answered(
            200, lambda work: move_application(work, caller.principal, application_id, action)
        )
        checked = expected.before(act, lambda work: _held(work, application_id))
        return run_command(request, caller, key, None, checked)


for _action in APPLICATION_EVENTS:
    _add_move(_action)


@router.post(
    "/v1/applications/{application_id}/approve",
    response_model=wire.Application,
    openapi_extra=refuses("own_proposal", "move_refused", "team_not_active", "workflow_active"),
)
def post_approve(
    request: Request,
    caller: Maintainer,
    key: Key,
    application_id: str,
    expected: IfMatch,
    body: wire.ApproveApplication | None = None,
) -> Response:
    """Approves a Proposed application; its onboarding goes on at once. Takes a maintainer of the
    team who has not proposed it, or a platform-admin.
    """
    wanted = body or wire.ApproveApplication()
    act = answered(
        200, lambda work: approve_application(work, caller, application_id, wanted.reason)
    )
    checked = expected.before(act, lambda work: _proposed(work, application_id))
    return run_command(request, caller, key, wanted, checked)


@router.post(
    "/v1/applications/{application_id}/reject",
    response_model=wire.Application,
    openapi_extra=refuses("own_proposal", "move_refused", "workflow_active"),
)
def post_reject(
    request: Request,
    caller: Maintainer,
    key: Key,
    application_id: str,
    body: wire.RejectApplication,
    expected: IfMatch,
) -> Response:
    """Rejects a Proposed application, of which nothing was made: it is Archived for good, and its
    onboarding is cancelled with the reason. Takes whoever may approve it.
    """
    act = answered(200, lambda work: reject_application(work, caller, application_id, body.reason))
    checked = expected.before(act, lambda work: _proposed(work, application_id))
    return run_command(request, caller, key, body, checked)


@router.post(
    "/v1/applications/{application_id}/decommission",
    status_code=202,
    response_model=wire.RequestAccepted,
    openapi_extra=refuses(*DECOMMISSIONS),
)
def post_application_decommission(
    request: Request,
    caller: Maintainer,
    key: Key,
    application_id: str,
    body: wire.Decommission | None = None,
) -> Response:
    """Starts ApplicationDecommissioning, which nothing takes back: the code and the deployment
    repository are archived with all that people put there; then forge, GitOps agent, secret store
    and issuers are asked whether they have something of the application still. It must be
    Deprecated, and every environment of it Retired, or Declared without anything. `Location` leads
    to the request.
    """
    wanted = body or wire.Decommission()
    initiator = Initiator(caller.principal, wanted.reason, current_traceparent())

    def act(work: Work) -> Answer:
        return accepted(decommission_application(work, initiator, application_id))

    return run_command(request, caller, key, wanted, act)


@router.get("/v1/applications/{application_id}/repositories")
def get_application_repositories(
    services: Use,
    _caller: Viewer,
    application_id: str,
    page: ById,
    kind: Annotated[RepositoryKind | None, Query()] = None,
    state: Annotated[RepositoryState | None, Query()] = None,
) -> wire.Page[wire.Repository]:
    """Lists the application's repositories and those of its environments."""
    wanted = RepositoryFilter(kind, state)
    repositories = services.queries.repositories(application_id, page.slice, wanted)
    return page_of(repositories, page, lambda repository: repository.id)


@router.get("/v1/repositories/{repository_id}", response_model=wire.Repository)
def get_repository(
    services: Use, _caller: ViewerOfRepository, repository_id: str, seen: IfNoneMatch
) -> Response:
    """Shows one repository."""
    shown = found(services.queries.repository(repository_id), "repository", repository_id)
    return seen.answer(shown)


@router.get("/v1/applications/{application_id}/gitops-integrations")
def get_gitops_integrations(
    services: Use, _caller: Viewer, application_id: str, page: ById
) -> wire.Page[wire.GitOpsIntegration]:
    """Lists what deploys the application: one integration, once it is being onboarded."""
    integrations = services.queries.integrations(application_id, page.slice)
    return page_of(integrations, page, lambda integration: integration.id)


@router.get("/v1/gitops-integrations/{integration_id}", response_model=wire.GitOpsIntegration)
def get_gitops_integration(
    services: Use, _caller: ViewerOfIntegration, integration_id: str, seen: IfNoneMatch
) -> Response:
    """Shows one integration."""
    shown = found(
        services.queries.integration(integration_id), "gitops integration", integration_id
    )
    return seen.answer(shown)


def _held(work: Work, application_id: str) -> wire.Application:
    return work.views.application(lock_application(work, application_id).id)


def _proposed(work: Work, application_id: str) -> wire.Application:
    _, application = lock_with_team(work, application_id)
    return work.views.application(application.id)


def _answer(asked: AskedOnboarding) -> Answer:
    return accepted(asked.request, needs_approval=asked.needs_approval)
