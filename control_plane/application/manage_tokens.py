"""Bearer tokens of people and pipelines: made, revoked, looked into by other services."""

from __future__ import annotations

from datetime import timedelta

from control_plane.application.access import Caller, authenticate, no_such
from control_plane.application.ports import Work
from idp_kernel.errors import Conflict, Unauthenticated
from idp_kernel.ids import new_id
from idp_kernel.wire.api import CreateToken, Token
from idp_kernel.wire.engine import Introspection
from idp_kernel.workflows import DomainEvent


def create_token(work: Work, actor: str, command: CreateToken, token_hash: bytes) -> Token:
    """A token for a principal, who begins to exist with the first.

    Event and audit say so when it makes the principal a platform-admin. The token itself tells
    whether the principal is one, also since before: then it opens everything too.
    """
    work.principals.ensure(command.principal)
    if command.platform_admin:
        work.principals.make_platform_admin(command.principal)
    token = Token(
        id=new_id(),
        principal=command.principal,
        platform_admin=work.principals.is_platform_admin(command.principal),
        created_at=work.now,
        expires_at=work.now + timedelta(seconds=command.expires_in_seconds),
    )
    work.principals.add_token(
        id_=token.id, principal=token.principal, token_hash=token_hash, expires_at=token.expires_at
    )
    role = ", who is made a platform-admin" if command.platform_admin else ""
    _tell(
        work, DomainEvent.TOKEN_CREATED, actor, token.id, f"for {token.principal}{role}",
        principal=token.principal, platformAdmin=command.platform_admin,
    )  # fmt: skip
    return token


def revoke_token(work: Work, caller: Caller, token_id: str) -> None:
    """From now on the token opens nothing. Only its owner and platform-admins may; repeatable."""
    token = work.principals.token_by_id(token_id)
    if token is None or not (caller.platform_admin or token.principal == caller.principal):
        raise no_such("token", token_id)
    if token.revoked_at is None:
        work.principals.revoke_token(token_id)
        _tell(
            work, DomainEvent.TOKEN_REVOKED, caller.principal, token_id, f"of {token.principal}",
            principal=token.principal,
        )  # fmt: skip


def remove_platform_admin(work: Work, actor: str, principal: str) -> None:
    """The principal is no platform-admin any more, whichever of its tokens it comes with; its roles
    in teams stay. Repeatable.

    Raises `Conflict` (`last_platform_admin`) when nobody else is one with a token that is good.
    """
    admins = work.principals.lock_platform_admins()
    if principal not in admins:
        return
    if not any(good_until for name, good_until in admins.items() if name != principal):
        raise Conflict(
            f"Without {principal} nobody would be a platform-admin with a token that is good.",
            code="last_platform_admin",
        )
    work.principals.remove_platform_admin(principal)
    event, subject = DomainEvent.PLATFORM_ADMIN_REMOVED, f"platform_admin/{principal}"
    work.journal.event(event, subject=subject, actor=actor, data={"principal": principal})
    work.journal.audit(actor=actor, action=event, subject=subject)


def introspect_token(work: Work, token_hash: bytes) -> Introspection:
    """Who holds the token, in the words of the forge; a token that opens nothing is inactive."""
    try:
        caller = authenticate(work, token_hash)
    except Unauthenticated:
        return Introspection(active=False)
    return Introspection(
        active=True,
        principal=caller.principal,
        platform_admin=caller.platform_admin,
        teams=dict(work.principals.roles_by_team_slug(caller.principal)),
    )


def _tell(
    work: Work, event: DomainEvent, actor: str, token_id: str, reason: str, **data: str | bool
) -> None:
    subject = f"token/{token_id}"
    work.journal.event(event, subject=subject, actor=actor, data=data)
    work.journal.audit(actor=actor, action=event, subject=subject, reason=reason)
