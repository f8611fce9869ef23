"""`idp apply`: the platform made as a file declares it, the difference shown first."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from idp_cli.agreement import agree
from idp_cli.api import CHANGED_MEANWHILE
from idp_cli.arguments import Yes
from idp_cli.commands.requests import (
    follow,
    get_request,
    is_well,
    say_how_it_stands,
    say_to_be_approved,
)
from idp_cli.declarations.comparison import compare
from idp_cli.declarations.plans import Change, Plan, Removal
from idp_cli.declarations.present import Present
from idp_cli.declarations.reading import Declarations, invalid_declarations, read_declarations
from idp_cli.declarations.showing import Applied, RequestShown, change_shown, plan_lines
from idp_cli.exits import ExitCode
from idp_cli.invocation import Invocation, invocation_of
from idp_cli.output import program_word
from idp_cli.step_view import ended_or_to_be_approved, waits_for_approval
from idp_kernel.errors import Conflict, InvalidInput, PlatformError
from idp_kernel.wire.api import RequestAccepted, WorkflowRequest

STANDARD_INPUT = "-"


def apply(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Option("--file", "-f", help="The YAML file; - reads standard input.", metavar="FILE"),
    ],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the difference and change nothing.")
    ] = False,
    yes: Yes = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Wait until everything is as declared, showing each step."),
    ] = False,
) -> None:
    """Make teams, environments, applications, their environments and secrets as a file declares.

    The file is checked whole, then compared with the platform: what differs is shown first, and
    created or changed once you agree. What the file does not name stays as it is. A second time
    there is nothing to do; after a failure the rest is done.
    """
    invocation = invocation_of(context)
    declarations = read_declarations(_text_of(file), _name_of(file))
    application = _Application(invocation, declarations, _name_of(file))
    plan = application.plan()
    application.show(plan)
    if dry_run or not (plan.changes or plan.under_way):
        application.end(is_applied=not dry_run)
    if plan.changes:
        agree(
            invocation,
            "Make these changes?",
            whether="to make these changes",
            code="confirmation_needed",
            is_agreed=yes,
            can_be_asked=file != STANDARD_INPUT,
        )
    application.perform(plan)
    while watch and application.has_to_wait(plan):
        application.wait(plan)
        plan = application.plan()
        if plan.changes:
            application.show(plan)
        application.perform(plan)
    application.end(is_applied=True, unsettled=plan)


class _Application:
    """One file on its way to the platform, over as many rounds as its workflows need."""

    def __init__(self, invocation: Invocation, declarations: Declarations, source: str) -> None:
        self._invocation = invocation
        self._declarations = declarations
        self._source = source
        self._changes: list[Change] = []
        self._unchanged = 0
        self._asked: list[str] = []
        self._followed: dict[str, WorkflowRequest] = {}
        """As each was when there was nothing more to wait for."""
        self._to_be_approved: dict[str, str] = {}
        """The applications that somebody else has to approve: id to team and slug, in order."""

    def plan(self) -> Plan:
        """What differs now. Raises `InvalidInput` that names everything that cannot be."""
        plan = compare(self._declarations, Present(self._invocation.api))
        if plan.refusals:
            is_untouched = not self._changes
            raise invalid_declarations(self._source, plan.refusals, is_untouched=is_untouched)
        self._to_be_approved = {
            each.proposed_id: _application_of(each.subject)
            for each in plan.under_way
            if each.proposed_id is not None
        }
        return plan

    def show(self, plan: Plan) -> None:
        """The difference; a program gets all of it at the end."""
        self._changes += plan.changes
        self._unchanged = plan.unchanged
        for line in plan_lines(plan):
            self._invocation.output.hint(line)

    def perform(self, plan: Plan) -> None:
        """Every command in order. What fails ends it; what was done stays done."""
        for number, change in enumerate(plan.changes):
            try:
                self._change(change)
            except PlatformError as error:
                found = error.message
                if error.code == CHANGED_MEANWHILE:
                    found = "somebody changed it after it was compared, so it was left alone."
                error.message = (
                    f"{change.kind} {change.subject}: {found} Of {len(plan.changes)} "
                    f"changes {number} were made; the same command goes on with the rest."
                )
                raise

    def _change(self, change: Change) -> None:
        api = self._invocation.api
        for command in change.commands:
            if isinstance(command, Removal):
                api.delete(command.path)
                continue
            if command.method == "PUT" and command.body is not None:
                api.put(command.path, command.answer, command.body, if_match=command.if_match)
                continue
            answer = api.command(
                command.path, command.answer, command.body, if_match=command.if_match
            )
            if isinstance(answer, RequestAccepted):
                self._asked.append(answer.request_id)
                if answer.needs_approval:
                    self._to_be_approved[answer.application_id] = change.subject

    def has_to_wait(self, plan: Plan) -> bool:
        """Whether a request is at work on what is declared."""
        return bool(self._waiting_for(plan))

    def wait(self, plan: Plan) -> None:
        """Follows every request that is under way, as far as nobody has to approve anything; one
        that does not go well ends it all.
        """
        for request_id in self._waiting_for(plan):
            request = follow(self._invocation, request_id, is_over=ended_or_to_be_approved)
            self._followed[request_id] = request
            if not is_well(request):
                self._fail(request)

    def _waiting_for(self, plan: Plan) -> list[str]:
        known = [*self._asked, *(each.request_id for each in plan.under_way if each.request_id)]
        return [each for each in dict.fromkeys(known) if each not in self._followed]

    def _fail(self, request: WorkflowRequest) -> NoReturn:
        if self._invocation.output.is_for_programs:
            self._tell(is_applied=True, unsettled=())
        else:
            say_how_it_stands(self._invocation, request)
        raise typer.Exit(ExitCode.REQUEST_FAILED)

    def end(self, *, is_applied: bool, unsettled: Plan | None = None) -> NoReturn:
        """Says what came of it, and how to go on where that is not all."""
        waiting = () if unsettled is None else unsettled.unsettled
        self._tell(is_applied=is_applied, unsettled=tuple(each.subject for each in waiting))
        for application_id in self._to_be_approved:
            say_to_be_approved(self._invocation, application_id)
        idp = program_word()
        for request_id in self._asked:
            if request_id not in self._followed:
                self._invocation.output.hint(f"Next: {idp} request watch {request_id}")
        awaited = set(self._to_be_approved.values())
        left = [each.subject for each in waiting if _application_of(each.subject) not in awaited]
        if left:
            raise Conflict(
                f"Not all of {self._source} is asked for yet: {', '.join(left)} can be compared "
                "only once what is under way has ended.",
                code="apply_unfinished",
            )
        raise typer.Exit(ExitCode.OK)

    def _has_ended(self, request_id: str) -> bool:
        request = self._followed.get(request_id)
        return request is not None and not waits_for_approval(request)

    def _tell(self, *, is_applied: bool, unsettled: tuple[str, ...]) -> None:
        if not self._invocation.output.is_for_programs:
            if self._changes and is_applied and not unsettled:
                is_over = all(map(self._has_ended, self._asked))
                told = "is as declared" if is_over else "that differed is asked for"
                self._invocation.output.hint(f"[green]✓[/] Everything {told}.")
            return
        requests = [
            self._followed.get(each) or get_request(self._invocation, each) for each in self._asked
        ]
        document = Applied(
            changes=tuple(change_shown(change) for change in self._changes),
            unchanged=self._unchanged,
            applied=is_applied,
            unsettled=unsettled,
            requests=tuple(
                RequestShown(
                    id=each.id,
                    workflow=each.workflow,
                    state=each.state,
                    waiting_reason=each.waiting_reason,
                )
                for each in requests
            ),
        )
        self._invocation.output.document(document.model_dump(mode="json"))


def _application_of(subject: str) -> str:
    """The team and slug in the subject of an application, or of what is in one."""
    return "/".join(subject.split("/")[:2])


def _name_of(file: str) -> str:
    return "standard input" if file == STANDARD_INPUT else file


def _text_of(file: str) -> str:
    try:
        if file == STANDARD_INPUT:
            return sys.stdin.read()
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(
            f"{file} cannot be read: {error.strerror}.", code="file_unreadable"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{_name_of(file)} is no UTF-8 text (byte {error.start}).", code="file_unreadable"
        ) from error
