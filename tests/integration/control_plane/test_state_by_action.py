"""What may be asked of a request in each state, and what comes of it: one table for workflows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from control_plane.application.workflows.registry import COMPENSATION
from idp_kernel.retention import REPEATABLE_FOR
from idp_kernel.workflows import ROTATION_GRACE, WORKFLOWS, RequestState, WorkflowName
from tests.fixtures.stack import FreshDatabase, PostgresServer
from tests.integration.control_plane.conftest import Keys, Platform, new_database, running_platform
from tests.integration.control_plane.engine_run import EngineRun, claimed, launch, report
from tests.integration.control_plane.rotations import (
    DAY_SECONDS,
    in_grace,
    retire,
    rotating,
    rotation_of,
    secret_in_use,
)
from tests.integration.control_plane.test_appenv_decommissioning import decommissioning_of
from tests.integration.control_plane.test_revocation import revocation_of
from tests.property.invariants import broken_now

_W, _S = WorkflowName, RequestState
PAST_DEADLINE_SECONDS = 1.0 + max(each.deadline_seconds for each in WORKFLOWS.values())

STATES = (
    _S.PENDING, _S.RUNNING, _S.WAITING, _S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.TIMED_OUT,
)  # fmt: skip
TABLE: dict[str, tuple[str, ...]] = {
    # of one that is pending, running, waiting, succeeded, failed, cancelled, timed out
    "cancel": (
        "cancelled", "cancelled by its run", "cancelled",
        "move_refused", "move_refused", "move_refused", "move_refused",
    ),
    "retry": (
        "move_refused", "move_refused", "move_refused",
        "move_refused", "pending", "pending", "pending",
    ),
    "re-run": (
        "running", "workflow_active", "workflow_active",
        "request_succeeded", "running", "running", "running",
    ),
    "undo": (
        "request_not_ended", "request_not_ended", "request_not_ended",
        "undone", "undone", "undone", "undone",
    ),
    "expire": (
        "timed_out", "timed_out", "pending",
        "succeeded", "failed", "cancelled", "timed_out",
    ),
}  # fmt: skip
"""The state that the request then has, or the code of the refusal. `re-run` is a run in Dagster
with the request's last one as its parent; `expire` is time, longer than deadline and wait.
"""
REFUSALS = {
    "move_refused", "workflow_active", "request_succeeded", "request_not_ended", "not_undoable",
}  # fmt: skip
ENDED = (_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.TIMED_OUT)


def outcome(workflow: WorkflowName, state: RequestState, action: str) -> str:
    is_for_good = not COMPENSATION.can_undo(workflow)
    if action == "undo" and is_for_good and (state in ENDED or workflow is _W.COMPENSATION):
        return "not_undoable"
    return TABLE[action][STATES.index(state)]


@pytest.fixture(scope="module")
def migrated(postgres_server: PostgresServer) -> FreshDatabase:
    """A database of its own: the invariants are about all that is in it."""
    return new_database(postgres_server)


@pytest.fixture(scope="module")
def shared(migrated: FreshDatabase, keys: Keys) -> Iterator[Platform]:
    """The platform of all cases of the table, whose time only goes on."""
    with running_platform(migrated, keys) as running:
        yield running


@pytest.fixture
def platform(shared: Platform) -> Platform:
    """The same in every test of the table."""
    return shared


@pytest.fixture
def aging(migrated: FreshDatabase, keys: Keys) -> Iterator[Platform]:
    """One of a test's own, on the same database: months go by on it."""
    with running_platform(migrated, keys) as running:
        yield running


# ── how a request comes to stand like that ───────────────────────────────────────────────────


def onboarding(platform: Platform) -> str:
    team = platform.new_subject().team
    accepted = platform.admin.ok("/v1/applications", {"team": team, "slug": "web"})
    return str(accepted["requestId"])


def provisioning(platform: Platform) -> str:
    return platform.provision(platform.new_subject(), "app-key")


def adding_secrets(platform: Platform) -> str:
    secret = secret_in_use(platform)
    path = f"/v1/application-environments/{secret.environment_id}/secrets"
    return str(platform.admin.ok(path, {"secrets": [{"name": "db"}]})["requestId"])


def ending_of_environment(platform: Platform) -> str:
    return decommissioning_of(platform, secret_in_use(platform))


def ending_of_secret(platform: Platform) -> str:
    return revocation_of(platform, secret_in_use(platform))


