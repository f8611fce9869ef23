"""What teams are limited to: shown, set, and heeded by whatever adds to what they have."""

from __future__ import annotations

from control_plane.application.manage_teams import lock_team
from control_plane.application.ports import Work
from control_plane.domain.limits import LimitName, TeamLimits, check_room
from control_plane.domain.requests import Request
from control_plane.domain.teams import Team
from idp_kernel.wire import api as wire
from idp_kernel.wire.engine import RotationDesiredState
from idp_kernel.workflows import DomainEvent, RequestState


def limits_view(work: Work, team: Team) -> wire.TeamLimits:
    """Every limit of the team with its use."""
    own = work.limits.of(team.id)
    in_force = own.or_else(work.limits.default)
    return wire.TeamLimits(
        max_applications=wire.TeamLimit(
            own=own.max_applications,
            in_force=in_force.max_applications,
            used=work.limits.applications(team.id),
        ),
        max_application_environments=wire.TeamLimit(
            own=own.max_application_environments,
            in_force=in_force.max_application_environments,
            used=work.limits.application_environments(team.id),
        ),
        max_active_requests=wire.TeamLimit(
            own=own.max_active_requests,
            in_force=in_force.max_active_requests,
            used=work.limits.active_requests(team.id),
        ),
    )


def set_team_limits(
    work: Work, actor: str, slug: str, command: wire.SetTeamLimits
) -> wire.TeamLimits:
    """The team under its new limits; the same again changes nothing. What it has already stays,
    also beyond them.
    """
    team = lock_team(work, slug)
    limits = TeamLimits(**command.model_dump(by_alias=False))
    if limits != work.limits.of(team.id):
        work.limits.put(team.id, limits)
        _tell(work, actor, team, command)
        work.journal.wake_offers()
    return limits_view(work, team)


def check_room_for_application(work: Work, team: Team, *, environments: int) -> None:
    """Raises `Conflict` (`quota_exceeded`) unless the team may have another application and so many
    more environments. Nobody else adds to what it has until the transaction ends.
    """
    limits = _held(work, team)
    if limits.max_applications is not None:
        check_room(
            LimitName.APPLICATIONS,
            limits.max_applications,
            used=work.limits.applications(team.id),
            more=1,
            team=team.slug,
        )
    _check_environments(work, team, limits, more=environments)


def check_room_for_environment(work: Work, team: Team) -> None:
    """The same for one more environment alone."""
    _check_environments(work, team, _held(work, team), more=1)


def check_room_at_work(work: Work, request: Request) -> None:
    """Raises `Conflict` (`quota_exceeded`) unless the team may have the request, which is locked,
    at work too. One that was offered or that a run has holds a place, and an emergency needs none.
    """
    team = work.teams.by_id(request.team_id)
    limit = _in_force(work, team).max_active_requests
    holds_place = request.offers > 0 or request.state is not RequestState.PENDING
    if limit is None or holds_place or _is_emergency(work, request):
        return
    work.limits.hold_places()
    check_room(
        LimitName.ACTIVE_REQUESTS,
        limit,
        used=work.limits.active_requests(team.id),
        more=1,
        team=team.slug,
    )


def _is_emergency(work: Work, request: Request) -> bool:
    desired = work.requests.desired_state(request)
    return isinstance(desired, RotationDesiredState) and desired.emergency


def _held(work: Work, team: Team) -> TeamLimits:
    """The limits in force. Of a team that has one for what is added, others wait until this
    transaction ends; without one nothing is counted, and nobody waits.
    """
    limits = _in_force(work, team)
    if limits.max_applications is None and limits.max_application_environments is None:
        return limits
    work.limits.hold(team.id)
    return _in_force(work, team)


def _in_force(work: Work, team: Team) -> TeamLimits:
    return work.limits.of(team.id).or_else(work.limits.default)


def _check_environments(work: Work, team: Team, limits: TeamLimits, *, more: int) -> None:
    if limits.max_application_environments is None:
        return
    check_room(
        LimitName.APPLICATION_ENVIRONMENTS,
        limits.max_application_environments,
        used=work.limits.application_environments(team.id),
        more=more,
        team=team.slug,
    )


def _tell(work: Work, actor: str, team: Team, command: wire.SetTeamLimits) -> None:
    event, subject = DomainEvent.TEAM_LIMITS_CHANGED, f"team/{team.id}"
    data = command.model_dump()
    work.journal.event(event, subject=subject, actor=actor, team_id=team.id, data=data)
    reason = ", ".join(f"{name}: {value}" for name, value in data.items())
    work.journal.audit(actor=actor, action=event, subject=subject, reason=reason)
