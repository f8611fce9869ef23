"""`idp env`: an application in an environment."""

from __future__ import annotations

from typing import Annotated

import typer

from idp_cli.advice import about_application, about_application_environment, refusals_about
from idp_cli.agreement import agree
from idp_cli.api import (
    APPLICATION_ENVIRONMENT,
    APPLICATION_ENVIRONMENT_MOVE,
    APPLICATION_ENVIRONMENTS,
    ENVIRONMENTS_OF_APPLICATION,
    Api,
    path_segment,
)
from idp_cli.arguments import (
    ApplicationEnvironmentId,
    ApplicationName,
    EnvironmentFilter,
    EnvironmentSlug,
    Limit,
    StateFilter,
    TeamFilter,
    TeamOption,
    Yes,
    query_of,
)
from idp_cli.commands.applications import find_application
from idp_cli.commands.requests import finish, follow, show_accepted
from idp_cli.declared_secrets import SECRET_HELP, SECRET_METAVAR, parse_secrets
from idp_cli.invocation import Invocation, invocation_of
from idp_cli.output import Columns
from idp_cli.suggestions import application_slugs
from idp_kernel.errors import NotFound
from idp_kernel.wire.api import (
    Application,
    ApplicationEnvironment,
    Decommission,
    ProvisionEnvironment,
    RequestAccepted,
    SecretSummary,
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
    },
    spare=("REQUEST UNDER WAY", "TEAM"),
)
SECRET_COLUMNS = Columns[SecretSummary](
    {
        "SECRET": lambda secret: secret.name,
        "ISSUER": lambda secret: secret.issuer,
        "PURPOSE": lambda secret: secret.purpose,
        "STATE": lambda secret: secret.state,
        "VERSION": lambda secret: secret.version,
        "BINDING": lambda secret: secret.binding_state,
        "ID": lambda secret: secret.id,
    },
    spare=("PURPOSE", "BINDING", "VERSION"),
)


@app.command()
def provision(
    context: typer.Context,
    application: ApplicationName,
    environment: EnvironmentSlug,
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
        str | None,
        typer.Argument(
            help="Of this application only.", metavar="APP", autocompletion=application_slugs
        ),
    ] = None,
    team: TeamFilter = None,
    environment: EnvironmentFilter = None,
    state: StateFilter = None,
    limit: Limit = None,
) -> None:
    """List the application environments you may see."""
    invocation = invocation_of(context)
    query = query_of(team=team, environment=environment, state=state)
    path = APPLICATION_ENVIRONMENTS
    if application is not None:
        query.pop("team", None)  # which only tells applications of one name apart
        found_application = find_application(invocation.api, application, team)
        path = ENVIRONMENTS_OF_APPLICATION.format(application_id=found_application.id)
    found = list(invocation.api.all(path, ApplicationEnvironment, query, limit=limit))
    invocation.output.items(found, APPENV_COLUMNS)


@app.command()
def show(context: typer.Context, application_environment_id: ApplicationEnvironmentId) -> None:
    """Show an application environment, with its repository and secrets as references."""
    invocation = invocation_of(context)
    show_environment(invocation, get_environment(invocation, application_environment_id))


@app.command()
def freeze(context: typer.Context, application_environment_id: ApplicationEnvironmentId) -> None:
    """Let nothing be changed in an application environment for now."""
    _move(context, application_environment_id, "freeze")


@app.command()
def unfreeze(context: typer.Context, application_environment_id: ApplicationEnvironmentId) -> None:
    """Let an application environment be changed again."""
    _move(context, application_environment_id, "unfreeze")


@app.command()
def decommission(
    context: typer.Context,
    application_environment_id: ApplicationEnvironmentId,
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit.")] = "",
    *,
    yes: Yes = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show each step until the end.")] = False,
) -> None:
    """End a frozen application environment for good, with its secrets. Irreversible."""
    invocation = invocation_of(context)
    found = get_environment(invocation, application_environment_id)
    name = f"{found.team}/{found.application}/{found.environment}"
    agree(
        invocation,
        f"Decommission {name} for good? Its secrets are revoked, with their logins and every "
        "version of their values, which are destroyed, or deleted where the store is set to keep "
        "what ended; its repository is archived, and nothing of it is applied any more. No command "
        "brings it back.",
        whether=f"to decommission {name}, which nothing takes back",
        code="irreversible",
        is_agreed=yes,
    )
    path = APPLICATION_ENVIRONMENT_MOVE.format(
        application_environment_id=found.id, move="decommission"
    )
    with refusals_about(about_application_environment(found)):
        accepted = invocation.api.command(path, RequestAccepted, Decommission(reason=reason))
    if watch:
        finish(invocation, follow(invocation, accepted.request_id))
    show_accepted(invocation, accepted)


def _move(context: typer.Context, application_environment_id: str, move: str) -> None:
    invocation = invocation_of(context)
    found = get_environment(invocation, application_environment_id)
    path = APPLICATION_ENVIRONMENT_MOVE.format(application_environment_id=found.id, move=move)
    with refusals_about(about_application_environment(found)):
        moved = invocation.api.command(path, ApplicationEnvironment)
    show_environment(invocation, moved)


def environment_of(api: Api, application: Application, slug: str) -> ApplicationEnvironment:
    """The application in that environment; raises `NotFound`."""
    path = ENVIRONMENTS_OF_APPLICATION.format(application_id=application.id)
    found = next(iter(api.all(path, ApplicationEnvironment, {"environment": slug})), None)
    if found is None:
        raise NotFound(f"{application.team}/{application.slug} has no environment {slug}.")
    return found


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
    if found.secrets and not invocation.output.is_for_programs:
        invocation.output.console.print()
        invocation.output.columns(found.secrets, SECRET_COLUMNS)


def _body(environment: str, secrets: list[str]) -> ProvisionEnvironment:
    if not secrets:
        return ProvisionEnvironment(environment=environment)
    return ProvisionEnvironment(environment=environment, secrets=parse_secrets(secrets))
