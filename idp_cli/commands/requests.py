"""`idp request`: what workflows were asked for, and how far each is."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from threading import Timer
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from idp_cli.advice import About, about_request, advice_for_code, refusals_about
from idp_cli.api import (
    APPLICATION_ENVIRONMENT,
    CANCELLATION,
    PLATFORM,
    REQUEST,
    REQUEST_WATCH,
    REQUESTS,
    RETRY,
    UNDO,
    path_segment,
)
from idp_cli.arguments import After, Before, Limit, RequestId, TeamFilter, moment_of, query_of
from idp_cli.durations import rough_duration_text
from idp_cli.exits import ExitCode
from idp_cli.invocation import Invocation, invocation_of
from idp_cli.output import Columns, program_word
from idp_cli.secret_addresses import ADDRESS_FORM, find_secret
from idp_cli.step_view import (
    FollowedRequest,
    approval_command,
    clock_time,
    has_ended,
    is_in_grace,
    looked_at,
    step_table,
    waits_for_approval,
)
from idp_cli.streams import is_not_offered, streamed
from idp_cli.suggestions import application_environment_ids, secret_addresses
from idp_kernel.errors import NotFound, PlatformError
from idp_kernel.wire.api import (
    ApplicationEnvironment,
    AttemptView,
    CancelRequest,
    PlatformStanding,
    RequestAccepted,
    RetryRequest,
    UndoItem,
    UndoPreview,
    UndoRequest,
    WorkflowRequest,
)
from idp_kernel.workflows import RequestState, WaitingReason, WorkflowName

PENDING_PATIENCE_SECONDS = 3.0
"""How long a request may be pending before whoever watches it is told why."""

app = typer.Typer(no_args_is_help=True, help="Workflow requests.")

Reason = Annotated[str, typer.Option(help="Why; it stands in the audit.")]


_SHORT_NAMES: dict[WorkflowName, str] = {
    WorkflowName.APPLICATION_ONBOARDING: "onboarding",
    WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING: "provisioning",
    WorkflowName.SECRET_ROTATION: "rotation",
    WorkflowName.SECRET_REVOCATION: "revocation",
    WorkflowName.APPLICATION_ENVIRONMENT_DECOMMISSIONING: "retirement",
    WorkflowName.APPLICATION_DECOMMISSIONING: "archiving",
    WorkflowName.COMPENSATION: "undo",
}
"""So that a request with both its ids fits into 120 columns."""


def subject_of(request: WorkflowRequest) -> str:
    """The id of what the request is about, most exactly; its workflow tells of what kind."""
    return request.secret_id or request.application_environment_id or request.application_id


def age_of(request: WorkflowRequest) -> str:
    """How long ago it was asked for, roughly."""
    seconds = (datetime.now(UTC) - request.created_at).total_seconds()
    return rough_duration_text(max(0, int(seconds)))


REQUEST_COLUMNS = Columns[WorkflowRequest](
    {
        "REQUEST": lambda request: request.id,
        "WORKFLOW": lambda request: _SHORT_NAMES[request.workflow],
        "STATE": lambda request: request.state,
        "AGE": age_of,
        "TEAM": lambda request: request.team,
        "SUBJECT": subject_of,
    },
    spare=("TEAM", "SUBJECT"),
)


ATTEMPT_COLUMNS = Columns[AttemptView](
    {
        "ATTEMPT": lambda attempt: attempt.attempt,
        "ENDED": lambda attempt: attempt.ending,
        "CAUSE": lambda attempt: attempt.cause,
        "RUN": lambda attempt: attempt.run_id,
    },
    spare=("RUN",),
)


@app.command("list")
def list_(
    context: typer.Context,
    team: TeamFilter = None,
    state: Annotated[
        RequestState | None,
        typer.Option(help=f"In this state only: {', '.join(RequestState)}.", metavar="STATE"),
    ] = None,
    workflow: Annotated[
        WorkflowName | None,
        typer.Option(help=f"Of this workflow only: {', '.join(WorkflowName)}.", metavar="WORKFLOW"),
    ] = None,
    application_id: Annotated[
        str | None, typer.Option("--app", help="Of this application only, by id.", metavar="ID")
    ] = None,
    application_environment_id: Annotated[
        str | None,
        typer.Option(
            "--env",
            help="Of this application environment only, by id.",
            metavar="ID",
            autocompletion=application_environment_ids,
        ),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(
            help=f"Of this secret only, by id or {ADDRESS_FORM}.",
            metavar="SECRET",
            autocompletion=secret_addresses,
        ),
    ] = None,
    requested_by: Annotated[
        str | None,
        typer.Option("--by", help="That this principal asked for only.", metavar="PRINCIPAL"),
    ] = None,
    waiting_for: Annotated[
        WaitingReason | None,
        typer.Option(
            help=f"That wait for this only: {', '.join(WaitingReason)}.", metavar="REASON"
        ),
    ] = None,
    after: After = None,
    before: Before = None,
    limit: Limit = None,
) -> None:
    """List workflow requests, the newest first."""
    invocation = invocation_of(context)
    query = query_of(
        team=team,
        state=state,
        workflow=workflow,
        applicationId=application_id,
        applicationEnvironmentId=application_environment_id,
        secretId=None if secret is None else find_secret(invocation.api, secret).id,
        requestedBy=requested_by,
        waitingReason=waiting_for,
        createdAfter=moment_of(after),
        createdBefore=moment_of(before),
    )
    found = list(invocation.api.all(REQUESTS, WorkflowRequest, query, limit=limit))
    invocation.output.items(found, REQUEST_COLUMNS)


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
    accepted = invocation.api.command(path, RequestAccepted, body)
    show_accepted(invocation, accepted)
    if accepted.undo is not None:
        invocation.output.hint(
            "What it has made stays, and so does a pull request that it waited for: close that if"
            " nobody shall merge it. See what could be taken back: "
            f"{program_word()} request undo {accepted.request_id} --preview"
        )


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
    about = about_request(get_request(invocation, request_id))
    with refusals_about(about):
        accepted = invocation.api.command(path, RequestAccepted, RetryRequest(reason=reason))
    if watch:
        finish(invocation, follow(invocation, request_id))
    show_accepted(invocation, accepted)


UNDO_COLUMNS = Columns[UndoItem](
    {
        "STEP": lambda item: item.step,
        "ITEM": lambda item: item.item or "-",
        "FATE": lambda item: item.fate,
        "REASON": lambda item: item.reason,
    },
    spare=("ITEM", "REASON"),
)


@app.command()
def undo(
    context: typer.Context,
    request_id: RequestId,
    reason: Reason = "",
    *,
    preview: Annotated[
        bool, typer.Option("--preview", help="Only show what it would remove, keep and not undo.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show each step until the end.")] = False,
) -> None:
    """Take back what an ended request made, newest first; what others took over stays."""
    invocation = invocation_of(context)
    path = UNDO.format(request_id=path_segment(request_id))
    if preview:
        show_preview(invocation, invocation.api.get(path, UndoPreview))
        return
    about = about_request(get_request(invocation, request_id))
    with refusals_about(about):
        accepted = invocation.api.command(path, RequestAccepted, UndoRequest(reason=reason))
    if watch:
        finish(invocation, follow(invocation, accepted.request_id))
    show_accepted(invocation, accepted)


def show_preview(invocation: Invocation, preview: UndoPreview) -> None:
    """What an undo would do to each thing, and whether it may be asked for."""
    output = invocation.output
    if output.is_for_programs:
        output.document(preview.model_dump(mode="json"))
        return
    output.items(preview.items, UNDO_COLUMNS)
    if preview.refusal is None:
        output.hint(f"Next: {program_word()} request undo {preview.request_id} --watch")
    else:
        output.hint(f"  [dim]why not[/]  {escape(preview.refusal.message)}")
        output.hint(f"  [dim]code[/]     {escape(preview.refusal.code)}")


def get_request(invocation: Invocation, request_id: str) -> WorkflowRequest:
    """A request as it stands now."""
    path = REQUEST.format(request_id=path_segment(request_id))
    return invocation.api.get(path, WorkflowRequest)


def show_accepted(invocation: Invocation, accepted: RequestAccepted) -> None:
    """What was taken on, and how to see what becomes of it."""
    facts: list[tuple[str, object]] = [
        ("request", accepted.request_id),
        ("workflow", accepted.workflow),
        ("state", accepted.state),
        ("app", accepted.application_id),
    ]
    if accepted.application_environment_id is not None:
        facts.append(("app environment", accepted.application_environment_id))
    if accepted.secret_id is not None:
        facts.append(("secret", accepted.secret_id))
    invocation.output.item(accepted, facts)
    if accepted.needs_approval:
        say_to_be_approved(invocation, accepted.application_id)
    invocation.output.hint(f"Next: {program_word()} request watch {accepted.request_id}")


def follow(
    invocation: Invocation,
    request_id: str,
    *,
    is_passing: bool = False,
    is_over: Callable[[WorkflowRequest, datetime], bool] = has_ended,
) -> WorkflowRequest:
    """Shows the request until it has ended, or is over for the caller; answers how it then stands.

    `is_passing`: on a terminal the live view goes away at the end, for what the caller shows.
    """
    try:
        with (
            _told_why_pending(invocation, request_id),
            closing(_states(invocation, request_id)) as states,
        ):
            return FollowedRequest(
                states, invocation.output, is_passing=is_passing, is_over=is_over
            ).until_end()
    except KeyboardInterrupt:
        invocation.output.hint(
            f"The request goes on. See it again: {program_word()} request watch {request_id}"
        )
        raise typer.Exit(ExitCode.INTERRUPTED) from None


@contextmanager
def _told_why_pending(invocation: Invocation, request_id: str) -> Iterator[None]:
    """Meanwhile: says why nothing happens, if no run has taken the request up after a moment."""
    timer = Timer(PENDING_PATIENCE_SECONDS, _say_why_pending, (invocation, request_id))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say_why_pending(invocation: Invocation, request_id: str) -> None:
    idp = program_word()
    try:
        if get_request(invocation, request_id).state != RequestState.PENDING:
            return
        is_draining = invocation.api.get(PLATFORM, PlatformStanding).draining
    except PlatformError:
        return  # what stands in the way of watching is told by the watch itself
    if is_draining:
        told = f"the platform is draining and starts nothing until `{idp} resume`"
    else:
        told = f"no run has taken it up yet; if it stays so, `{idp} doctor` looks for the cause"
    invocation.output.hint(f"[yellow]◷[/] It is pending: {told}.")


def _states(invocation: Invocation, request_id: str) -> Generator[WorkflowRequest]:
    """The request as it stands, and again whenever it has changed."""
    path = REQUEST_WATCH.format(request_id=path_segment(request_id))
    try:
        yield from streamed(invocation.api, path, WorkflowRequest)
    except NotFound as error:
        if not is_not_offered(error):
            raise
    yield from looked_at(lambda: get_request(invocation, request_id))


def finish(invocation: Invocation, request: WorkflowRequest) -> NoReturn:
    """Says how the request ended, or that it waits, and ends the command accordingly."""
    output = invocation.output
    if output.is_for_programs:
        output.document(request.model_dump(mode="json"))
    else:
        say_how_it_stands(invocation, request)
    raise typer.Exit(ExitCode.OK if is_well(request) else ExitCode.REQUEST_FAILED)


def is_well(request: WorkflowRequest) -> bool:
    """Whether it succeeded, all that is left is a grace period and what ends it by itself, or all
    that it needs is an approval.
    """
    is_done = request.state == RequestState.SUCCEEDED
    return is_done or is_in_grace(request) or waits_for_approval(request)


def say_how_it_stands(invocation: Invocation, request: WorkflowRequest) -> None:
    """What to type next, and why, after a request was followed."""
    if is_in_grace(request):
        say_grace(invocation, request)
    elif waits_for_approval(request):
        invocation.output.hint("[yellow]◷[/] Nothing is made before somebody else approves it.")
        invocation.output.hint(f"  [dim]next[/]  {program_word()} request watch {request.id}")
    elif request.state != RequestState.SUCCEEDED:
        say_failure(invocation, request)
    else:
        say_left_behind(invocation, request)
        invocation.output.hint(f"Next: {program_word()} {_show_command(request)}")


def say_grace(invocation: Invocation, request: WorkflowRequest) -> None:
    """Until when both credentials work, and how to see the end."""
    output, until = invocation.output, request.waiting_until
    moment = "" if until is None else f" until {clock_time(until, datetime.now(UTC))}"
    output.hint(
        f"[green]✓[/] The new credential is in use. The old one works{moment} and then ends by "
        "itself."
    )
    output.hint(f"  [dim]next[/]  {program_word()} request watch {request.id}")


def say_to_be_approved(invocation: Invocation, application_id: str) -> None:
    """That nothing is made before somebody else says yes, and how they do."""
    invocation.output.hint(
        "[yellow]◷[/] The application is to be approved first, by another maintainer of the team or"
        f" a platform-admin: {approval_command(application_id)}"
    )


def say_left_behind(invocation: Invocation, request: WorkflowRequest) -> None:
    """What it was to end and did not, if anything."""
    if request.left_behind is not None:
        invocation.output.hint(f"  [dim]left[/]  [yellow]{escape(request.left_behind)}[/]")


def _show_command(request: WorkflowRequest) -> str:
    """What shows the thing the request was about."""
    if request.secret_id is not None:
        return f"secret show {request.secret_id}"
    if request.application_environment_id is not None:
        return f"env show {request.application_environment_id}"
    return f"app show {request.application_id}"


def say_failure(invocation: Invocation, request: WorkflowRequest) -> None:
    """Why it did not succeed, where to look, and what to type next."""
    output = invocation.output
    if request.error is not None:
        output.hint(f"  [dim]why[/]   {escape(request.error.message)}")
        output.hint(f"  [dim]code[/]  {escape(request.error.code)}")
    say_left_behind(invocation, request)
    if request.attempts:
        output.hint(f"  [dim]run[/]   {invocation.dagster_url}/runs/{request.attempts[-1].run_id}")
    output.hint(f"  [dim]next[/]  {escape(_way_on(invocation, request))}")


def _way_on(invocation: Invocation, request: WorkflowRequest) -> str:
    advice = None
    if request.error is not None:
        about = {**about_request(request), **_about_environment(invocation, request)}
        advice = advice_for_code(request.error.code, about)
    return advice or f"{program_word()} request retry {request.id} --watch"


def _about_environment(invocation: Invocation, request: WorkflowRequest) -> About:
    """The environment's name, which a request does not have."""
    if request.application_environment_id is None:
        return {}
    path = APPLICATION_ENVIRONMENT.format(
        application_environment_id=request.application_environment_id
    )
    try:
        found = invocation.api.get(path, ApplicationEnvironment)
    except PlatformError:
        return {}  # how the request ended is what was asked; the advice is a word less exact
    return {"environment": found.environment}


def show_request(invocation: Invocation, request: WorkflowRequest) -> None:
    """A request's facts and, for people, its steps and how its attempts ended."""
    facts = (
        ("request", request.id),
        ("workflow", request.workflow),
        ("state", request.state),
        ("waiting for", request.waiting_reason),
        ("waiting until", request.waiting_until),
        ("seen last", request.waiting_for),
        ("cancel requested", request.cancel_requested),
        ("team", request.team),
        ("app", request.application_id),
        ("app environment", request.application_environment_id),
        ("secret", request.secret_id),
        ("attempt", request.attempt),
        ("by", request.requested_by),
        ("reason", request.reason),
        ("created", request.created_at),
        ("ended", request.ended_at),
        ("error", request.error.message if request.error else None),
        ("left behind", request.left_behind),
        ("undoes", request.undoes),
        ("undone by", request.undone_by),
    )
    invocation.output.item(request, facts)
    if not invocation.output.is_for_programs:
        invocation.output.console.print()
        output = invocation.output
        output.table(step_table(request, width=output.console.width))
        if any(attempt.cause for attempt in request.attempts):
            output.console.print()
            output.columns(request.attempts, ATTEMPT_COLUMNS)
