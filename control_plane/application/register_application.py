"""An application is registered with its team."""

from __future__ import annotations

from control_plane.application.access import Caller, no_such
from control_plane.application.ports import Work
from control_plane.domain.applications import APPLICATION_MOVES, Application
from idp_kernel.ids import new_id
from idp_kernel.wire.api import RegisterApplication
from idp_kernel.wire.engine import TeamRole
from idp_kernel.workflows import DomainEvent


def register_application(work: Work, caller: Caller, command: RegisterApplication) -> Application:
    """An approved application of an active team; no team policy asks for more yet.

    A slug the team has given is a `Conflict` (`application_exists`).
    """
    not_seen = no_such("team", command.team)
    seen = work.teams.by_slug(command.team)
    if seen is None:
        raise not_seen
    caller.check_role(TeamRole.TEAM_MAINTAINER, seen.id, not_seen=not_seen)
    team = work.teams.hold(seen.id)
    team.check_may_start_workflow()
    application = Application(
        new_id(), team.id, command.slug, command.description, APPLICATION_MOVES.initial, work.now
    ).moved("approve")
    work.applications.add(application)
    _tell(work, caller.principal, application)
    return application


def _tell(work: Work, actor: str, application: Application) -> None:
    event, subject = DomainEvent.APPLICATION_CREATED, f"application/{application.id}"
    work.journal.event(
        event,
        subject=subject,
        actor=actor,
        team_id=application.team_id,
        data={"slug": application.slug, "state": application.state},
    )
    work.journal.audit(actor=actor, action=event, subject=subject)
