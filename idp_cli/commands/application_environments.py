"""`idp env`: an application in an environment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from idp_cli.advice import about_application, refusals_about
from idp_cli.api import (
    APPLICATION_ENVIRONMENT,
    APPLICATIONS,
    ENVIRONMENTS_OF_APPLICATION,
    Api,
    path_segment,
)
from idp_cli.commands.applications import ApplicationName, TeamOption, find_application
from idp_cli.commands.requests import finish, follow, show_accepted
from idp_cli.declared_secrets import SECRET_HELP, SECRET_METAVAR, parse_secrets
from idp_cli.invocation import Invocation, invocation_of
from idp_cli.output import Columns, cell, plain_table
from idp_kernel.wire.api import (
    Application,
    ApplicationEnvironment,
    ProvisionEnvironment,
    RequestAccepted,
)

app = typer.Typer(no_args_is_help=True, help="Applications in environments.")

APPENV_COLUMNS = Columns[ApplicationEnvironment](
    {
        "APP": lambda each: each.application,
        "ENVIRONMENT": lambda each: each.environment,
        "TEAM": lambda each: each.team,
        "STATE": lambda each: each.state,
        "ID": lambda each: each.id,
        "REQUEST UNDER WAY": lambda each: each.active_request_id,
    }
)


@app.command()
def provision(
    context: typer.Context,
    application: ApplicationName,
    environment: Annotated[
        str, typer.Argument(help="The environment's slug.", metavar="ENVIRONMENT")
    ],
    team: TeamOption = None,
    secret: Annotated[
        list[str] | None, typer.Option(metavar=SECRET_METAVAR, help=SECRET_HELP)
    ] = None,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show each step until the request has ended.")
    ] = False,
) -> None:
    """Provision an environment for an application: repository, protection, secrets, GitOps."""
    invocation = invocation_of(context)
    body = _body(environment, secret or [])
    found = find_application(invocation.api, application, team)
    path = ENVIRONMENTS_OF_APPLICATION.format(application_id=found.id)
    with refusals_about({**about_application(found), "environment": environment}):
        accepted = invocation.api.command(path, RequestAccepted, body)
    if watch:
        finish(invocation, follow(invocation, accepted.request_id))
    show_accepted(invocation, accepted)


@app.command("list")
def list_(
    context: typer.Context,
    application: Annotated[
        str | None, typer.Argument(help="Of this application only.", metavar="APP")
    ] = None,
    team: Annotated[str | None, typer.Option(help="Of this team only.")] = None,
) -> None:
    """List the application environments you may see."""
    invocation = invocation_of(context)
    found = [
        environment
        for each in _applications(invocation.api, application, team)
        for environment in invocation.api.all(
            ENVIRONMENTS_OF_APPLICATION.format(application_id=each.id), ApplicationEnvironment
        )
    ]
    invocation.output.items(found, APPENV_COLUMNS)


@app.command()
def show(
    context: typer.Context,
    application_environment_id: Annotated[str, typer.Argument(help="Its id.", metavar="ID")],
) -> None:
    """Show an application environment, with its repository and secrets as references."""
    invocation = invocation_of(context)
    show_environment(invocation, get_environment(invocation, application_environment_id))


def _applications(api: Api, name: str | None, team: str | None) -> Iterable[Application]:
    if name is not None:
        return [find_application(api, name, team)]
    return api.all(APPLICATIONS, Application, {"team": team} if team else {})


def get_environment(
    invocation: Invocation, application_environment_id: str
) -> ApplicationEnvironment:
    """One application environment as it stands now."""
    path = APPLICATION_ENVIRONMENT.format(
        application_environment_id=path_segment(application_environment_id)
    )
    return invocation.api.get(path, ApplicationEnvironment)


def show_environment(invocation: Invocation, found: ApplicationEnvironment) -> None:
    """Its references; never a secret's value, which nothing here knows."""
    facts = (
        ("app", found.application),
        ("environment", found.environment),
        ("team", found.team),
        ("state", found.state),
        ("repository", found.repository_url or found.repository_name),
        ("revision", found.revision),
        ("request under way", found.active_request_id),
        ("id", found.id),
    )
    invocation.output.item(found, facts)
    if found.secrets and not invocation.output.is_json:
        table = plain_table("SECRET", "ISSUER", "PURPOSE", "STATE", "VERSION", "BINDING", "ID")
        for each in found.secrets:
            table.add_row(
                each.name,
                each.issuer,
                each.purpose,
                cell(each.state),
                cell(each.version),
                cell(each.binding_state),
                each.id,
            )
        invocation.output.console.print()
        invocation.output.table(table)


def _body(environment: str, secrets: list[str]) -> ProvisionEnvironment:
    if not secrets:
        return ProvisionEnvironment(environment=environment)
    return ProvisionEnvironment(environment=environment, secrets=parse_secrets(secrets))
