"""`idp events`: what happened, in the order it was committed."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from idp_cli.api import EVENTS
from idp_cli.invocation import Invocation, invocation_of
from idp_cli.output import cell
from idp_kernel.wire.api import Event

FOLLOW_EVERY_SECONDS = 1.0


def events(
    context: typer.Context,
    request: Annotated[str | None, typer.Option(help="Of this request only.")] = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with new ones until Ctrl-C.")
    ] = False,
) -> None:
    """Show domain events, oldest first; with JSON one a line."""
    invocation = invocation_of(context)
    query: dict[str, str | int] = {"requestId": request} if request else {}
    last = _show_after(invocation, query, 0)
    while follow:
        time.sleep(FOLLOW_EVERY_SECONDS)
        last = _show_after(invocation, query, last)


def _show_after(invocation: Invocation, query: dict[str, str | int], last: int) -> int:
    """Shows what came after sequence number `last`; answers the newest one shown."""
    for event in invocation.api.all(EVENTS, Event, {**query, "after": last}):
        _show(invocation, event)
        last = event.sequence
    return last


def _show(invocation: Invocation, event: Event) -> None:
    if invocation.output.is_json:
        invocation.output.line(event)
        return
    line = f"{event.sequence:>6}  {cell(event.occurred_at)}  {event.type:<48}  {event.subject}"
    invocation.output.console.print(line, soft_wrap=True, highlight=False, markup=False)
