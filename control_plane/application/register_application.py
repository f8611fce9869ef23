"""An application is registered with its team, and its onboarding asked for."""

from __future__ import annotations

from collections.abc import Sequence

from control_plane.application.access import Caller, no_such
from control_plane.application.ports import Work
from control_plane.application.provision_application_environment import check_distinct
from control_plane.application.team_limits import check_room_for_application
from control_plane.application.workflows.application_onboarding import (
    AskedOnboarding,
    hold_what_onboarding_needs,
    start_onboarding,
)
from control_plane.application.workflows.flow import Initiator
from control_plane.domain.applications import APPLICATION_MOVES, Application
from control_plane.domain.requests import Request
from idp_kernel.errors import InvalidInput
from idp_kernel.ids import new_id
from idp_kernel.wire.api import DeclareEnvironment, RegisterApplication
from idp_kernel.wire.engine import DeclaredEnvironment, TeamRole
from idp_kernel.workflows import DomainEvent


def register_application(
    work: Work, caller: Caller, command: RegisterApplication, traceparent: str | None
) -> AskedOnboarding:
    """The pending request that onboards the new application; where the team's policy asks for it,
    the application is Proposed and the request waits for the approval.

    Raises `InvalidInput` for an environment or a secret that is named twice (`declared_twice`) and
    for a slug that is kept for others (`slug_reserved`), `NotFound` for an unknown team or
    environment; `Conflict`: `application_exists`, `team_not_active`, `environment_not_active`,
    `repository_name_taken`, `quota_exceeded`.
    """
    not_seen = no_such("team", command.team)
    seen = work.teams.by_slug(command.team)
    if seen is None:
        raise not_seen
    caller.check_role(TeamRole.TEAM_MAINTAINER, seen.id, not_seen=not_seen)
    _check_distinct(command.environments)
    environments = [
        DeclaredEnvironment.model_validate(each.model_dump()) for each in command.environments
    ]
    team = hold_what_onboarding_needs(work, seen.id, environments)
    check_room_for_application(work, team, environments=len(environments))
    application = Application(
        new_id(), team.id, command.slug, command.description, APPLICATION_MOVES.initial, work.now
    )
    if not work.teams.requires_approval(team.id):
        application = application.moved("approve")
    work.applications.add(application)
    initiator = Initiator(caller.principal, "", traceparent)
    asked = start_onboarding(work, initiator, team, application, environments)
    _tell(work, asked.request, application)
    return asked


def _check_distinct(environments: Sequence[DeclareEnvironment]) -> None:
    slugs = [each.environment for each in environments]
    if twice := sorted({slug for slug in slugs if slugs.count(slug) > 1}):
        raise InvalidInput(
            f"Environments are declared twice: {', '.join(twice)}.", code="declared_twice"
        )
    for each in environments:
        check_distinct(each.secrets)


def _tell(work: Work, request: Request, application: Application) -> None:
    event, actor = DomainEvent.APPLICATION_CREATED, request.requested_by
    work.journal.event(
        event,
        subject=request.subject,
        actor=actor,
        team_id=request.team_id,
        request_id=request.id,
        data={"slug": application.slug},
    )
    work.journal.audit(actor=actor, action=event, subject=request.subject)
