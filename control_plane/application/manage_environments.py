"""The environments of the platform."""

from __future__ import annotations

from dataclasses import replace

from control_plane.application.access import found
from control_plane.application.ports import Work
from control_plane.domain.environments import ENVIRONMENT_MOVES, Environment
from idp_kernel.ids import new_id
from idp_kernel.wire import api as wire
from idp_kernel.wire.api import CreateEnvironment, DescribeEnvironment
from idp_kernel.workflows import DomainEvent

ENVIRONMENT_EVENTS: dict[str, DomainEvent] = {
    "activate": DomainEvent.ENVIRONMENT_ACTIVATED,
    "freeze": DomainEvent.ENVIRONMENT_FROZEN,
    "unfreeze": DomainEvent.ENVIRONMENT_UNFROZEN,
    "retire": DomainEvent.ENVIRONMENT_RETIRED,
}
"""The commands that move an environment, and what each is told as."""


def create_environment(work: Work, actor: str, command: CreateEnvironment) -> Environment:
    """A planned environment. A slug that is taken is a `Conflict` (`environment_exists`)."""
    environment = Environment(
        new_id(), command.slug, command.description, ENVIRONMENT_MOVES.initial, work.now
    )
    work.environments.add(environment)
    _tell(work, DomainEvent.ENVIRONMENT_CREATED, actor, environment)
    return environment


def describe_environment(
    work: Work, actor: str, slug: str, command: DescribeEnvironment
) -> Environment:
    """The environment under its new description; the same again changes nothing."""
    environment = lock_environment(work, slug)
    changed = replace(environment, description=command.description)
    if changed != environment:
        work.environments.save(changed)
        _tell(work, DomainEvent.ENVIRONMENT_CHANGED, actor, changed)
    return changed


def move_environment(work: Work, actor: str, slug: str, action: str) -> Environment:
    """The environment after `activate`, `freeze`, `unfreeze` or `retire`."""
    moved = lock_environment(work, slug).moved(action)
    work.environments.save(moved)
    _tell(work, ENVIRONMENT_EVENTS[action], actor, moved)
    return moved


def lock_environment(work: Work, slug: str) -> Environment:
    """The environment, which nobody else moves until the transaction ends. Raises `NotFound`."""
    return found(work.environments.by_slug(slug, lock=True), "environment", slug)


def environment_view(environment: Environment) -> wire.Environment:
    """The environment in the words of the wire."""
    return wire.Environment(
        id=environment.id,
        slug=environment.slug,
        description=environment.description,
        state=environment.state,
        created_at=environment.created_at,
    )


def _tell(work: Work, event: DomainEvent, actor: str, environment: Environment) -> None:
    subject = f"environment/{environment.id}"
    data = {"slug": environment.slug, "state": environment.state}
    work.journal.event(event, subject=subject, actor=actor, data=data)
    work.journal.audit(actor=actor, action=event, subject=subject)
