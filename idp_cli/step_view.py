"""A workflow request, step by step: live on a terminal, a line a change in a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from idp_cli.output import Output, plain_table, program_word
from idp_cli.streams import SILENCE_SECONDS
from idp_kernel.clock import Clock, SystemClock
from idp_kernel.errors import InvariantBroken, Unavailable
from idp_kernel.wire.api import StepView, WorkflowRequest
from idp_kernel.workflows import (
    RESULT_OF_STATE,
    ROTATION_GRACE,
    WORKFLOWS,
    RequestState,
    Step,
    StepState,
    WaitingReason,
)

LOOK_EVERY_SECONDS = 0.3
LOOK_SELDOM_SECONDS = 2.0
"""During a wait whose end is still far."""
ROOMY_WIDTH = 88
"""What the longest step needs with all that is told of it."""
LONG_WAIT_SECONDS = 5.0
"""A wait that a person rather comes back from."""

PLANNED = "planned"
WAITING = "waiting"

_WAITING_WORDS: dict[str, str] = {
    WaitingReason.ROTATION_GRACE: "grace period",
    WaitingReason.GITOPS_RECONCILIATION_SLOW: "the GitOps agent has not taken it up yet",
    WaitingReason.CONSUMERS_NOT_CONFIRMED: "consumers still have the old version",
    WaitingReason.UNDONE_STILL_SEEN: "what was undone is still seen",
    WaitingReason.ENDED_STILL_SEEN: "what was ended is still seen",
    WaitingReason.PULL_REQUEST_OPEN: "a pull request waits to be merged",
    WaitingReason.APPROVAL_PENDING: "somebody has to approve the application by then",
    WaitingReason.PROVIDER_PAUSED: "a provider asked for a pause",
    WaitingReason.CIRCUIT_OPEN: "a provider does not answer",
}
_MARKS: dict[str, tuple[str, str]] = {
    PLANNED: ("·", "dim"),
    WAITING: ("◷", "yellow"),
    StepState.RUNNING: ("▸", "cyan"),
    StepState.RETRYING: ("↻", "yellow"),
    StepState.SUCCEEDED: ("✓", "green"),
    StepState.FAILED: ("✗", "red"),
    StepState.INTERRUPTED: ("◦", "dim"),
}
_SPINNERS = {
    state: Spinner("dots", style=_MARKS[state][1])
    for state in (StepState.RUNNING, StepState.RETRYING)
}
"""They turn on from one drawing to the next."""


@dataclass(frozen=True)
class StepRow:
    """A planned step as its latest attempt left it."""

    step: Step
    state: str
    attempt: int | None
    retries: int
    """Repeats inside attempts, plus further attempts of this step."""
    seconds: float | None
    until: str | None = None
    """Of a step that waits: the time of day it waits for."""

    @property
    def told(self) -> str:
        """Its state, as a person reads it."""
        return self.state if self.until is None else f"{self.state} until {self.until}"

    @property
    def is_active(self) -> bool:
        return self.state in (StepState.RUNNING, StepState.RETRYING)


def step_rows(request: WorkflowRequest, now: datetime) -> list[StepRow]:
    """Every planned step in order."""
    awaited = _awaited_steps(request)
    return [_row(step, request, now, is_awaited=step in awaited) for step in request.planned_steps]


def _row(step: Step, request: WorkflowRequest, now: datetime, *, is_awaited: bool) -> StepRow:
    views = _views(step, request)
    row = _row_of(step, views, request, now) if views else StepRow(step, PLANNED, None, 0, None)
    if not is_awaited or row.state not in (PLANNED, StepState.INTERRUPTED):
        return row
    return replace(row, state=WAITING, until=_until(request, now))


def _row_of(step: Step, views: list[StepView], request: WorkflowRequest, now: datetime) -> StepRow:
    latest = views[-1]
    return StepRow(
        step=step,
        state=latest.state,
        attempt=latest.attempt,
        retries=sum(view.retries for view in views) + len(views) - 1,
        seconds=_seconds(latest, request, now),
    )


def _views(step: Step, request: WorkflowRequest) -> list[StepView]:
    views = (view for view in request.steps if view.step == step)
    return sorted(views, key=lambda view: view.attempt)


def _awaited_steps(request: WorkflowRequest) -> frozenset[Step]:
    """While the request waits: the steps of the phase that goes on after it."""
    if request.state != RequestState.WAITING:
        return frozenset()
    succeeded = {view.step for view in request.steps if view.state == StepState.SUCCEEDED}
    for phase in WORKFLOWS[request.workflow].phases:
        if not succeeded.issuperset(phase.steps):
            return frozenset(phase.steps)
    return frozenset()


def _seconds(view: StepView, request: WorkflowRequest, now: datetime) -> float:
    until = view.ended_at or request.ended_at or now
    return max(0.0, (until - view.started_at).total_seconds())


def step_table(
    request: WorkflowRequest, now: datetime | None = None, *, width: int = ROOMY_WIDTH
) -> Table:
    """All steps with state, attempt, retries and duration; the active one turns. A terminal of a
    smaller `width` has no room for the retries.
    """
    headers = ["", "STEP", "STATE", "ATTEMPT", "DURATION"]
    if width >= ROOMY_WIDTH:
        headers.insert(4, "RETRIES")
    table = plain_table(*headers)
    for column in table.columns[3:]:
        column.justify = "right"
    for row in step_rows(request, now or datetime.now(UTC)):
        mark, style = _MARKS[row.state]
        turning = row.is_active and request.state == RequestState.RUNNING
        table.add_row(
            _SPINNERS[StepState(row.state)] if turning else Text(mark, style),
            Text(row.step.value, "" if row.attempt else "dim"),
            Text(row.told, style),
            "" if row.attempt is None else str(row.attempt),
            *([] if width < ROOMY_WIDTH else ["" if row.attempt is None else str(row.retries)]),
            "" if row.seconds is None else f"{row.seconds:.1f} s",
        )
    return table


def headline(request: WorkflowRequest, now: datetime) -> str:
    """The request in one line of markup."""
    colours = {RequestState.SUCCEEDED: "green", RequestState.RUNNING: "cyan"}
    ended = request.state in RESULT_OF_STATE
    colour = colours.get(request.state, "red" if ended else "yellow")
    seconds = ((request.ended_at or now) - request.created_at).total_seconds()
    standing = f"[{colour}]{request.state}[/]{_waiting(request, now)}"
    return (
        f"{request.workflow} [dim]{request.id}[/]  {standing}"
        f"  [dim]attempt {request.attempt}, {max(0.0, seconds):.1f} s[/]"
    )


def _waiting(request: WorkflowRequest, now: datetime) -> str:
    """Until when it waits, and for what."""
    if request.state != RequestState.WAITING or request.waiting_reason is None:
        return ""
    until = _until(request, now)
    if until is None:
        return " (goes on in a moment)"
    return f" until {until} ({_WAITING_WORDS.get(request.waiting_reason, request.waiting_reason)})"


def seen_last(request: WorkflowRequest) -> str:
    """What a request that waits saw last, such as the pull request that is to be merged; empty
    when it does not wait, or nothing is to be said.
    """
    return (request.waiting_for or "") if request.state == RequestState.WAITING else ""


def waits_for_approval(request: WorkflowRequest) -> bool:
    """Whether nothing goes on before somebody approves its application."""
    return (
        request.state == RequestState.WAITING
        and request.waiting_reason == WaitingReason.APPROVAL_PENDING
    )


def approval_command(application_id: str) -> str:
    """What ends that wait, as it is typed."""
    return f"{program_word()} app approve {application_id}"


def _way_on(request: WorkflowRequest) -> str:
    """What to type about a wait that somebody has to end; empty when it ends by itself."""
    return approval_command(request.application_id) if waits_for_approval(request) else ""


def _until(request: WorkflowRequest, now: datetime) -> str | None:
    """The time it waits for; none when that has come."""
    until = request.waiting_until
    return None if until is None or until <= now else clock_time(until, now)


def clock_time(moment: datetime, now: datetime) -> str:
    """The time of day in UTC, with the date when that is not today's."""
    there = moment.astimezone(UTC)
    date = "" if there.date() == now.astimezone(UTC).date() else f"{there:%Y-%m-%d} "
    return f"{date}{there:%H:%M:%S}Z"


