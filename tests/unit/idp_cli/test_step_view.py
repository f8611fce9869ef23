from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from idp_cli import step_view
from idp_cli.output import Output, OutputFormat
from idp_cli.step_view import (
    FollowedRequest,
    LiveSteps,
    ended_or_in_long_grace,
    ended_or_to_be_approved,
    headline,
    looked_at,
    step_rows,
    step_table,
)
from idp_kernel.errors import Unavailable
from idp_kernel.wire.api import StepView, WorkflowRequest
from idp_kernel.workflows import (
    APPLICATION_ENVIRONMENT_PROVISIONING,
    APPLICATION_ONBOARDING,
    ROTATION_GRACE,
    SECRET_ROTATION,
    RequestState,
    Step,
    StepState,
    WorkflowName,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
ID = "01930000-0000-7000-8000-000000000000"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def step(
    name: Step,
    state: StepState,
    *,
    attempt: int = 1,
    retries: int = 0,
    began: float = 1,
    ended: float | None = None,
) -> StepView:
    return StepView(
        step=name,
        attempt=attempt,
        state=state,
        retries=retries,
        started_at=at(began),
        ended_at=None if ended is None else at(ended),
    )


def request(state: RequestState, *steps: StepView, attempt: int = 1) -> WorkflowRequest:
    return WorkflowRequest(
        id=ID,
        workflow=WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING,
        state=state,
        phase=1,
        attempt=attempt,
        team="payments",
        application_id=ID,
        requested_by="somebody",
        reason="",
        created_at=START,
        deadline_at=at(1800),
        ended_at=at(9) if state in (RequestState.SUCCEEDED, RequestState.FAILED) else None,
        planned_steps=APPLICATION_ENVIRONMENT_PROVISIONING.steps,
        steps=steps,
    )


FIRST, SECOND, THIRD = APPLICATION_ENVIRONMENT_PROVISIONING.steps[:3]


def test_every_planned_step_has_a_row_in_order() -> None:
    rows = step_rows(request(RequestState.PENDING), at(0))
    assert [row.step for row in rows] == list(APPLICATION_ENVIRONMENT_PROVISIONING.steps)
    assert {row.state for row in rows} == {"planned"}


def test_retries_count_repeats_and_further_attempts() -> None:
    running = request(
        RequestState.RUNNING,
        step(FIRST, StepState.FAILED, retries=2, ended=3),
        step(FIRST, StepState.RUNNING, attempt=2, retries=1, began=5),
        attempt=2,
    )
    row = step_rows(running, at(7))[0]
    assert (row.state, row.attempt, row.retries) == ("running", 2, 4)
    assert row.seconds == pytest.approx(2)


def test_the_table_shows_state_attempt_retries_and_duration() -> None:
    ended = request(
        RequestState.FAILED,
        step(FIRST, StepState.SUCCEEDED, retries=3, ended=2.5),
        step(SECOND, StepState.FAILED, began=3, ended=4),
        step(THIRD, StepState.INTERRUPTED, began=4, ended=4.5),
    )
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(step_table(ended))
    lines = console.export_text().splitlines()
    assert lines[1].split() == ["✓", "materialize_repositories", "succeeded", "1", "3", "1.5", "s"]
    assert lines[2].split() == ["✗", "apply_branch_protection", "failed", "1", "0", "1.0", "s"]
    assert lines[3].split() == ["◦", "provision_secrets", "interrupted", "1", "0", "0.5", "s"]
    assert lines[4].split() == ["·", "create_secret_bindings", "planned"]


def rotation(state: RequestState, *, until: datetime | None = None) -> WorkflowRequest:
    """Whose first phase is over."""
    return WorkflowRequest(
        id=ID,
        workflow=WorkflowName.SECRET_ROTATION,
        state=state,
        phase=1,
        attempt=1,
        team="payments",
        application_id=ID,
        secret_id=ID,
        requested_by="somebody",
        reason="",
        waiting_reason=ROTATION_GRACE.reason if until else None,
        waiting_until=until,
        created_at=START,
        deadline_at=at(1800),
        ended_at=at(9) if state == RequestState.SUCCEEDED else None,
        planned_steps=SECRET_ROTATION.steps,
        steps=tuple(
            step(name, StepState.SUCCEEDED, ended=2) for name in SECRET_ROTATION.phase(1).steps
        ),
    )


def told(waiting: WorkflowRequest, now: datetime) -> list[str]:
    return [row.told for row in step_rows(waiting, now)]


def test_a_rotation_in_grace_shows_until_when_its_next_phase_waits() -> None:
    waiting = rotation(RequestState.WAITING, until=at(3600))
    assert told(waiting, at(3)) == ["succeeded"] * 5 + ["waiting until 01:00:00Z"] * 2
    assert "waiting[/] until 01:00:00Z (grace period)" in headline(waiting, at(3))
    day_before = told(waiting, START - timedelta(days=1))
    assert day_before[-1] == "waiting until 2026-01-01 01:00:00Z"


def test_a_wait_that_is_over_names_no_time() -> None:
    due = rotation(RequestState.WAITING, until=at(5))
    assert told(due, at(6))[-2:] == ["waiting", "waiting"]
    assert "goes on in a moment" in headline(due, at(6))


def test_before_and_after_the_wait_the_next_phase_is_planned() -> None:
    assert told(rotation(RequestState.RUNNING), at(3))[-2:] == ["planned", "planned"]


def test_a_step_that_was_interrupted_by_a_wait_waits_too() -> None:
    waiting = request(
        RequestState.WAITING,
        step(FIRST, StepState.SUCCEEDED, ended=2),
        step(SECOND, StepState.INTERRUPTED, began=2, ended=3),
    ).model_copy(update={"waiting_reason": "provider_busy", "waiting_until": at(90)})
    assert told(waiting, at(4))[:3] == ["succeeded"] + ["waiting until 00:01:30Z"] * 2
    assert "(provider_busy)" in headline(waiting, at(4))


class Script:
    """Answers what is next in a list, or raises it."""

    def __init__(self, *answers: WorkflowRequest | Unavailable) -> None:
        self._answers: Iterator[WorkflowRequest | Unavailable] = iter(answers)

    def __call__(self) -> WorkflowRequest:
        answer = next(self._answers)
        if isinstance(answer, Unavailable):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_view, "LOOK_EVERY_SECONDS", 0)
    monkeypatch.setattr(step_view, "LOOK_SELDOM_SECONDS", 0)


