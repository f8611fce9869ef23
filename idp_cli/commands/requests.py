"""`idp request`: what workflows were asked for, and how far each is."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from idp_cli.api import CANCELLATION, REQUEST, REQUESTS, RETRY, path_segment
from idp_cli.exits import ExitCode
from idp_cli.invocation import Invocation, invocation_of
from idp_cli.output import Columns, program_word
from idp_cli.step_view import FollowedRequest, step_table
from idp_kernel.wire.api import CancelRequest, RequestAccepted, RetryRequest, WorkflowRequest
from idp_kernel.workflows import RequestState

app = typer.Typer(no_args_is_help=True, help="Workflow requests.")

RequestId = Annotated[str, typer.Argument(help="The request's id.", metavar="REQUEST")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the audit.")]

REQUEST_COLUMNS = Columns[WorkflowRequest](
    {
        "REQUEST": lambda request: request.id,
        "WORKFLOW": lambda request: request.workflow,
        "STATE": lambda request: request.state,
        "TEAM": lambda request: request.team,
        "ATTEMPT": lambda request: request.attempt,
        "BY": lambda request: request.requested_by,
        "CREATED": lambda request: request.created_at,
    }
)


@app.command("list")
def list_(
    context: typer.Context,
    team: Annotated[str | None, typer.Option(help="Of this team only.")] = None,
    state: Annotated[RequestState | None, typer.Option(help="In this state only.")] = None,
) -> None:
    """List workflow requests, the newest first."""
    invocation = invocation_of(context)
    query = {name: value for name, value in (("team", team), ("state", state)) if value}
    invocation.output.items(
        list(invocation.api.all(REQUESTS, WorkflowRequest, query)), REQUEST_COLUMNS
    )


@app.command()
def show(context: typer.Context, request_id: RequestId) -> None:
    """Show a request with its steps."""
    invocation = invocation_of(context)
    request = get_request(invocation, request_id)
    show_request(invocation, request)


@app.command()
def watch(context: typer.Context, request_id: RequestId) -> None:
    """Show each step live until the request has ended; the exit code tells how."""
    invocation = invocation_of(context)
    finish(invocation, follow(invocation, request_id))


@app.command()
def cancel(context: typer.Context, request_id: RequestId, reason: Reason = "") -> None:
    """Ask for a request to stop; a step under way is interrupted, and none starts after it."""
    invocation = invocation_of(context)
    path = CANCELLATION.format(request_id=path_segment(request_id))
    body = CancelRequest(reason=reason)
    show_accepted(invocation, invocation.api.command(path, RequestAccepted, body))


@app.command()
def retry(
    context: typer.Context,
    request_id: RequestId,
    reason: Reason = "",
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Show each step until the end.")] = False,
) -> None:
    """Start the next attempt of a failed request; what was achieved is not done again."""
    invocation = invocation_of(context)
    path = RETRY.format(request_id=path_segment(request_id))
    accepted = invocation.api.command(path, RequestAccepted, RetryRequest(reason=reason))
    if watch:
        finish(invocation, follow(invocation, request_id))
    show_accepted(invocation, accepted)


def get_request(invocation: Invocation, request_id: str) -> WorkflowRequest:
    """A request as it stands now."""
    path = REQUEST.format(request_id=path_segment(request_id))
    return invocation.api.get(path, WorkflowRequest)


def show_accepted(invocation: Invocation, accepted: RequestAccepted) -> None:
    """What was taken on, and how to see what becomes of it."""
    facts = (
        ("request", accepted.request_id),
        ("workflow", accepted.workflow),
        ("state", accepted.state),
        ("app environment", accepted.application_environment_id),
    )
    invocation.output.item(accepted, facts)
    invocation.output.hint(f"Next: {program_word()} request watch {accepted.request_id}")


def follow(invocation: Invocation, request_id: str, *, is_passing: bool = False) -> WorkflowRequest:
    """Shows the request until it has ended; answers how it then stands.

    `is_passing`: on a terminal the live view goes away at the end, for what the caller shows.
    """
    followed = FollowedRequest(
        lambda: get_request(invocation, request_id), invocation.output, is_passing=is_passing
    )
    try:
        return followed.until_end()
    except KeyboardInterrupt:
        invocation.output.hint(
            f"The request goes on. See it again: {program_word()} request watch {request_id}"
        )
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def finish(invocation: Invocation, request: WorkflowRequest) -> NoReturn:
    """Says how the request ended and ends the command accordingly."""
    output = invocation.output
    if output.is_json:
        output.document(request.model_dump(mode="json"))
    elif request.state != RequestState.SUCCEEDED:
        say_failure(invocation, request)
    elif request.application_environment_id is not None:
        output.hint(f"Next: {program_word()} env show {request.application_environment_id}")
    succeeded = request.state == RequestState.SUCCEEDED
    raise typer.Exit(ExitCode.OK if succeeded else ExitCode.REQUEST_FAILED)


def say_failure(invocation: Invocation, request: WorkflowRequest) -> None:
    """Why it did not succeed, where to look, and what to type next."""
    output = invocation.output
    if request.error is not None:
        output.hint(f"  [dim]why[/]   {escape(request.error.message)}")
        output.hint(f"  [dim]code[/]  {escape(request.error.code)}")
    if request.attempts:
        output.hint(f"  [dim]run[/]   {invocation.dagster_url}/runs/{request.attempts[-1].run_id}")
    output.hint(f"  [dim]next[/]  {program_word()} request retry {request.id} --watch")


def show_request(invocation: Invocation, request: WorkflowRequest) -> None:
    """A request's facts and, for people, its steps."""
    facts = (
        ("request", request.id),
        ("workflow", request.workflow),
        ("state", request.state),
        ("waiting for", request.waiting_reason),
        ("cancel requested", request.cancel_requested),
        ("team", request.team),
        ("attempt", request.attempt),
        ("by", request.requested_by),
        ("reason", request.reason),
        ("created", request.created_at),
        ("ended", request.ended_at),
        ("error", request.error.message if request.error else None),
    )
    invocation.output.item(request, facts)
    if not invocation.output.is_json:
        invocation.output.console.print()
        invocation.output.table(step_table(request))