def ending_of_application(platform: Platform) -> str:
    application_id = platform.new_subject().application_id
    platform.admin.ok(f"/v1/applications/{application_id}/deprecate")
    ending = platform.admin.ok(f"/v1/applications/{application_id}/decommission", {})
    return str(ending["requestId"])


def rotation(platform: Platform) -> str:
    return rotation_of(platform, secret_in_use(platform))


def compensation(platform: Platform) -> str:
    run = claimed(platform, provisioning(platform))
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    undo = platform.admin.ok(f"/v1/workflow-requests/{run.request_id}/undo", {})
    return str(undo["requestId"])


ASKED: dict[WorkflowName, Callable[[Platform], str]] = {
    _W.APPLICATION_ONBOARDING: onboarding,
    _W.APPLICATION_ENVIRONMENT_PROVISIONING: provisioning,
    _W.SECRET_ROTATION: rotation,
    _W.SECRET_REVOCATION: ending_of_secret,
    _W.APPLICATION_ENVIRONMENT_DECOMMISSIONING: ending_of_environment,
    _W.APPLICATION_DECOMMISSIONING: ending_of_application,
    _W.COMPENSATION: compensation,
}
CASES: dict[str, tuple[WorkflowName, Callable[[Platform], str]]] = {
    **{str(workflow): (workflow, ASKED[workflow]) for workflow in WORKFLOWS},
    "added secrets": (_W.APPLICATION_ENVIRONMENT_PROVISIONING, adding_secrets),
}
"""Every workflow, and one that begins on what is in use already."""


def holder(platform: Platform, request_id: str, attempt: int = 1) -> EngineRun:
    """A run that holds it."""
    if platform.request(request_id)["workflow"] == _W.SECRET_ROTATION:
        return rotating(platform, request_id, attempt)
    return claimed(platform, request_id, attempt=attempt)


def at_work(platform: Platform, request_id: str) -> EngineRun:
    """A run that has made something."""
    run = holder(platform, request_id)
    run.do_all(run.steps[:2])
    return run


def brought_to(platform: Platform, request_id: str, state: RequestState) -> EngineRun:
    """The run that has brought it there, and that a re-run repeats."""
    run = at_work(platform, request_id)
    bring: dict[RequestState, Callable[[], object]] = {
        _S.PENDING: lambda: run.fail(run.steps[2], retryable=True),
        _S.RUNNING: lambda: None,
        _S.WAITING: lambda: run.tell("wait", reason="circuit_open", waitSeconds=60),
        _S.SUCCEEDED: lambda: succeed(platform, run),
        _S.FAILED: lambda: run.fail(run.steps[2], retryable=False),
        _S.CANCELLED: lambda: cancel_by_run(platform, run),
        _S.TIMED_OUT: lambda: platform.sweep_after(PAST_DEADLINE_SECONDS),
    }
    bring[state]()
    assert platform.request(request_id)["state"] == state
    return run


def succeed(platform: Platform, run: EngineRun) -> None:
    if run.claim["workflow"] != _W.SECRET_ROTATION:
        run.do_all(run.steps[2:-1])
        run.finalize()
        return
    run.do_all(run.steps[2:])
    run.end_phase()
    platform.sweep_after(DAY_SECONDS + 1)
    retire(platform, run.request_id)


def cancel_by_run(platform: Platform, run: EngineRun) -> None:
    platform.admin.ok(f"/v1/workflow-requests/{run.request_id}/cancel", {})
    report(platform, run, "canceled")


# ── what is asked, and what comes of it ──────────────────────────────────────────────────────


def steer(platform: Platform, run: EngineRun, action: str) -> str:
    answer = platform.admin.post(f"/v1/workflow-requests/{run.request_id}/{action}", {})
    return told(platform, run.request_id, answer)


def cancel(platform: Platform, run: EngineRun) -> str:
    state = steer(platform, run, "cancel")
    if state != "running":
        return state
    stopped = run.say(f"steps/{run.steps[2]}/start", retryNumber=0)
    assert (stopped.status_code, stopped.json()["code"]) == (409, "cancel_requested")
    assert report(platform, run, "canceled")["state"] == "cancelled"
    return "cancelled by its run"


def retry(platform: Platform, run: EngineRun) -> str:
    return steer(platform, run, "retry")


def rerun(platform: Platform, run: EngineRun) -> str:
    claim = run.claim
    answer = launch(
        platform, parentRunId=run.run_id, workflow=claim["workflow"], phase=claim["phase"]
    )
    if answer.status_code == 200:
        assert answer.json()["fence"] > claim["fence"]
        assert set(answer.json()["outcomes"]) == {str(each) for each in run.steps[:2]}
    return told(platform, run.request_id, answer)


