"""Who is asking, and what that person may do in which team."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from control_plane.application.ports import StoredToken, Work
from idp_kernel.errors import NotAllowed, NotFound, Unauthenticated
from idp_kernel.wire.engine import TeamRole

Found = TypeVar("Found")

_TOUCH_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Caller:
    """A person or pipeline behind a valid bearer token."""

    principal: str
    platform_admin: bool
    roles: Mapping[str, TeamRole]
    """Team id to role."""
    token_id: str
    token_expires_at: datetime

    @property
    def visible_teams(self) -> frozenset[str] | None:
        """Ids of the teams whose things the caller may see; `None` means all."""
        return None if self.platform_admin else frozenset(self.roles)

    def sees_team(self, team_id: str) -> bool:
        return self.platform_admin or team_id in self.roles

    def check_role(self, role: TeamRole, team_id: str, *, not_seen: NotFound) -> None:
        """Raises `not_seen` for a foreign team's thing, `NotAllowed` for too small a role."""
        if not self.sees_team(team_id):
            raise not_seen
        if self.platform_admin or role is TeamRole.TEAM_VIEWER:
            return
        if self.roles[team_id] is not role:
            raise NotAllowed(
                f"{self.principal} is {self.roles[team_id]} in this team; this takes {role}.",
                details={"needed": role},
            )

    def check_platform_admin(self) -> None:
        if not self.platform_admin:
            raise NotAllowed(
                f"{self.principal} is no platform-admin, and this takes one.",
                details={"needed": "platform-admin"},
            )


def no_such(kind: str, name: str) -> NotFound:
    """The same words for what does not exist and for what the caller may not see."""
    return NotFound(f"There is no {kind} {name}, or none you may see.", details={"kind": kind})


def found(thing: Found | None, kind: str, name: str) -> Found:
    """The thing that was looked for by that name. Raises `NotFound` when it is not there."""
    if thing is None:
        raise no_such(kind, name)
    return thing


def authenticate(work: Work, token_hash: bytes) -> Caller:
    """The caller behind a token.

    Raises `Unauthenticated`: `token_invalid`, `token_revoked`, `token_expired`. Notes the use of
    the token at most once a minute.
    """
    token = work.principals.token_by_hash(token_hash)
    if token is None:
        raise Unauthenticated("The bearer token is not known here.", code="token_invalid")
    if token.revoked_at is not None:
        raise Unauthenticated("The bearer token was revoked.", code="token_revoked")
    if token.expires_at <= work.now:
        raise Unauthenticated("The bearer token has expired.", code="token_expired")
    if token.last_used_at is None or work.now - token.last_used_at >= _TOUCH_EVERY:
        work.principals.touch_token(token.id)
    return _caller(token, work.principals.roles_of(token.principal))


def still_let_in(work: Work, token_ids: Collection[str]) -> Mapping[str, Caller]:
    """The callers behind those of the tokens that still open something, with their roles as they
    are now; two statements, however many tokens.
    """
    tokens = work.principals.tokens_by_ids(token_ids)
    valid = [each for each in tokens if each.revoked_at is None and each.expires_at > work.now]
    roles = work.principals.roles_of_all({token.principal for token in valid})
    return {token.id: _caller(token, roles.get(token.principal, {})) for token in valid}


def _caller(token: StoredToken, roles: Mapping[str, TeamRole]) -> Caller:
    return Caller(
        principal=token.principal,
        platform_admin=token.platform_admin,
        roles=roles,
        token_id=token.id,
        token_expires_at=token.expires_at,
    )
