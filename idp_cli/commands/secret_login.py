"""`idp secret login`: the way to a value, which never passes here."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from idp_cli.advice import about_secret, refusals_about
from idp_cli.arguments import SecretName
from idp_cli.command_line import EXEC_OPTION
from idp_cli.invocation import Invocation, invocation_of
from idp_cli.output import program_word
from idp_cli.secret_addresses import address_of, find_secret
from idp_cli.store_login import (
    StoreToken,
    exchange,
    keep_token,
    read_command,
    revoke,
    run_with_token,
    set_command,
    store_client,
)
from idp_kernel.clock import SystemClock
from idp_kernel.errors import InvalidInput
from idp_kernel.wire.api import SECRET_LOGIN, Secret, SecretLogin
from idp_kernel.wire.base import Timestamp, WireModel


class StoreAccessGranted(WireModel):
    """What `idp secret login` answers to a pipeline."""

    secret_id: str
    link: str
    store_url: str
    namespace: str | None
    authorities: str | None
    """Who vouches for the store's certificate, as PEM; none are the well-known ones."""
    role: str
    read_command: str
    set_command: str | None
    token_file: str | None
    token: str | None
    """Only when it was asked for with `--print-token`."""
    token_expires_at: Timestamp | None


def login(
    context: typer.Context,
    secret: SecretName,
    command: Annotated[
        list[str] | None,
        typer.Argument(help=f"After {EXEC_OPTION}.", metavar="COMMAND", show_default=False),
    ] = None,
    *,
    exec_: Annotated[
        bool,
        typer.Option(
            EXEC_OPTION,
            help="Run the command that follows, with BAO_ADDR, BAO_TOKEN and, where the store has "
            "them, BAO_NAMESPACE and BAO_CACERT in its environment only, each as VAULT_… too; the "
            "token ends with it.",
        ),
    ] = False,
    store_token_file: Annotated[
        Path | None,
        typer.Option(help="Keep the store's token in this file, for your eyes only."),
    ] = None,
    print_token: Annotated[
        bool, typer.Option("--print-token", help="Show the store's token.")
    ] = False,
) -> None:
    """Get at a secret's value, in the store itself: a link, a command, a short-lived token."""
    invocation = invocation_of(context)
    if bool(command) != exec_:
        raise InvalidInput(f"A command to run stands after {EXEC_OPTION}, and only there.")
    found = find_secret(invocation.api, secret)
    path = SECRET_LOGIN.format(secret_id=found.id)
    with refusals_about(about_secret(found)):
        granted = invocation.api.command(path, SecretLogin)
        if not (command or print_token or store_token_file):
            _show_access(invocation, found, granted)
            return
        client = store_client(invocation, granted)
        token = exchange(granted, client, SystemClock())
    with ExitStack() as unless_kept:
        unless_kept.callback(revoke, token, client)
        if store_token_file is not None:
            keep_token(store_token_file, token.token)
            unless_kept.pop_all()
        if command:
            raise typer.Exit(run_with_token(command, granted, token.token))
        _show_access(
            invocation, found, granted, token, token_file=store_token_file, is_told=print_token
        )
        unless_kept.pop_all()


def _show_access(
    invocation: Invocation,
    secret: Secret,
    login: SecretLogin,
    token: StoreToken | None = None,
    *,
    token_file: Path | None = None,
    is_told: bool = False,
) -> None:
    access = StoreAccessGranted(
        secret_id=secret.id,
        link=login.link,
        store_url=login.store_url,
        namespace=login.namespace,
        authorities=login.authorities,
        role=login.role,
        read_command=read_command(secret, login),
        set_command=set_command(secret, login),
        token_file=None if token_file is None else str(token_file),
        token=token.token if token is not None and is_told else None,
        token_expires_at=None if token is None else token.expires_at,
    )
    facts = (
        ("secret", address_of(secret)),
        ("link", access.link),
        ("store", access.store_url),
        ("namespace", access.namespace),
        ("trusted by", None if access.authorities is None else _OF_ITS_OWN),
        ("signed in as", access.role),
        ("read it", access.read_command),
        ("set it", access.set_command),
        ("token", access.token or _without_token(token)),
        ("token file", access.token_file),
        ("token expires", access.token_expires_at),
    )
    invocation.output.item(access, facts)
    idp = program_word()
    invocation.output.hint(
        f"Next: {idp} secret login {secret.id} {EXEC_OPTION} {access.read_command}"
    )


_OF_ITS_OWN = f"authorities of its own; {EXEC_OPTION} trusts them, --output json shows them"


def _without_token(token: StoreToken | None) -> str:
    if token is not None:
        return "not shown"
    return f"none made; --print-token, --store-token-file or {EXEC_OPTION} makes one"
