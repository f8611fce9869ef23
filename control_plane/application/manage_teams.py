"""Teams and their members."""

from __future__ import annotations

from dataclasses import replace

from control_plane.application.access import found
from control_plane.application.ports import Work
from control_plane.domain.teams import TEAM_MOVES, Team, TeamState
from idp_kernel.errors import Conflict
from idp_kernel.ids import new_id
from idp_kernel.wire import api as wire
from idp_kernel.wire.api import (
    AddMember,
    ApplicationApproval,
    CreateTeam,
    DescribeTeam,
    Member,
    TeamPolicy,
)
from idp_kernel.workflows import DomainEvent

_APPROVAL = ApplicationApproval
TEAM_EVENTS: dict[str, DomainEvent] = {
    "activate": DomainEvent.TEAM_ACTIVATED,
    "suspend": DomainEvent.TEAM_SUSPENDED,
    "resume": DomainEvent.TEAM_RESUMED,
    "archive": DomainEvent.TEAM_ARCHIVED,
}
"""The commands that move a team, and what each is told as."""


def create_team(work: Work, actor: str, command: CreateTeam) -> Team:
    """A team in draft. A slug that is taken is a `Conflict` (`team_exists`)."""
    team = Team(new_id(), command.slug, command.display_name, TEAM_MOVES.initial, work.now)
    work.teams.add(team)
    _tell(work, DomainEvent.TEAM_CREATED, actor, team, slug=team.slug)
    return team


def describe_team(work: Work, actor: str, slug: str, command: DescribeTeam) -> Team:
    """The team under its new name; the same again changes nothing."""
    team = lock_team(work, slug)
    changed = replace(team, display_name=command.display_name)
    if changed != team:
        work.teams.save(changed)
        _tell(work, DomainEvent.TEAM_CHANGED, actor, changed, displayName=changed.display_name)
    return changed


def move_team(work: Work, actor: str, slug: str, action: str) -> Team:
    """The team after `activate`, `suspend`, `resume` or `archive`.

    The archive of one that has applications still is a `Conflict` (`team_in_use`): nobody could
    end those any more.
    """
    team = lock_team(work, slug).moved(action)
    if team.state is TeamState.ARCHIVED and (left := work.limits.applications(team.id)):
        raise Conflict(
            f"Team {slug} has applications that are not Archived ({left}). Nothing could end their"
            " credentials and environments afterwards.",
            code="team_in_use",
            details={"team": slug},
        )
    work.teams.save(team)
    _tell(work, TEAM_EVENTS[action], actor, team, state=team.state)
    return team


def policy_of(work: Work, team: Team) -> TeamPolicy:
    """What holds for the team's applications and requests."""
    is_required = work.teams.requires_approval(team.id)
    return TeamPolicy(
        application_approval=_APPROVAL.REQUIRED if is_required else _APPROVAL.NONE,
        undo_on_failure=work.teams.undoes_failures(team.id),
    )


def set_policy(work: Work, actor: str, slug: str, policy: TeamPolicy) -> TeamPolicy:
    """The team under that policy; the same again changes nothing.

    What was proposed before needs its approval all the same.
    """
    team = lock_team(work, slug)
    if policy != policy_of(work, team):
        work.teams.set_policy(
            team.id,
            undoes_failures=policy.undo_on_failure,
            requires_approval=policy.application_approval is _APPROVAL.REQUIRED,
        )
        _tell(
            work, DomainEvent.TEAM_POLICY_CHANGED, actor, team,
            applicationApproval=policy.application_approval,
            undoOnFailure="yes" if policy.undo_on_failure else "no",
        )  # fmt: skip
    return policy


def add_member(work: Work, actor: str, slug: str, command: AddMember) -> Member:
    """The principal with that role in the team; adding again changes the role."""
    team = lock_team(work, slug)
    work.principals.ensure(command.principal)
    work.teams.put_member(team.id, command.principal, command.role)
    _tell(
        work, DomainEvent.TEAM_MEMBER_ADDED, actor, team, f"{command.principal}: {command.role}",
        principal=command.principal, role=command.role,
    )  # fmt: skip
    return Member(team=team.slug, principal=command.principal, role=command.role)


def remove_member(work: Work, actor: str, slug: str, principal: str) -> None:
    """The principal has no role in the team any more; repeatable."""
    team = lock_team(work, slug)
    if work.teams.remove_member(team.id, principal):
        _tell(work, DomainEvent.TEAM_MEMBER_REMOVED, actor, team, principal, principal=principal)


def lock_team(work: Work, slug: str) -> Team:
    """The team, which nobody else moves until the transaction ends. Raises `NotFound`."""
    return found(work.teams.by_slug(slug, lock=True), "team", slug)


def team_view(team: Team) -> wire.Team:
    """The team in the words of the wire."""
    return wire.Team(
        id=team.id,
        slug=team.slug,
        display_name=team.display_name,
        state=team.state,
        created_at=team.created_at,
    )


def _tell(
    work: Work, event: DomainEvent, actor: str, team: Team, reason: str = "", **data: str
) -> None:
    subject = f"team/{team.id}"
    work.journal.event(event, subject=subject, actor=actor, team_id=team.id, data=data)
    work.journal.audit(actor=actor, action=event, subject=subject, reason=reason)