def has_ended(request: WorkflowRequest, _now: datetime) -> bool:
    """Whether nothing more becomes of it by itself."""
    return request.state in RESULT_OF_STATE


def waits_long(request: WorkflowRequest, now: datetime) -> bool:
    """Whether it goes on only after a wait that nobody sits out."""
    if request.state != RequestState.WAITING or request.waiting_until is None:
        return False
    return (request.waiting_until - now).total_seconds() > LONG_WAIT_SECONDS


def is_in_grace(request: WorkflowRequest) -> bool:
    """Whether the new credential is in use, and the old one ends after a while by itself."""
    return request.state == RequestState.WAITING and request.waiting_reason == ROTATION_GRACE.reason


def ended_or_in_long_grace(request: WorkflowRequest, now: datetime) -> bool:
    """Whether it has ended, or only a grace period is before its end that nobody sits out.

    Any other wait comes before what was asked for, so it is followed.
    """
    return has_ended(request, now) or (is_in_grace(request) and waits_long(request, now))


def ended_or_to_be_approved(request: WorkflowRequest, now: datetime) -> bool:
    """Whether it has ended, or goes on only once somebody approves its application."""
    return has_ended(request, now) or waits_for_approval(request)


def looked_at(look: Callable[[], WorkflowRequest]) -> Iterator[WorkflowRequest]:
    """The request again and again, for a server that does not tell of its changes.

    Raises `Unavailable` when nothing answered for a minute.
    """
    answered_at = time.monotonic()
    pause_seconds = LOOK_EVERY_SECONDS
    while True:
        try:
            request = look()
        except Unavailable:
            if time.monotonic() - answered_at > SILENCE_SECONDS:
                raise
        else:
            answered_at = time.monotonic()
            yield request
            is_far = waits_long(request, datetime.now(UTC))
            pause_seconds = LOOK_SELDOM_SECONDS if is_far else LOOK_EVERY_SECONDS
        time.sleep(pause_seconds)


