"""What happened to a secret and asks for its rotation: a domain event, kept until settled."""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.application.ports import Work
from control_plane.domain.managed_secrets import Secret
from idp_kernel.workflows import DomainEvent


def raise_cause(
    work: Work,
    event: DomainEvent,
    secret: Secret,
    *,
    actor: str,
    data: Mapping[str, str | int | bool | None],
) -> None:
    """The event, and the open cause of that name."""
    version = secret.check_has_value()
    event_id = work.journal.event(
        event,
        subject=f"secret/{secret.id}",
        actor=actor,
        team_id=work.secrets.team_of(secret.id),
        data={"version": version, **data},
    )
    work.rotations.add_cause(event_id, event, secret.id, version)
    work.journal.wake_rotation_causes()
