"""Who calls the forge, and what they may: the one place where access is decided.

The platform's bot reads and writes everything, its GitOps agent reads everything. People see the
repositories of their own teams and no others: what they may not see does not exist for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from idp_kernel.errors import NotAllowed
from idp_kernel.wire.engine import TeamRole
from local_stack.forge.pushes import BOT
from local_stack.forge.repositories import no_such_repository


@dataclass(frozen=True)
class Bot:
    """execution-workers."""

    name: str = BOT


@dataclass(frozen=True)
class Agent:
    """The GitOps agent; it only reads."""

    name: str = "idp[gitops-agent]"


@dataclass(frozen=True)
class Person:
    """Somebody with a platform token, as the control plane knows them."""

    name: str
    platform_admin: bool = False
    teams: Mapping[str, TeamRole] = field(default_factory=dict)

    def maintains(self, team: str) -> bool:
        return self.teams.get(team) is TeamRole.TEAM_MAINTAINER


Caller: TypeAlias = Bot | Agent | Person


def may_see(caller: Caller, owner: str) -> bool:
    """Whether the repositories of `owner` exist for the caller; who sees them may read them."""
    return not isinstance(caller, Person) or caller.platform_admin or owner in caller.teams


def require_sight(caller: Caller, owner: str, name: str) -> None:
    """`NotFound` for what the caller may not see."""
    if not may_see(caller, owner):
        raise no_such_repository(owner, name)


def require_push(caller: Caller, owner: str, name: str) -> None:
    """`NotAllowed` for whoever sees the repository and may not push to it."""
    require_sight(caller, owner, name)
    if isinstance(caller, Bot):
        return
    if isinstance(caller, Person) and (caller.platform_admin or caller.maintains(owner)):
        return
    raise NotAllowed(
        f"Pushing to {owner}/{name} needs the role {TeamRole.TEAM_MAINTAINER} in team {owner}.",
        code="push_not_allowed",
    )


def require_merge(caller: Caller, owner: str, name: str) -> Person:
    """The person who merges; `NotAllowed` for everybody but the team's maintainers."""
    require_sight(caller, owner, name)
    if isinstance(caller, Person) and caller.maintains(owner):
        return caller
    raise NotAllowed(
        f"Merging in {owner}/{name} needs the role {TeamRole.TEAM_MAINTAINER} in team {owner}.",
        code="merge_not_allowed",
    )


def require_bot(caller: Caller, action: str) -> None:
    """`NotAllowed` for everybody but the platform itself."""
    if not isinstance(caller, Bot):
        raise NotAllowed(
            f"Only the platform may {action}; ask it for what you need with `idp`.",
            code="platform_only",
        )