def followed(script: Script) -> tuple[WorkflowRequest, list[str]]:
    file = io.StringIO()
    output = Output(Console(file=file, width=200), OutputFormat.TABLE)
    ended = FollowedRequest(looked_at(script), output).until_end()
    return ended, file.getvalue().splitlines()


def test_in_a_pipe_each_change_is_one_line() -> None:
    running = request(RequestState.RUNNING, step(FIRST, StepState.RUNNING))
    retrying = request(RequestState.RUNNING, step(FIRST, StepState.RETRYING, retries=1))
    done = request(RequestState.SUCCEEDED, step(FIRST, StepState.SUCCEEDED, retries=1, ended=2))
    ended, lines = followed(Script(running, running, retrying, done))
    assert ended.state == RequestState.SUCCEEDED
    assert [line.split()[2:3] or line for line in lines[1:-1]] == [
        ["running"],
        ["retrying"],
        ["succeeded"],
    ]
    assert "succeeded" in lines[-1]


def test_in_a_pipe_a_wait_is_told_after_what_it_follows() -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    waiting = rotation(RequestState.WAITING, until=until)
    _, lines = followed(Script(waiting, waiting, rotation(RequestState.SUCCEEDED)))
    (wait,) = [number for number, line in enumerate(lines) if "grace period" in line]
    waits = [number for number, line in enumerate(lines) if line.startswith("  ◷")]
    assert max(waits) < wait
    assert "succeeded" in lines[-1]


PULL_REQUEST = "github: pull request https://forge.test/[a]/pull/1 waits to be merged."


def waiting_for_a_merge(until: datetime) -> WorkflowRequest:
    told = {"waiting_reason": "pull_request_open", "waiting_for": PULL_REQUEST}
    return rotation(RequestState.WAITING, until=until).model_copy(update=told)


def test_in_a_pipe_the_pull_request_is_named_once() -> None:
    now = datetime.now(UTC)
    waits = [waiting_for_a_merge(now + timedelta(seconds=30 * number)) for number in (1, 2)]
    _, lines = followed(Script(*waits, rotation(RequestState.SUCCEEDED)))
    assert lines.count(f"  {PULL_REQUEST}") == 1
    assert sum("a pull request waits to be merged" in line for line in lines) == 2


def test_on_a_terminal_the_pull_request_stands_below_the_headline_until_the_wait_is_over() -> None:
    file = io.StringIO()
    steps, console = LiveSteps(StoppedClock(at(3))), Console(file=file, width=200)
    steps.request = waiting_for_a_merge(at(30))
    console.print(steps)
    assert file.getvalue().splitlines()[1].strip() == PULL_REQUEST
    running = rotation(RequestState.RUNNING)
    steps.request = running.model_copy(update={"waiting_for": PULL_REQUEST})
    console.print(steps)
    assert file.getvalue().count(PULL_REQUEST) == 1


