"""`idp events`: what happened, in the order it was committed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.markup import escape

from idp_cli.api import EVENT_STREAM, EVENTS
from idp_cli.arguments import After, Before, Limit, Query, TeamFilter, moment_of, query_of
from idp_cli.exits import ExitCode
from idp_cli.invocation import Invocation, invocation_of
from idp_cli.output import cell
from idp_cli.streams import is_not_offered, streamed
from idp_cli.suggestions import request_ids
from idp_kernel.errors import NotFound
from idp_kernel.http.event_stream import Message
from idp_kernel.wire.api import EVENTS_GONE, Event, EventsGone

LOOK_EVERY_SECONDS = 1.0
"""At an older server, which has no stream."""


def events(
    context: typer.Context,
    request: Annotated[
        str | None, typer.Option(help="Of this request only.", autocompletion=request_ids)
    ] = None,
    team: TeamFilter = None,
    subject: Annotated[
        str | None, typer.Option(help="About this only, such as application/ID.")
    ] = None,
    event_type: Annotated[
        str | None, typer.Option("--type", help="Of this type only, such as team_created.")
    ] = None,
    after: After = None,
    before: Before = None,
    limit: Limit = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with new ones until Ctrl-C.")
    ] = False,
) -> None:
    """Show domain events, oldest first; JSON gives one a line, YAML a document each."""
    invocation = invocation_of(context)
    query = query_of(
        requestId=request,
        team=team,
        subject=subject,
        type=event_type,
        occurredAfter=moment_of(after),
        occurredBefore=moment_of(before),
    )
    last = _show_after(invocation, query, 0, limit)
    if follow:
        try:
            for event in _new_events(invocation, query, last):
                _show(invocation, event)
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None


def _new_events(invocation: Invocation, query: Query, last: int) -> Iterator[Event]:
    """What comes after sequence number `last`, without end."""
    try:
        yield from streamed(
            invocation.api,
            EVENT_STREAM,
            Event,
            query,
            after=str(last),
            tell=lambda message: _tell_gap(invocation, message),
        )
    except NotFound as error:
        if not is_not_offered(error):
            raise
    while True:
        for event in invocation.api.all(EVENTS, Event, {**query, "after": last}):
            yield event
            last = event.sequence
        time.sleep(LOOK_EVERY_SECONDS)


def _tell_gap(invocation: Invocation, message: Message) -> None:
    """Says where some are missing; what else a newer server may tell concerns nobody here."""
    if message.type == EVENTS_GONE:
        gone = EventsGone.model_validate_json(message.data)
        invocation.narrator.say(f"[yellow]![/] {escape(gone.detail)}")


def _show_after(invocation: Invocation, query: Query, last: int, limit: int | None = None) -> int:
    """Shows what came after sequence number `last`; answers the newest one shown."""
    for event in invocation.api.all(EVENTS, Event, {**query, "after": last}, limit=limit):
        _show(invocation, event)
        last = event.sequence
    return last


def _show(invocation: Invocation, event: Event) -> None:
    if invocation.output.is_for_programs:
        invocation.output.line(event)
        return
    line = f"{event.sequence:>6}  {cell(event.occurred_at)}  {event.type:<48}  {event.subject}"
    invocation.output.console.print(line, soft_wrap=True, highlight=False, markup=False)