def undo(platform: Platform, run: EngineRun) -> str:
    before = platform.request(run.request_id)["state"]
    seen = steer(platform, run, "undo")
    if seen != before:
        return seen
    (asked,) = platform.admin.seen("/v1/workflow-requests", workflow="Compensation", limit=1)[
        "items"
    ]
    undoing = claimed(platform, asked["id"])
    undoing.do_all()
    assert undoing.finalize().json()["state"] == "succeeded"
    assert platform.request(run.request_id)["undoneBy"] == asked["id"]
    return "undone"


def expire(platform: Platform, run: EngineRun) -> str:
    platform.sweep_after(PAST_DEADLINE_SECONDS)
    return str(platform.request(run.request_id)["state"])


def told(platform: Platform, request_id: str, answer: Any) -> str:
    """The code of a refusal, or the state that it has now; a refusal changes nothing."""
    if answer.status_code == 409:
        return str(answer.json()["code"])
    assert answer.status_code in (200, 202), answer.text
    return str(platform.request(request_id)["state"])


ACTIONS: dict[str, Callable[[Platform, EngineRun], str]] = {
    "cancel": cancel, "retry": retry, "re-run": rerun, "undo": undo, "expire": expire,
}  # fmt: skip


def changes_nothing(state: RequestState, expected: str) -> bool:
    return expected in REFUSALS or expected == state


@pytest.mark.endurance
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("case", CASES)
def test_what_comes_of_each_action_in_each_state(
    platform: Platform, case: str, state: RequestState
) -> None:
    """What changes nothing is asked of one request in turn; what does, of a new one each."""
    workflow, ask = CASES[case]
    expected = {action: outcome(workflow, state, action) for action in TABLE}
    unchanging = [each for each in TABLE if changes_nothing(state, expected[each])]
    changing = [[each] for each in TABLE if each not in unchanging]
    for actions in [unchanging, *changing] if unchanging else changing:
        run = brought_to(platform, ask(platform), state)
        before = platform.request(run.request_id)
        for action in actions:
            assert (action, ACTIONS[action](platform, run)) == (action, expected[action])
            if action in unchanging:
                assert platform.request(run.request_id) == before
    with platform.engine.connect() as connection:
        assert broken_now(connection) == []


GRACE_TABLE = {
    "cancel": "cancelled",
    "retry": "move_refused",
    "re-run": "wrong_phase",
    "undo": "request_not_ended",
    "expire": "pending",
}
"""Of a rotation in its grace period, which has ended phase 1; the re-run is of that phase's job."""


@pytest.mark.parametrize("action", GRACE_TABLE)
def test_what_comes_of_each_action_in_a_grace_period(platform: Platform, action: str) -> None:
    secret = secret_in_use(platform)
    request_id = in_grace(platform, secret)
    request = platform.request(request_id)
    assert request["waitingReason"] == ROTATION_GRACE.reason
    claim = {
        "requestId": request_id,
        "runId": request["attempts"][0]["runId"],
        "workflow": _W.SECRET_ROTATION,
        "phase": 1,
    }
    run = EngineRun(platform, claim)
    if action == "expire":
        platform.clock.advance(DAY_SECONDS)
    assert ACTIONS[action](platform, run) == GRACE_TABLE[action]
    with platform.engine.connect() as connection:
        assert broken_now(connection) == []


@pytest.mark.parametrize("action", ["retry", "re-run", "undo"])
@pytest.mark.parametrize("state", [_S.FAILED, _S.CANCELLED, _S.TIMED_OUT])
def test_what_is_too_old_does_not_come_back(
    aging: Platform, state: RequestState, action: str
) -> None:
    run = brought_to(aging, provisioning(aging), state)
    aging.clock.advance(REPEATABLE_FOR.total_seconds())
    before = aging.request(run.request_id)
    assert ACTIONS[action](aging, run) == "request_too_old"
    assert aging.request(run.request_id) == before


@pytest.mark.parametrize("action", ["retry", "re-run", "undo"])
def test_what_is_almost_too_old_does(aging: Platform, action: str) -> None:
    run = brought_to(aging, provisioning(aging), _S.FAILED)
    aging.clock.advance(REPEATABLE_FOR.total_seconds() - 60)
    wanted = outcome(_W.APPLICATION_ENVIRONMENT_PROVISIONING, _S.FAILED, action)
    assert ACTIONS[action](aging, run) == wanted