class FollowedRequest:
    """Shows the states a request goes through until `is_over`: until it has ended, if nothing else
    is said.
    """

    def __init__(
        self,
        states: Iterable[WorkflowRequest],
        output: Output,
        *,
        is_passing: bool = False,
        is_over: Callable[[WorkflowRequest, datetime], bool] = has_ended,
    ) -> None:
        self._states = states
        self._is_passing = is_passing
        self._is_over = is_over
        self._output = output
        self._clock = SystemClock()

    def until_end(self) -> WorkflowRequest:
        """The request as it then is; raises what its states raise."""
        if self._output.is_for_programs:
            return self._follow(lambda _request: None)
        if self._output.console.is_terminal:
            return self._follow_live()
        return self._follow(PlainChanges(self._output).tell)

    def _follow_live(self) -> WorkflowRequest:
        console, steps = self._output.console, LiveSteps(self._clock)
        with Live(
            steps, console=console, refresh_per_second=10, transient=self._is_passing
        ) as live:

            def draw(request: WorkflowRequest) -> None:
                steps.request = request
                live.refresh()

            return self._follow(draw)

    def _follow(self, tell: Callable[[WorkflowRequest], None]) -> WorkflowRequest:
        for request in self._states:
            tell(request)
            if self._is_over(request, self._clock.now()):
                return request
        raise InvariantBroken("the states of a request ended before it was over")


class LiveSteps:
    """The request as it was told last, drawn with the durations of this moment."""

    def __init__(self, clock: Clock) -> None:
        self.request: WorkflowRequest | None = None
        self._clock = clock

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        if self.request is None:
            yield Text()
            return
        now = self._clock.now()
        yield Text.from_markup(headline(self.request, now), emoji=False)
        if seen := seen_last(self.request):
            yield Text(f"  {seen}", "dim")
        if command := _way_on(self.request):
            yield Text.assemble(("  approve with  ", "dim"), command)
        yield step_table(self.request, now, width=options.max_width)


class PlainChanges:
    """Writes a line whenever the request or one of its steps has changed."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._told: set[str] = set()

    def tell(self, request: WorkflowRequest) -> None:
        now = datetime.now(UTC)
        comes_after = request.state in (*RESULT_OF_STATE, RequestState.WAITING)
        if not comes_after:
            self._tell_request(request, now)
        for row in step_rows(request, now):
            self._tell_step(row)
        if comes_after:
            self._tell_request(request, now)

    def _tell_request(self, request: WorkflowRequest, now: datetime) -> None:
        key = f"{request.state} {request.attempt} {request.waiting_reason} {request.waiting_until}"
        if key not in self._told:
            self._told.add(key)
            self._output.hint(headline(request, now))
        seen = seen_last(request)
        if seen and seen not in self._told:
            self._told.add(seen)
            self._output.hint(f"  [dim]{escape(seen)}[/]")
        command = _way_on(request)
        if command and command not in self._told:
            self._told.add(command)
            self._output.hint(f"  [dim]approve with[/]  {command}")

    def _tell_step(self, row: StepRow) -> None:
        key = f"{row.step} {row.state} {row.attempt} {row.retries}"
        waits_for_nothing = row.state == WAITING and row.until is None
        if row.state == PLANNED or waits_for_nothing or key in self._told:
            return
        self._told.add(key)
        mark, style = _MARKS[row.state]
        took = "" if row.seconds is None or row.is_active else f"{row.seconds:6.1f} s"
        retries = f"  retries {row.retries}" if row.retries else ""
        self._output.hint(f"  [{style}]{mark}[/] {row.step:<46} {row.told:<11}{took}{retries}")
