"""`idp token` and `idp whoami`: how people and pipelines prove who they are."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from idp_cli.api import TOKEN, TOKENS, WHOAMI, path_segment
from idp_cli.arguments import After, Before, Limit, moment_of, query_of
from idp_cli.durations import DURATION_FORM, parse_duration
from idp_cli.invocation import Invocation, invocation_of
from idp_cli.output import Columns
from idp_cli.suggestions import token_ids
from idp_kernel.wire.api import CreatedToken, CreateToken, Token, WhoAmI

app = typer.Typer(no_args_is_help=True, help="Bearer tokens of people and pipelines.")

TokenId = Annotated[
    str,
    typer.Argument(
        help="The token's id, as `idp token list` shows.",
        metavar="TOKEN_ID",
        autocompletion=token_ids,
    ),
]

TOKEN_COLUMNS = Columns[Token](
    {
        "ID": lambda token: token.id,
        "PRINCIPAL": lambda token: token.principal,
        "LAST USED": lambda token: token.last_used_at,
        "EXPIRES": lambda token: token.expires_at,
        "REVOKED": lambda token: token.revoked_at,
    },
    spare=("LAST USED",),
)


@app.command()
def create(
    context: typer.Context,
    principal: Annotated[str, typer.Argument(help="Whose token it is.", metavar="PRINCIPAL")],
    *,
    platform_admin: Annotated[
        bool, typer.Option("--platform-admin", help="Make the principal a platform admin.")
    ] = False,
    expires: Annotated[str, typer.Option(help=f"How long it is good: {DURATION_FORM}.")] = "90d",
) -> None:
    """Create a token. It is shown now and never again; the platform keeps its hash."""
    invocation = invocation_of(context)
    body = CreateToken(
        principal=principal,
        platform_admin=platform_admin,
        expires_in_seconds=parse_duration(expires),
    )
    created = invocation.api.command(TOKENS, CreatedToken, body)
    facts = (
        ("token", created.token),
        ("id", created.id),
        ("principal", created.principal),
        ("expires", created.expires_at),
    )
    invocation.output.item(created, facts)
    if created.platform_admin:
        invocation.output.hint(
            f"{escape(created.principal)} is a platform admin: it opens everything."
        )
    invocation.output.hint("Keep it now: it is not shown again. Use it as IDP_TOKEN.")


@app.command("list")
def list_(
    context: typer.Context,
    principal: Annotated[str | None, typer.Option(help="Of this person or pipeline only.")] = None,
    after: After = None,
    before: Before = None,
    limit: Limit = None,
) -> None:
    """List tokens, without the tokens themselves; everybody's for platform admins."""
    invocation = invocation_of(context)
    query = query_of(
        principal=principal, createdAfter=moment_of(after), createdBefore=moment_of(before)
    )
    found = list(invocation.api.all(TOKENS, Token, query, limit=limit))
    invocation.output.items(found, TOKEN_COLUMNS)


@app.command()
def show(context: typer.Context, token_id: TokenId) -> None:
    """Show a token, without the token itself, and when it was used last."""
    invocation = invocation_of(context)
    path = TOKEN.format(token_id=path_segment(token_id))
    _show(invocation, invocation.api.get(path, Token))


@app.command()
def revoke(context: typer.Context, token_id: TokenId) -> None:
    """Revoke a token; it stops working at once and for good."""
    invocation = invocation_of(context)
    invocation.api.delete(TOKEN.format(token_id=path_segment(token_id)))
    invocation.output.hint(f"The token {escape(token_id)} works no longer.")


def _show(invocation: Invocation, token: Token) -> None:
    facts = (
        ("id", token.id),
        ("principal", token.principal),
        ("platform admin", token.platform_admin),
        ("created", token.created_at),
        ("last used", token.last_used_at),
        ("expires", token.expires_at),
        ("revoked", token.revoked_at),
    )
    invocation.output.item(token, facts)


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
