"""`idp token` and `idp whoami`: how people and pipelines prove who they are."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from idp_cli.api import TOKEN, TOKENS, WHOAMI, path_segment
from idp_cli.invocation import invocation_of
from idp_cli.output import Columns
from idp_kernel.wire.api import CreatedToken, CreateToken, Token, WhoAmI

app = typer.Typer(no_args_is_help=True, help="Bearer tokens of people and pipelines.")

SECONDS_PER_DAY = 24 * 3600

TOKEN_COLUMNS = Columns[Token](
    {
        "ID": lambda token: token.id,
        "PRINCIPAL": lambda token: token.principal,
        "CREATED": lambda token: token.created_at,
        "EXPIRES": lambda token: token.expires_at,
        "REVOKED": lambda token: token.revoked_at,
    }
)


@app.command()
def create(
    context: typer.Context,
    principal: Annotated[str, typer.Argument(help="Whose token it is.")],
    *,
    platform_admin: Annotated[
        bool, typer.Option("--platform-admin", help="Make the principal a platform admin.")
    ] = False,
    expires_in_days: Annotated[int, typer.Option(min=1, max=366, help="How long it is good.")] = 90,
) -> None:
    """Create a token. It is shown now and never again; the platform keeps its hash."""
    invocation = invocation_of(context)
    body = CreateToken(
        principal=principal,
        platform_admin=platform_admin,
        expires_in_seconds=expires_in_days * SECONDS_PER_DAY,
    )
    created = invocation.api.command(TOKENS, CreatedToken, body)
    facts = (
        ("token", created.token),
        ("id", created.id),
        ("principal", created.principal),
        ("expires", created.expires_at),
    )
    invocation.output.item(created, facts)
    invocation.output.hint("Keep it now: it is not shown again. Use it as IDP_TOKEN.")


@app.command("list")
def list_(context: typer.Context) -> None:
    """List tokens, without the tokens themselves."""
    invocation = invocation_of(context)
    invocation.output.items(list(invocation.api.all(TOKENS, Token)), TOKEN_COLUMNS)


@app.command()
def revoke(
    context: typer.Context,
    token_id: Annotated[str, typer.Argument(help="The token's id, as `idp token list` shows.")],
) -> None:
    """Revoke a token; it stops working at once and for good."""
    invocation = invocation_of(context)
    invocation.api.delete(TOKEN.format(token_id=path_segment(token_id)))
    invocation.output.hint(f"The token {escape(token_id)} works no longer.")


def whoami(context: typer.Context) -> None:
    """Show whom your token stands for, and your roles."""
    invocation = invocation_of(context)
    me = invocation.api.get(WHOAMI, WhoAmI)
    roles = [(f"team {team}", role) for team, role in sorted(me.teams.items())]
    facts = (
        ("principal", me.principal),
        ("platform admin", me.platform_admin),
        *roles,
        ("token expires", me.token_expires_at),
    )
    invocation.output.item(me, facts)
