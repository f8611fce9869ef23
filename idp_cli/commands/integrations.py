"""`idp integration`: what links an application to its deployment repository."""

from __future__ import annotations

from typing import Annotated

import typer

from idp_cli.api import INTEGRATION, INTEGRATIONS_OF_APPLICATION, path_segment
from idp_cli.arguments import ApplicationName, Limit, TeamOption
from idp_cli.commands.applications import find_application
from idp_cli.invocation import invocation_of
from idp_cli.output import Columns
from idp_kernel.wire.api import GitOpsIntegration

app = typer.Typer(
    no_args_is_help=True, help="GitOps integrations: applications and what says what runs."
)

INTEGRATION_COLUMNS = Columns[GitOpsIntegration](
    {
        "INTEGRATION": lambda each: each.id,
        "APP": lambda each: each.application,
        "STATE": lambda each: each.state,
        "REPOSITORY": lambda each: each.repository_id,
    }
)


@app.command("list")
def list_(
    context: typer.Context,
    application: ApplicationName,
    team: TeamOption = None,
    limit: Limit = None,
) -> None:
    """List an application's GitOps integrations."""
    invocation = invocation_of(context)
    found = find_application(invocation.api, application, team)
    path = INTEGRATIONS_OF_APPLICATION.format(application_id=found.id)
    integrations = list(invocation.api.all(path, GitOpsIntegration, limit=limit))
    invocation.output.items(integrations, INTEGRATION_COLUMNS)


@app.command()
def show(
    context: typer.Context,
    integration_id: Annotated[str, typer.Argument(help="Its id.", metavar="INTEGRATION")],
) -> None:
    """Show a GitOps integration."""
    invocation = invocation_of(context)
    path = INTEGRATION.format(integration_id=path_segment(integration_id))
    found = invocation.api.get(path, GitOpsIntegration)
    facts = (
        ("app", found.application),
        ("team", found.team),
        ("state", found.state),
        ("repository", found.repository_id),
        ("id", found.id),
    )
    invocation.output.item(found, facts)
