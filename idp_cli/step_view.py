"""A workflow request, step by step: live on a terminal, a line a change in a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from idp_cli.output import Output, plain_table
from idp_kernel.clock import SystemClock
from idp_kernel.errors import Unavailable
from idp_kernel.wire.api import StepView, WorkflowRequest
from idp_kernel.workflows import RESULT_OF_STATE, RequestState, Step, StepState

LOOK_EVERY_SECONDS = 0.3
SILENCE_SECONDS = 60.0
"""How long the platform may not answer before watching ends."""

_MARKS: dict[str, tuple[str, str]] = {
    "planned": ("·", "dim"),
    StepState.RUNNING: ("▸", "cyan"),
    StepState.RETRYING: ("↻", "yellow"),
    StepState.SUCCEEDED: ("✓", "green"),
    StepState.FAILED: ("✗", "red"),
    StepState.INTERRUPTED: ("◦", "dim"),
}


@dataclass(frozen=True)
class StepRow:
    """A planned step as its latest attempt left it."""

    step: Step
    state: str
    attempt: int | None
    retries: int
    """Repeats inside attempts, plus further attempts of this step."""
    seconds: float | None

    @property
    def is_active(self) -> bool:
        return self.state in (StepState.RUNNING, StepState.RETRYING)


def step_rows(request: WorkflowRequest, now: datetime) -> list[StepRow]:
    """Every planned step in order."""
    return [_row(step, request, now) for step in request.planned_steps]


def _row(step: Step, request: WorkflowRequest, now: datetime) -> StepRow:
    views = sorted(
        (view for view in request.steps if view.step == step), key=lambda view: view.attempt
    )
    if not views:
        return StepRow(step, "planned", None, 0, None)
    latest = views[-1]
    return StepRow(
        step=step,
        state=latest.state,
        attempt=latest.attempt,
        retries=sum(view.retries for view in views) + len(views) - 1,
        seconds=_seconds(latest, request, now),
    )


def _seconds(view: StepView, request: WorkflowRequest, now: datetime) -> float:
    until = view.ended_at or request.ended_at or now
    return max(0.0, (until - view.started_at).total_seconds())


def step_table(request: WorkflowRequest, now: datetime | None = None) -> Table:
    """All steps with state, attempt, retries and duration; the active one turns."""
    table = plain_table("", "STEP", "STATE", "ATTEMPT", "RETRIES", "DURATION")
    for column in table.columns[3:]:
        column.justify = "right"
    for row in step_rows(request, now or datetime.now(UTC)):
        mark, style = _MARKS[row.state]
        turning = row.is_active and request.state == RequestState.RUNNING
        table.add_row(
            Spinner("dots", style=style) if turning else Text(mark, style),
            Text(row.step.value, "" if row.attempt else "dim"),
            Text(row.state, style),
            "" if row.attempt is None else str(row.attempt),
            "" if row.attempt is None else str(row.retries),
            "" if row.seconds is None else f"{row.seconds:.1f} s",
        )
    return table


def headline(request: WorkflowRequest, now: datetime) -> str:
    """The request in one line of markup."""
    colours = {RequestState.SUCCEEDED: "green", RequestState.RUNNING: "cyan"}
    ended = request.state in RESULT_OF_STATE
    colour = colours.get(request.state, "red" if ended else "yellow")
    seconds = ((request.ended_at or now) - request.created_at).total_seconds()
    waiting = f" ({request.waiting_reason})" if request.waiting_reason else ""
    return (
        f"{request.workflow} [dim]{request.id}[/]  [{colour}]{request.state}[/]{waiting}"
        f"  [dim]attempt {request.attempt}, {max(0.0, seconds):.1f} s[/]"
    )


class FollowedRequest:
    """Looks at a request until it has ended."""

    def __init__(
        self, look: Callable[[], WorkflowRequest], output: Output, *, is_passing: bool = False
    ) -> None:
        self._look = look
        self._is_passing = is_passing
        self._output = output
        self._clock = SystemClock()

    def until_end(self) -> WorkflowRequest:
        """The ended request. Raises `Unavailable` when nothing answered for a minute."""
        if self._output.is_json:
            return self._follow(lambda _request: None)
        if self._output.console.is_terminal:
            return self._follow_live()
        return self._follow(PlainChanges(self._output).tell)

    def _follow_live(self) -> WorkflowRequest:
        console = self._output.console
        with Live(console=console, refresh_per_second=10, transient=self._is_passing) as live:

            def draw(request: WorkflowRequest) -> None:
                now = self._clock.now()
                title = Text.from_markup(headline(request, now), emoji=False)
                live.update(Group(title, step_table(request, now)), refresh=True)

            return self._follow(draw)

    def _follow(self, tell: Callable[[WorkflowRequest], None]) -> WorkflowRequest:
        answered_at = time.monotonic()
        while True:
            try:
                request = self._look()
            except Unavailable:
                if time.monotonic() - answered_at > SILENCE_SECONDS:
                    raise
            else:
                answered_at = time.monotonic()
                tell(request)
                if request.state in RESULT_OF_STATE:
                    return request
            time.sleep(LOOK_EVERY_SECONDS)


class PlainChanges:
    """Writes a line whenever the request or one of its steps has changed."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._told: set[str] = set()

    def tell(self, request: WorkflowRequest) -> None:
        now = datetime.now(UTC)
        ended = request.state in RESULT_OF_STATE
        if not ended:
            self._tell_request(request, now)
        for row in step_rows(request, now):
            self._tell_step(row)
        if ended:
            self._tell_request(request, now)

    def _tell_request(self, request: WorkflowRequest, now: datetime) -> None:
        key = f"{request.state} {request.attempt} {request.waiting_reason}"
        if key not in self._told:
            self._told.add(key)
            self._output.hint(headline(request, now))

    def _tell_step(self, row: StepRow) -> None:
        key = f"{row.step} {row.state} {row.attempt} {row.retries}"
        if row.attempt is None or key in self._told:
            return
        self._told.add(key)
        mark, style = _MARKS[row.state]
        took = "" if row.is_active else f"{row.seconds:6.1f} s"
        retries = f"  retries {row.retries}" if row.retries else ""
        self._output.hint(f"  [{style}]{mark}[/] {row.step:<46} {row.state:<11}{took}{retries}")