def waiting_for_approval() -> WorkflowRequest:
    told = {
        "workflow": WorkflowName.APPLICATION_ONBOARDING,
        "planned_steps": APPLICATION_ONBOARDING.steps,
        "steps": (),
        "waiting_reason": "approval_pending",
        "waiting_for": "Application shop is Proposed.",
    }
    until = datetime.now(UTC) + timedelta(days=14)
    return rotation(RequestState.WAITING, until=until).model_copy(update=told)


def test_who_waits_for_an_approval_is_told_the_command_that_gives_it() -> None:
    waits = waiting_for_approval()
    _, lines = followed(Script(waits, waits, rotation(RequestState.SUCCEEDED)))
    command = [line for line in lines if line.endswith(f" app approve {ID}")]
    assert len(command) == 1
    assert any("(somebody has to approve the application by then)" in line for line in lines)
    file = io.StringIO()
    steps, console = LiveSteps(StoppedClock(at(3))), Console(file=file, width=200)
    steps.request = waits
    console.print(steps)
    shown = [line.strip() for line in file.getvalue().splitlines()[1:3]]
    assert shown[0] == "Application shop is Proposed."
    assert shown[1].endswith(f"app approve {ID}")
    steps.request = rotation(RequestState.RUNNING)
    console.print(steps)
    assert file.getvalue().count("app approve") == 1


def test_an_approval_is_not_sat_out_by_who_says_so() -> None:
    output = Output(Console(file=io.StringIO(), width=200), OutputFormat.TABLE)
    script = Script(rotation(RequestState.RUNNING), waiting_for_approval())
    seen = FollowedRequest(looked_at(script), output, is_over=ended_or_to_be_approved).until_end()
    assert seen.state == RequestState.WAITING


@dataclass
class StoppedClock:
    """Stands still until it is set."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment


def test_on_a_terminal_durations_run_on_between_two_changes() -> None:
    clock, file = StoppedClock(at(3)), io.StringIO()
    steps, console = LiveSteps(clock), Console(file=file, force_terminal=True, width=200)
    console.print(steps)
    assert file.getvalue() == "\n"
    steps.request = request(RequestState.RUNNING, step(FIRST, StepState.RUNNING))
    console.print(steps)
    clock.moment = at(7)
    console.print(steps)
    assert ["3.0 s" in file.getvalue(), "7.0 s" in file.getvalue()] == [True, True]


def test_a_long_wait_is_not_sat_out_by_who_says_so() -> None:
    waiting = rotation(RequestState.WAITING, until=datetime.now(UTC) + timedelta(hours=1))
    output = Output(Console(file=io.StringIO(), width=200), OutputFormat.TABLE)
    seen = FollowedRequest(
        looked_at(Script(rotation(RequestState.RUNNING), waiting)),
        output,
        is_over=ended_or_in_long_grace,
    ).until_end()
    assert seen.state == RequestState.WAITING


def test_a_long_wait_that_is_no_grace_period_is_sat_out_by_everybody() -> None:
    far = rotation(RequestState.WAITING, until=datetime.now(UTC) + timedelta(hours=1))
    busy = far.model_copy(update={"waiting_reason": "consumers_pending"})
    output = Output(Console(file=io.StringIO(), width=200), OutputFormat.TABLE)
    script = Script(busy, rotation(RequestState.SUCCEEDED))
    seen = FollowedRequest(looked_at(script), output, is_over=ended_or_in_long_grace).until_end()
    assert seen.state == RequestState.SUCCEEDED


def test_a_short_wait_is_sat_out() -> None:
    soon = rotation(RequestState.WAITING, until=datetime.now(UTC) + timedelta(seconds=2))
    output = Output(Console(file=io.StringIO(), width=200), OutputFormat.TABLE)
    script = Script(soon, rotation(RequestState.SUCCEEDED))
    seen = FollowedRequest(looked_at(script), output, is_over=ended_or_in_long_grace).until_end()
    assert seen.state == RequestState.SUCCEEDED


def test_an_outage_on_the_way_is_waited_out() -> None:
    done = request(RequestState.SUCCEEDED)
    ended, _ = followed(Script(Unavailable("away", code="unreachable"), done))
    assert ended.state == RequestState.SUCCEEDED


def test_a_long_silence_ends_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_view, "SILENCE_SECONDS", -1)
    with pytest.raises(Unavailable):
        followed(Script(Unavailable("away", code="unreachable")))
