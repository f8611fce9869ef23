"""`idp app`: applications and the team each belongs to."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from idp_cli.api import APPLICATION, APPLICATIONS, Api, path_segment
from idp_cli.invocation import invocation_of
from idp_cli.output import Columns, program_word
from idp_kernel.errors import Conflict, NotFound
from idp_kernel.ids import ID_PATTERN
from idp_kernel.wire.api import Application, RegisterApplication

app = typer.Typer(no_args_is_help=True, help="Applications.")

ApplicationName = Annotated[
    str, typer.Argument(help="The application's slug or id.", metavar="APP")
]
TeamOption = Annotated[
    str | None, typer.Option("--team", help="The team, where two have a name in common.")
]

APPLICATION_COLUMNS = Columns[Application](
    {
        "APP": lambda application: application.slug,
        "TEAM": lambda application: application.team,
        "STATE": lambda application: application.state,
        "ID": lambda application: application.id,
        "CREATED": lambda application: application.created_at,
    }
)


@app.command()
def register(
    context: typer.Context,
    team: Annotated[str, typer.Argument(help="The team it belongs to, for ever.")],
    application: Annotated[str, typer.Argument(help="Its slug.", metavar="APP")],
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Register an application of a team."""
    invocation = invocation_of(context)
    body = RegisterApplication(team=team, slug=application, description=description)
    _show(context, invocation.api.command(APPLICATIONS, Application, body))
    invocation.output.hint(f"Next: {program_word()} env provision {application} dev --watch")


@app.command("list")
def list_(
    context: typer.Context,
    team: Annotated[str | None, typer.Option(help="Of this team only.")] = None,
) -> None:
    """List the applications you may see."""
    invocation = invocation_of(context)
    query = {"team": team} if team else {}
    found = list(invocation.api.all(APPLICATIONS, Application, query))
    invocation.output.items(found, APPLICATION_COLUMNS)


@app.command()
def show(context: typer.Context, application: ApplicationName, team: TeamOption = None) -> None:
    """Show an application."""
    _show(context, find_application(invocation_of(context).api, application, team))


def find_application(api: Api, name: str, team: str | None) -> Application:
    """The application a person means by a slug or id.

    Raises `NotFound` when there is none they may see, `Conflict` when several have that slug.
    """
    if re.fullmatch(ID_PATTERN, name):
        return api.get(APPLICATION.format(application_id=path_segment(name)), Application)
    query = {"slug": name, **({"team": team} if team else {})}
    found = list(api.all(APPLICATIONS, Application, query))
    if not found:
        where = f" in team {team}" if team else ""
        raise NotFound(f"There is no application {name}{where} that your token may see.")
    if len(found) > 1:
        teams = ", ".join(sorted(each.team for each in found))
        raise Conflict(f"Several teams have an application {name}: {teams}. Say which: --team.")
    return found[0]


def _show(context: typer.Context, application: Application) -> None:
    facts = (
        ("app", application.slug),
        ("team", application.team),
        ("state", application.state),
        ("description", application.description),
        ("id", application.id),
        ("created", application.created_at),
    )
    invocation_of(context).output.item(application, facts)
