"""Applications and their environments after their workflows: described, deprecated, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from control_plane.application.access import found
from control_plane.application.ports import Work
from control_plane.application.workflows.endings import refuse_unless_ended
from control_plane.domain.application_environments import ApplicationEnvironment
from control_plane.domain.applications import Application
from control_plane.domain.requests import SubjectKind
from idp_kernel.errors import InvariantBroken
from idp_kernel.wire import api as wire
from idp_kernel.workflows import DomainEvent

APPLICATION_EVENTS: dict[str, DomainEvent] = {
    "deprecate": DomainEvent.APPLICATION_DEPRECATED,
}
"""The commands that move an application alone, and what each is told as."""
APPENV_EVENTS: dict[str, DomainEvent] = {
    "freeze": DomainEvent.APPLICATION_ENVIRONMENT_FROZEN,
    "unfreeze": DomainEvent.APPLICATION_ENVIRONMENT_UNFROZEN,
}
"""The commands that move an application environment alone, and what each is told as."""


def describe_application(
    work: Work, actor: str, application_id: str, command: wire.DescribeApplication
) -> wire.Application:
    """The application under its new description; the same again changes nothing."""
    application = lock_application(work, application_id)
    changed = replace(application, description=command.description)
    if changed != application:
        work.applications.save(changed)
        _tell_application(work, DomainEvent.APPLICATION_CHANGED, actor, changed)
    return work.views.application(application_id)


def move_application(work: Work, actor: str, application_id: str, action: str) -> wire.Application:
    """The application after `deprecate`: no environment can be asked for any more; what it has,
    and what was asked for, goes on.
    """
    moved = lock_application(work, application_id).moved(action)
    work.applications.save(moved)
    _tell_application(work, APPLICATION_EVENTS[action], actor, moved)
    return work.views.application(application_id)


def move_application_environment(
    work: Work, actor: str, id_: str, action: str
) -> wire.ApplicationEnvironment:
    """The application environment after `freeze` or `unfreeze`. One that is frozen is not
    provisioned and can be decommissioned; its secrets are rotated all the same.

    Raises `Conflict` (`ending_unfinished`) when it is to be unfrozen and a request began to end it.
    """
    moved = lock_application_environment(work, id_).moved(action)
    if action == "unfreeze":
        refuse_unless_ended(work, SubjectKind.APPLICATION_ENVIRONMENT, id_)
    work.application_environments.save(moved)
    _tell_appenv(work, APPENV_EVENTS[action], actor, moved)
    return work.views.application_environment(id_)


def lock_application(work: Work, application_id: str) -> Application:
    """The application, which nobody else moves until the transaction ends. Raises `NotFound`."""
    return found(work.applications.by_id(application_id, lock=True), "application", application_id)


def lock_application_environment(work: Work, id_: str) -> ApplicationEnvironment:
    """The application environment, likewise."""
    return found(
        work.application_environments.by_id(id_, lock=True), "application environment", id_
    )


def _tell_application(work: Work, event: DomainEvent, actor: str, application: Application) -> None:
    _tell(
        work, event, actor, f"application/{application.id}", application.team_id,
        {"slug": application.slug, "state": application.state},
    )  # fmt: skip


def _tell_appenv(
    work: Work, event: DomainEvent, actor: str, appenv: ApplicationEnvironment
) -> None:
    application = work.applications.by_id(appenv.application_id)
    if application is None:
        raise InvariantBroken(f"application environment {appenv.id} belongs to no application")
    _tell(
        work, event, actor, f"application_environment/{appenv.id}", application.team_id,
        {"state": appenv.state},
    )  # fmt: skip


def _tell(
    work: Work,
    event: DomainEvent,
    actor: str,
    subject: str,
    team_id: str,
    data: Mapping[str, str],
) -> None:
    work.journal.event(event, subject=subject, actor=actor, team_id=team_id, data=data)
    work.journal.audit(actor=actor, action=event, subject=subject)
