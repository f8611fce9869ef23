"""`idp environment`: the environments there are for all applications, such as dev and prod."""

from __future__ import annotations

from typing import Annotated

import typer

from idp_cli.api import ENVIRONMENT_MOVE, ENVIRONMENTS, path_segment
from idp_cli.invocation import invocation_of
from idp_cli.output import Columns, program_word
from idp_kernel.wire.api import CreateEnvironment, Environment

app = typer.Typer(no_args_is_help=True, help="Environments for all applications: dev, prod, …")

EnvironmentSlug = Annotated[
    str, typer.Argument(help="The environment's slug.", metavar="ENVIRONMENT")
]

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
    _show(context, invocation.api.command(ENVIRONMENTS, Environment, body))
    invocation.output.hint(f"Next: {program_word()} environment activate {environment}")


@app.command("list")
def list_(context: typer.Context) -> None:
    """List the environments."""
    invocation = invocation_of(context)
    environments = list(invocation.api.all(ENVIRONMENTS, Environment))
    invocation.output.items(environments, ENVIRONMENT_COLUMNS)


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
def retire(context: typer.Context, environment: EnvironmentSlug) -> None:
    """Close it for good."""
    _move(context, environment, "retire")


def _move(context: typer.Context, environment: str, move: str) -> None:
    path = ENVIRONMENT_MOVE.format(environment=path_segment(environment), move=move)
    _show(context, invocation_of(context).api.command(path, Environment))


def _show(context: typer.Context, environment: Environment) -> None:
    facts = (
        ("environment", environment.slug),
        ("state", environment.state),
        ("description", environment.description),
        ("id", environment.id),
        ("created", environment.created_at),
    )
    invocation_of(context).output.item(environment, facts)
