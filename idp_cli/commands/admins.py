"""`idp admin`: who may do everything."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from idp_cli.agreement import agree
from idp_cli.api import PLATFORM_ADMIN, PLATFORM_ADMINS, WHOAMI, path_segment
from idp_cli.arguments import Limit
from idp_cli.invocation import invocation_of
from idp_cli.output import Columns
from idp_cli.suggestions import platform_admins
from idp_kernel.wire.api import PlatformAdmin, WhoAmI

app = typer.Typer(
    no_args_is_help=True,
    help="Platform admins, who may do everything; `token create --platform-admin` makes one.",
)

ADMIN_COLUMNS = Columns[PlatformAdmin](
    {
        "PRINCIPAL": lambda admin: admin.principal,
        "TOKEN GOOD UNTIL": lambda admin: admin.token_good_until,
    }
)


@app.command("list")
def list_(context: typer.Context, limit: Limit = None) -> None:
    """List who is a platform admin, and until when each has a token that is good."""
    invocation = invocation_of(context)
    admins = list(invocation.api.all(PLATFORM_ADMINS, PlatformAdmin, limit=limit))
    invocation.output.items(admins, ADMIN_COLUMNS)


@app.command()
def remove(
    context: typer.Context,
    principal: Annotated[
        str,
        typer.Argument(
            help="Who is to be none any more.",
            metavar="PRINCIPAL",
            autocompletion=platform_admins,
        ),
    ],
    *,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", "-y", help="Do not ask; needed for yourself where nobody can answer."
        ),
    ] = False,
) -> None:
    """Take the platform admin's role from a person or pipeline, and so from all its tokens.

    They work on, with its roles in teams. Who is no platform admin stays none. Yourself you cannot
    make one again.
    """
    invocation = invocation_of(context)
    me = invocation.api.get(WHOAMI, WhoAmI)
    if me.platform_admin and me.principal == principal:
        agree(
            invocation,
            "Be no platform admin any more? Only another one can make you one again.",
            whether="you want to be no platform admin any more, which you cannot take back",
            code="irreversible",
            is_agreed=yes,
        )
    invocation.api.delete(PLATFORM_ADMIN.format(principal=path_segment(principal)))
    invocation.output.hint(f"{escape(principal)} is no platform admin.")
