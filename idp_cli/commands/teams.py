"""`idp team`: who owns applications, and who belongs to whom."""

from __future__ import annotations

from typing import Annotated

import typer

from idp_cli.api import MEMBERS, TEAM, TEAM_MOVE, TEAM_POLICY, TEAMS, path_segment
from idp_cli.invocation import invocation_of
from idp_cli.output import Columns, program_word
from idp_kernel.wire.api import (
    AddMember,
    ApplicationApproval,
    CreateTeam,
    Member,
    Team,
    TeamPolicy,
)
from idp_kernel.wire.engine import TeamRole

app = typer.Typer(no_args_is_help=True, help="Teams and their members.")
member = typer.Typer(no_args_is_help=True, help="Who belongs to a team, and as what.")
app.add_typer(member, name="member")

TeamSlug = Annotated[str, typer.Argument(help="The team's slug.", metavar="TEAM")]

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
    _show(context, invocation.api.command(TEAMS, Team, body))
    invocation.output.hint(f"Next: {program_word()} team activate {team}")


@app.command("list")
def list_(context: typer.Context) -> None:
    """List the teams you may see."""
    invocation = invocation_of(context)
    invocation.output.items(list(invocation.api.all(TEAMS, Team)), TEAM_COLUMNS)


@app.command()
def show(context: typer.Context, team: TeamSlug) -> None:
    """Show a team."""
    _show(context, invocation_of(context).api.get(TEAM.format(team=path_segment(team)), Team))


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
def archive(context: typer.Context, team: TeamSlug) -> None:
    """Close a team for good."""
    _move(context, team, "archive")


@app.command()
def policy(
    context: typer.Context,
    team: TeamSlug,
    application_approval: Annotated[
        ApplicationApproval | None,
        typer.Option(help="Whether somebody has to approve a new application first."),
    ] = None,
) -> None:
    """Show a team's policy, or change it."""
    invocation = invocation_of(context)
    path = TEAM_POLICY.format(team=path_segment(team))
    if application_approval is None:
        found = invocation.api.get(path, TeamPolicy)
    else:
        wanted = TeamPolicy(application_approval=application_approval)
        found = invocation.api.put(path, TeamPolicy, wanted)
    invocation.output.item(found, (("application approval", found.application_approval),))


@member.command("add")
def add_member(
    context: typer.Context,
    team: TeamSlug,
    principal: Annotated[str, typer.Argument(help="The person's or pipeline's name.")],
    role: Annotated[TeamRole, typer.Option(help="What they may do.")] = TeamRole.TEAM_VIEWER,
) -> None:
    """Add a member to a team."""
    invocation = invocation_of(context)
    body = AddMember(principal=principal, role=role)
    added = invocation.api.command(MEMBERS.format(team=path_segment(team)), Member, body)
    facts = (("team", added.team), ("principal", added.principal), ("role", added.role))
    invocation.output.item(added, facts)
    invocation.output.hint(f"Next: {program_word()} token create {principal}")


@member.command("list")
def list_members(context: typer.Context, team: TeamSlug) -> None:
    """List a team's members."""
    invocation = invocation_of(context)
    members = list(invocation.api.all(MEMBERS.format(team=path_segment(team)), Member))
    invocation.output.items(members, MEMBER_COLUMNS)


def _move(context: typer.Context, team: str, move: str) -> None:
    path = TEAM_MOVE.format(team=path_segment(team), move=move)
    _show(context, invocation_of(context).api.command(path, Team))


def _show(context: typer.Context, team: Team) -> None:
    facts = (
        ("team", team.slug),
        ("name", team.display_name),
        ("state", team.state),
        ("id", team.id),
        ("created", team.created_at),
    )
    invocation_of(context).output.item(team, facts)
