"""The platform stops taking up new work, or takes it up again."""

from __future__ import annotations

from control_plane.application.ports import Work
from idp_kernel.wire.api import PlatformStanding


def set_draining(work: Work, actor: str, *, draining: bool) -> PlatformStanding:
    """While draining nothing new is offered, and launches by hand are refused; commands are taken
    and wait. Repeatable.
    """
    work.standing.set_draining(draining=draining)
    action = "platform_drained" if draining else "platform_resumed"
    work.journal.audit(actor=actor, action=action, subject="platform")
    work.journal.wake_offers()
    return PlatformStanding(draining=draining)
