"""A declared team with its members, its policy and its limits, compared with the platform's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from idp_cli.api import (
    MEMBER,
    MEMBERS,
    TEAM,
    TEAM_LIMITS,
    TEAM_MOVE,
    TEAM_POLICY,
    TEAMS,
    path_segment,
)
from idp_cli.declarations.differences import (
    ACTIVE,
    DRAFT,
    SUSPENSIONS,
    if_unchanged,
    state_changed,
    state_to_be,
)
from idp_cli.declarations.kinds import DeclaredTeam, Kind
from idp_cli.declarations.plans import Action, Change, Command, FieldChange, Removal
from idp_cli.declarations.present import Present
from idp_kernel.wire.api import (
    CreateTeam,
    DescribeTeam,
    Member,
    SetTeamLimits,
    Team,
    TeamLimits,
    TeamPolicy,
)
from idp_kernel.wire.base import WireModel
from idp_kernel.wire.engine import TeamRole

NO_MEMBER = "no member"
PLATFORM_S = "the platform's"
"""A limit that is left to the platform."""


def team_change(present: Present, declared: DeclaredTeam) -> Change:
    """What becomes of the team; of one that is there only what differs."""
    slug = declared.slug
    team = present.team(slug)
    fields = [*_team_fields(team, declared)]
    tag = present.tag(TEAM.format(team=slug))
    commands: list[Command | Removal] = [*if_unchanged(tag, _team_commands(team, declared))]
    for found, command in (
        *_policy(present, declared, is_new=team is None),
        *_limits(present, declared, is_new=team is None),
        *_members(present.roles(slug) if team is not None else {}, declared),
    ):
        fields += found
        commands.append(command)
    action = Action.CREATE if team is None else Action.CHANGE
    return Change(action, Kind.TEAM, declared.subject, tuple(fields), tuple(commands))


_Found = Iterator[tuple[list[FieldChange], Command | Removal]]
"""What differs, and the command for it."""


def _team_fields(present: Team | None, declared: DeclaredTeam) -> Iterator[FieldChange]:
    if present is None:
        yield FieldChange("displayName", None, declared.display_name or declared.slug)
        yield FieldChange("state", None, declared.state or ACTIVE)
        return
    if declared.display_name not in (None, present.display_name):
        yield FieldChange("displayName", present.display_name, str(declared.display_name))
    yield from state_changed(present.state, state_to_be(declared.state, present.state))


def _team_commands(present: Team | None, declared: DeclaredTeam) -> Iterator[Command]:
    slug, name = declared.slug, declared.display_name
    if present is None:
        body = CreateTeam(slug=slug, display_name=name or slug)
        yield Command(TEAMS, Team, body)
    elif name not in (None, present.display_name):
        path = TEAM.format(team=slug)
        yield Command(path, Team, DescribeTeam(display_name=str(name)), "PUT")
    state = DRAFT if present is None else present.state
    if state == DRAFT:
        yield Command(TEAM_MOVE.format(team=slug, move="activate"), Team)
        state = ACTIVE
    move = SUSPENSIONS.get((state, declared.state or state))
    if move is not None:
        yield Command(TEAM_MOVE.format(team=slug, move=move), Team)


def _policy(present: Present, declared: DeclaredTeam, *, is_new: bool) -> _Found:
    """Whatever fields a policy has."""
    if declared.policy is None:
        return
    found = None if is_new else present.policy(declared.slug)
    fields = [*_differing("policy", {} if found is None else dict(found), declared.policy)]
    if fields:
        path = TEAM_POLICY.format(team=declared.slug)
        wanted = (found or TeamPolicy()).model_copy(update=_given(declared.policy))
        yield fields, Command(path, TeamPolicy, wanted, "PUT", if_match=present.tag(path))


def _limits(present: Present, declared: DeclaredTeam, *, is_new: bool) -> _Found:
    """The team's own; what it has already is no matter."""
    if declared.limits is None:
        return
    found = None if is_new else present.limits(declared.slug)
    own = {} if found is None else {name: limit.own for name, limit in dict(found).items()}
    fields = [*_differing("limits", own, declared.limits)]
    if fields:
        path = TEAM_LIMITS.format(team=declared.slug)
        body = SetTeamLimits.model_validate({**own, **_given(declared.limits)})
        yield fields, Command(path, TeamLimits, body, "PUT", if_match=present.tag(path))


def _members(roles: dict[str, TeamRole], declared: DeclaredTeam) -> _Found:
    for member in declared.members:
        role = roles.get(member.principal)
        if role != member.role:
            change = FieldChange(f"member {member.principal}", role, member.role)
            yield [change], Command(MEMBERS.format(team=declared.slug), Member, member)
    for principal in declared.former_members:
        if principal in roles:
            change = FieldChange(f"member {principal}", roles[principal], NO_MEMBER)
            path = MEMBER.format(team=declared.slug, principal=path_segment(principal))
            yield [change], Removal(path)


def _given(declared: WireModel) -> dict[str, object]:
    """The fields that stand in the file."""
    return {field: getattr(declared, field) for field in declared.model_fields_set}


def _differing(
    group: str, present: Mapping[str, object], declared: WireModel
) -> Iterator[FieldChange]:
    """Named as in the file: `limits.maxApplications`. All of them, of a thing that is not there."""
    for field, value in sorted(_given(declared).items()):
        is_there = field in present
        if not is_there or present[field] != value:
            name = f"{group}.{type(declared).model_fields[field].alias}"
            yield FieldChange(name, _word(present[field]) if is_there else None, _word(value))


def _word(value: object) -> str:
    """As the file has it."""
    if value is None:
        return PLATFORM_S
    return str(value).lower() if isinstance(value, bool) else str(value)
