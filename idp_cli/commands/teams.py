"""`idp team`: who owns applications, and who belongs to whom."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from idp_cli.advice import refusals_about
from idp_cli.agreement import agree
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
from idp_cli.arguments import (
    After,
    Before,
    Limit,
    NamePrefix,
    StateFilter,
    TeamSlug,
    Yes,
    moment_of,
    query_of,
)
from idp_cli.invocation import Invocation, invocation_of
from idp_cli.output import Columns, plain_table, program_word
from idp_kernel.errors import InvalidInput
from idp_kernel.wire.api import (
    AddMember,
    ApplicationApproval,
    CreateTeam,
    DescribeTeam,
    Member,
    SetTeamLimits,
    Team,
    TeamLimit,
    TeamLimits,
    TeamPolicy,
)
from idp_kernel.wire.engine import TeamRole

app = typer.Typer(no_args_is_help=True, help="Teams and their members.")
member = typer.Typer(no_args_is_help=True, help="Who belongs to a team, and as what.")
app.add_typer(member, name="member")

Principal = Annotated[
    str, typer.Argument(help="The person's or pipeline's name.", metavar="PRINCIPAL")
]
NO_LIMIT_OF_ITS_OWN = "default"

TEAM_COLUMNS = Columns[Team](
    {
        "TEAM": lambda team: team.slug,
        "NAME": lambda team: team.display_name,
        "STATE": lambda team: team.state,
        "CREATED": lambda team: team.created_at,
    }
)
MEMBER_COLUMNS = Columns[Member](
    {
        "PRINCIPAL": lambda each: each.principal,
        "ROLE": lambda each: each.role,
    }
)


@app.command()
def create(
    context: typer.Context,
    team: TeamSlug,
    name: Annotated[
        str | None, typer.Option(help="As people read it; the slug if left out.")
    ] = None,
) -> None:
    """Create a team. It starts nothing until it is activated."""
    invocation = invocation_of(context)
    body = CreateTeam(slug=team, display_name=name or team)
    with refusals_about({"team": team}):
        created = invocation.api.command(TEAMS, Team, body)
    _show(context, created)
    invocation.output.hint(f"Next: {program_word()} team activate {team}")


@app.command("list")
def list_(
    context: typer.Context,
    state: StateFilter = None,
    prefix: NamePrefix = None,
    after: After = None,
    before: Before = None,
    limit: Limit = None,
) -> None:
    """List the teams you may see."""
    invocation = invocation_of(context)
    query = query_of(
        state=state,
        namePrefix=prefix,
        createdAfter=moment_of(after),
        createdBefore=moment_of(before),
    )
    found = list(invocation.api.all(TEAMS, Team, query, limit=limit))
    invocation.output.items(found, TEAM_COLUMNS)


@app.command()
def show(context: typer.Context, team: TeamSlug) -> None:
    """Show a team."""
    _show(context, invocation_of(context).api.get(TEAM.format(team=path_segment(team)), Team))


@app.command()
def describe(
    context: typer.Context,
    team: TeamSlug,
    name: Annotated[str, typer.Option(help="As people read it.")],
) -> None:
    """Change how a team is called; its slug stays."""
    path = TEAM.format(team=path_segment(team))
    _show(context, invocation_of(context).api.put(path, Team, DescribeTeam(display_name=name)))


@app.command()
def activate(context: typer.Context, team: TeamSlug) -> None:
    """Let a new team work."""
    _move(context, team, "activate")


@app.command()
def suspend(context: typer.Context, team: TeamSlug) -> None:
    """Stop a team from starting workflows."""
    _move(context, team, "suspend")


@app.command()
def resume(context: typer.Context, team: TeamSlug) -> None:
    """Let a suspended team work again."""
    _move(context, team, "resume")


@app.command()
def archive(
    context: typer.Context,
    team: TeamSlug,
    *,
    yes: Yes = False,
) -> None:
    """Close a suspended team for good, after its applications. Irreversible."""
    agree(
        invocation_of(context),
        f"Archive team {team} for good? Nothing brings it back.",
        whether=f"to archive team {team}, which nothing takes back",
        code="irreversible",
        is_agreed=yes,
    )
    _move(context, team, "archive")


@app.command()
def policy(
    context: typer.Context,
    team: TeamSlug,
    application_approval: Annotated[
        ApplicationApproval | None,
        typer.Option(help="Whether somebody has to approve a new application first."),
    ] = None,
    *,
    undo_on_failure: Annotated[
        bool | None,
        typer.Option(
            "--undo-on-failure/--keep-on-failure",
            help="Whether what a request has made is taken back by itself when it fails.",
        ),
    ] = None,
) -> None:
    """Show a team's policy, or change it; what is left out stays as it is."""
    invocation = invocation_of(context)
    path = TEAM_POLICY.format(team=path_segment(team))
    found, tag = invocation.api.look(path, TeamPolicy)
    given = {
        "application_approval": application_approval,
        "undo_on_failure": undo_on_failure,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if changes:
        wanted = found.model_copy(update=changes)
        found = invocation.api.put(path, TeamPolicy, wanted, if_match=tag)
    facts = (
        ("application approval", found.application_approval),
        ("undo on failure", found.undo_on_failure),
    )
    invocation.output.item(found, facts)


@app.command()
def limits(
    context: typer.Context,
    team: TeamSlug,
    applications: Annotated[
        str | None, typer.Option(help="How many applications, Archived ones left out.")
    ] = None,
    environments: Annotated[
        str | None, typer.Option(help="How many application environments, Retired ones left out.")
    ] = None,
    requests: Annotated[
        str | None,
        typer.Option(help="How many workflow requests at work at once; those above it wait."),
    ] = None,
) -> None:
    """Show what a team may have and has, or change it: a number, or `default`.

    What is left out stays as it is.
    """
    invocation = invocation_of(context)
    path = TEAM_LIMITS.format(team=path_segment(team))
    found, tag = invocation.api.look(path, TeamLimits)
    given = {
        "max_applications": ("--applications", applications),
        "max_application_environments": ("--environments", environments),
        "max_active_requests": ("--requests", requests),
    }
    changes = {
        field: _limit_in(option, text)
        for field, (option, text) in given.items()
        if text is not None
    }
    if changes:
        present = {field: getattr(found, field).own for field in given}
        body = SetTeamLimits.model_validate({**present, **changes})
        found = invocation.api.put(path, TeamLimits, body, if_match=tag)
    _show_limits(invocation, team, found)


@member.command("add")
def add_member(
    context: typer.Context,
    team: TeamSlug,
    principal: Principal,
    role: Annotated[TeamRole, typer.Option(help="What they may do.")] = TeamRole.TEAM_VIEWER,
) -> None:
    """Give somebody a role in a team; again to change it."""
    invocation = invocation_of(context)
    body = AddMember(principal=principal, role=role)
    with refusals_about({"team": team}):
        added = invocation.api.command(MEMBERS.format(team=path_segment(team)), Member, body)
    facts = (("team", added.team), ("principal", added.principal), ("role", added.role))
    invocation.output.item(added, facts)
    invocation.output.hint(f"Next: {program_word()} token create {principal}")


@member.command("remove")
def remove_member(context: typer.Context, team: TeamSlug, principal: Principal) -> None:
    """Take somebody out of a team; who is not in it stays out."""
    invocation = invocation_of(context)
    path = MEMBER.format(team=path_segment(team), principal=path_segment(principal))
    with refusals_about({"team": team}):
        invocation.api.delete(path)
    invocation.output.hint(f"{escape(principal)} is not in team {escape(team)}.")


@member.command("list")
def list_members(
    context: typer.Context,
    team: TeamSlug,
    role: Annotated[TeamRole | None, typer.Option(help="With this role only.")] = None,
    limit: Limit = None,
) -> None:
    """List a team's members."""
    invocation = invocation_of(context)
    path = MEMBERS.format(team=path_segment(team))
    members = list(invocation.api.all(path, Member, query_of(role=role), limit=limit))
    invocation.output.items(members, MEMBER_COLUMNS)


def _limit_in(option: str, text: str) -> int | None:
    """The number; none for the platform's default."""
    if text == NO_LIMIT_OF_ITS_OWN:
        return None
    if not text.isascii() or not text.isdigit():
        raise InvalidInput(
            f"{option}: {text!r} is neither a number nor `{NO_LIMIT_OF_ITS_OWN}`, which leaves it "
            "to the platform."
        )
    return int(text)


def _show_limits(invocation: Invocation, team: str, limits: TeamLimits) -> None:
    if invocation.output.is_for_programs:
        invocation.output.document(limits.model_dump(mode="json"))
        return
    table = plain_table("LIMIT OF " + team.upper(), "USED", "LIMIT", "SET BY")
    for column in table.columns[1:3]:
        column.justify = "right"
    for name, limit in (
        ("applications", limits.max_applications),
        ("application environments", limits.max_application_environments),
        ("requests at work", limits.max_active_requests),
    ):
        table.add_row(name, str(limit.used), _limit_text(limit), _limit_origin(limit))
    invocation.output.table(table)


def _limit_text(limit: TeamLimit) -> str:
    return "none" if limit.in_force is None else str(limit.in_force)


def _limit_origin(limit: TeamLimit) -> str:
    return "the platform" if limit.own is None else "the team's own"


def _move(context: typer.Context, team: str, move: str) -> None:
    path = TEAM_MOVE.format(team=path_segment(team), move=move)
    with refusals_about({"team": team}):
        moved = invocation_of(context).api.command(path, Team)
    _show(context, moved)


def _show(context: typer.Context, team: Team) -> None:
    facts = (
        ("team", team.slug),
        ("name", team.display_name),
        ("state", team.state),
        ("id", team.id),
        ("created", team.created_at),
    )
    invocation_of(context).output.item(team, facts)
