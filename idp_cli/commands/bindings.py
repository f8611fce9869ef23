"""`idp binding`: what carries a secret into an application environment."""

from __future__ import annotations

from typing import Annotated

import typer

from idp_cli.advice import refusals_about
from idp_cli.api import BINDING, BINDING_MOVE, path_segment
from idp_cli.invocation import Invocation, invocation_of
from idp_kernel.wire.api import SecretBinding

app = typer.Typer(
    no_args_is_help=True, help="Bindings, which carry secrets into application environments."
)

BindingId = Annotated[
    str,
    typer.Argument(help="Its id, as `idp secret bindings` shows.", metavar="BINDING"),
]


@app.command()
def show(context: typer.Context, binding: BindingId) -> None:
    """Show a binding, and the version it pins."""
    invocation = invocation_of(context)
    path = BINDING.format(binding_id=path_segment(binding))
    _show(invocation, invocation.api.get(path, SecretBinding))


@app.command()
def suspend(context: typer.Context, binding: BindingId) -> None:
    """Let a binding carry no new version for now."""
    _move(context, binding, "suspend")


@app.command()
def resume(context: typer.Context, binding: BindingId) -> None:
    """Let a suspended binding carry versions again."""
    _move(context, binding, "resume")


def _move(context: typer.Context, binding: str, move: str) -> None:
    invocation = invocation_of(context)
    path = BINDING_MOVE.format(binding_id=path_segment(binding), move=move)
    with refusals_about({"bindingId": binding}):
        moved = invocation.api.command(path, SecretBinding)
    _show(invocation, moved)


def _show(invocation: Invocation, binding: SecretBinding) -> None:
    facts = (
        ("binding", binding.id),
        ("app", binding.application),
        ("environment", binding.environment),
        ("state", binding.state),
        ("version", binding.version),
        ("secret", binding.secret_id),
    )
    invocation.output.item(binding, facts)
