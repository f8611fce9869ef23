"""`idp environment`: the environments there are for all applications, such as dev and prod."""

from __future__ import annotations

from typing import Annotated

import typer

from idp_cli.advice import refusals_about
from idp_cli.agreement import agree
from idp_cli.api import ENVIRONMENT, ENVIRONMENT_MOVE, ENVIRONMENTS, path_segment
from idp_cli.arguments import EnvironmentSlug, Limit, NamePrefix, StateFilter, Yes, query_of
from idp_cli.invocation import invocation_of
from idp_cli.output import Columns, program_word
from idp_kernel.wire.api import CreateEnvironment, DescribeEnvironment, Environment

app = typer.Typer(no_args_is_help=True, help="Environments for all applications: dev, prod, …")

ENVIRONMENT_COLUMNS = Columns[Environment](
    {
        "ENVIRONMENT": lambda environment: environment.slug,
        "STATE": lambda environment: environment.state,
        "DESCRIPTION": lambda environment: environment.description,
        "CREATED": lambda environment: environment.created_at,
    }
)


@app.command()
def create(
    context: typer.Context,
    environment: EnvironmentSlug,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Plan an environment. Applications can have it once it is activated."""
    invocation = invocation_of(context)
    body = CreateEnvironment(slug=environment, description=description)
    with refusals_about({"environment": environment}):
        created = invocation.api.command(ENVIRONMENTS, Environment, body)
    _show(context, created)
    invocation.output.hint(f"Next: {program_word()} environment activate {environment}")


@app.command("list")
def list_(
    context: typer.Context,
    state: StateFilter = None,
    prefix: NamePrefix = None,
    limit: Limit = None,
) -> None:
    """List the environments."""
    invocation = invocation_of(context)
    query = query_of(state=state, namePrefix=prefix)
    environments = list(invocation.api.all(ENVIRONMENTS, Environment, query, limit=limit))
    invocation.output.items(environments, ENVIRONMENT_COLUMNS)


@app.command()
def show(context: typer.Context, environment: EnvironmentSlug) -> None:
    """Show an environment."""
    path = ENVIRONMENT.format(environment=path_segment(environment))
    _show(context, invocation_of(context).api.get(path, Environment))


@app.command()
def describe(
    context: typer.Context,
    environment: EnvironmentSlug,
    description: Annotated[str, typer.Option(help="What it is for.")],
) -> None:
    """Change what an environment says it is for; its slug stays."""
    path = ENVIRONMENT.format(environment=path_segment(environment))
    body = DescribeEnvironment(description=description)
    _show(context, invocation_of(context).api.put(path, Environment, body))


@app.command()
def activate(context: typer.Context, environment: EnvironmentSlug) -> None:
    """Let applications have it."""
    _move(context, environment, "activate")


@app.command()
def freeze(context: typer.Context, environment: EnvironmentSlug) -> None:
    """Let nothing be provisioned in it for now."""
    _move(context, environment, "freeze")


@app.command()
def unfreeze(context: typer.Context, environment: EnvironmentSlug) -> None:
    """Let it be provisioned again."""
    _move(context, environment, "unfreeze")


@app.command()
def retire(
    context: typer.Context,
    environment: EnvironmentSlug,
    *,
    yes: Yes = False,
) -> None:
    """Close it for good. Irreversible."""
    agree(
        invocation_of(context),
        f"Retire environment {environment} for good? Nothing is provisioned in it any more.",
        whether=f"to retire environment {environment}, which nothing takes back",
        code="irreversible",
        is_agreed=yes,
    )
    _move(context, environment, "retire")


def _move(context: typer.Context, environment: str, move: str) -> None:
    path = ENVIRONMENT_MOVE.format(environment=path_segment(environment), move=move)
    with refusals_about({"environment": environment}):
        moved = invocation_of(context).api.command(path, Environment)
    _show(context, moved)


def _show(context: typer.Context, environment: Environment) -> None:
    facts = (
        ("environment", environment.slug),
        ("state", environment.state),
        ("description", environment.description),
        ("id", environment.id),
        ("created", environment.created_at),
    )
    invocation_of(context).output.item(environment, facts)
