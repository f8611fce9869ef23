"""Requests through the whole engine, on its own processes and a real PostgreSQL."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from typing import Any, LiteralString

import psutil
import psycopg
import pytest
from psycopg import sql

from idp_cli.supervision.programs import Program
from idp_kernel.errors import ProviderRejected, Unavailable
from idp_kernel.ids import new_id
from idp_kernel.wire import worker
from idp_kernel.wire.engine import LostRun, RunEnding
from idp_kernel.workflows import APPLICATION_ENVIRONMENT_PROVISIONING, RequestState, Step
from local_stack.postgres_setup import connect_as_superuser
from tests.integration.idp_dagster.conftest import Engine, held, messages, wait_for
from tests.integration.idp_dagster.desired_states import REVISION, TRACE_ID
from tests.integration.idp_dagster.stand_in import StoodInRequest

pytestmark = pytest.mark.usefixtures("fresh_record")

STEPS = list(APPLICATION_ENVIRONMENT_PROVISIONING.steps)
PATHS = [
    worker.GIT_REPOSITORIES,
    worker.APPENV_BRANCH_PROTECTION,
    worker.APPENV_SECRETS,
    worker.APPENV_SECRET_BINDINGS,
    worker.APPENV_GITOPS_VERIFY,
]
CANCEL_SECONDS = 10.0
"""What is promised of a cancel."""
WORKER_SLOTS = 2
"""Of the engine of these tests."""
DATABASE_AWAY = "is not currently accepting connections"
"""What PostgreSQL answers meanwhile, in the logs of those that ask."""


def test_an_offered_request_is_carried_out(engine: Engine) -> None:
    request = engine.stand_in.add_request()
    wait_for(engine, request, RequestState.SUCCEEDED)

    assert [step for _, step, _ in request.started] == STEPS
    assert request.fence == 1, "claimed once"
    assert set(request.results) == set(STEPS)
    assert request.results[Step.CREATE_SECRET_BINDINGS].items[0].references == {
        "revision": REVISION
    }
    calls = engine.stand_in.workers.calls
    assert [call.path for call in calls] == PATHS
    assert [call.key for call in calls] == [f"{request.id}/1/{step}" for step in STEPS[:-1]]
    assert {call.bearer for call in calls} == {f"Bearer run-token-{request.id}"}
    assert all(call.traceparent and TRACE_ID in call.traceparent for call in calls)

    run = engine.wait_for_status(request.runs[0], "SUCCESS")
    assert run["tags"]["idp/request_id"] == request.id
    assert run["tags"]["idp/application_environment_id"] == request.subject_id
    engine.stand_in.wait_for(
        lambda: [each.ending for each in request.reports] == [RunEnding.SUCCEEDED]
    )


def test_a_request_reaches_its_first_step_in_three_seconds(engine: Engine) -> None:
    """One in three does: other tests want the machine as well."""
    moments = []
    for _ in range(3):
        request = engine.stand_in.add_request()
        wait_for(engine, request, RequestState.SUCCEEDED)
        moments.append(request.moments["first_step"])
    assert min(moments) < 3.0, moments


def test_a_passing_outage_is_retried_and_told_once(engine: Engine) -> None:
    away = Unavailable("forge away", details={"target": "local-forge"})
    engine.stand_in.workers.script.errors[worker.GIT_REPOSITORIES] = [away]
    request = engine.stand_in.add_request()
    wait_for(engine, request, RequestState.SUCCEEDED)

    first = Step.MATERIALIZE_REPOSITORIES
    assert [retry for _, step, retry in request.started if step is first] == [0, 1]
    assert [error.target for error in request.results[first].downstream_errors] == ["local-forge"]
    assert request.failures == []


def test_a_failed_step_is_told_and_run_again_from_the_ui(engine: Engine) -> None:
    rejected = ProviderRejected("The forge says no.", code="branch_name_refused")
    engine.stand_in.workers.script.errors[worker.APPENV_SECRET_BINDINGS] = [rejected]
    request = engine.stand_in.add_request()
    wait_for(engine, request, RequestState.FAILED)
    failed = engine.wait_for_status(request.runs[0], "FAILURE")
    attempt, step, error = request.failures[0]
    assert (attempt, step, error.code, error.retryable) == (
        1, Step.CREATE_SECRET_BINDINGS, "branch_name_refused", False
    )  # fmt: skip
    assert "The forge says no." in messages(failed)

    request.started.clear()
    rerun_id = engine.rerun(request.runs[0], "FROM_FAILURE")
    wait_for(engine, request, RequestState.SUCCEEDED)
    assert [(attempt, step) for attempt, step, _ in request.started] == [
        (2, step) for step in STEPS[3:]
    ]
    assert set(request.results) == set(STEPS)
    rerun = engine.wait_for_status(rerun_id, "SUCCESS")
    assert rerun["tags"]["idp/attempt"] == "2"


def test_a_rerun_from_the_start_takes_every_step_again(engine: Engine) -> None:
    rejected = ProviderRejected("No.", code="refused")
    engine.stand_in.workers.script.errors[worker.APPENV_SECRETS] = [rejected]
    request = engine.stand_in.add_request()
    wait_for(engine, request, RequestState.FAILED)
    engine.wait_for_status(request.runs[0], "FAILURE")

    request.started.clear()
    engine.rerun(request.runs[0], "ALL_STEPS")
    wait_for(engine, request, RequestState.SUCCEEDED)
    assert [(attempt, step) for attempt, step, _ in request.started] == [
        (2, step) for step in STEPS
    ]


def test_a_rerun_of_an_active_request_is_refused_and_changes_nothing(engine: Engine) -> None:
    with held(engine, worker.APPENV_SECRETS):
        request = engine.stand_in.add_request()
        engine.stand_in.wait_for(lambda: called(engine, worker.APPENV_SECRETS))
        refused_id = engine.rerun(request.runs[0], "ALL_STEPS")
        refused = engine.wait_for_status(refused_id, "FAILURE")
        assert f"Request {request.id} is active." in messages(refused)
    wait_for(engine, request, RequestState.SUCCEEDED)
    assert request.runs != [refused_id]
    assert refused_id not in {report.run_id for report in request.reports}


def test_a_launch_from_the_launchpad_is_a_request(engine: Engine) -> None:
    appenv_id = new_id()
    run_id = engine.launch({"application_environment_id": appenv_id, "reason": "first try"})
    run = engine.wait_for_status(run_id, "SUCCESS")
    request = engine.stand_in.requests[run["tags"]["idp/request_id"]]
    assert (request.subject_id, request.reasons) == (appenv_id, ["first try"])
    assert request.state is RequestState.SUCCEEDED


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "application_environment_id: <the id"),
        ({"application_environment_id": "dev", "reason": "why"}, "subject_id"),
    ],
)
def test_an_incomplete_launch_says_what_to_type(
    engine: Engine, config: dict[str, Any], said: str
) -> None:
    known = len(engine.stand_in.requests)
    run = engine.wait_for_status(engine.launch(config), "FAILURE")
    assert said in messages(run)
    assert len(engine.stand_in.requests) == known


def test_terminate_in_the_ui_cancels_run_and_request(engine: Engine) -> None:
    with held(engine, worker.APPENV_SECRETS):
        request = engine.stand_in.add_request()
        engine.stand_in.wait_for(lambda: called(engine, worker.APPENV_SECRETS))
        with held(engine, worker.FENCES):
            engine.terminate(request.runs[0])
            goes_on_until_drained(engine, request)
        engine.stand_in.wait_for(
            lambda: engine.status(request.runs[0]) == "CANCELED", CANCEL_SECONDS
        )
        wait_for(engine, request, RequestState.CANCELLED)
    assert [call.path for call in engine.stand_in.workers.calls] == PATHS[:3]
    assert [report.ending for report in request.reports] == [RunEnding.CANCELED]


def test_a_cancelled_request_cancels_its_run(engine: Engine) -> None:
    with held(engine, worker.APPENV_SECRETS):
        request = engine.stand_in.add_request()
        engine.stand_in.wait_for(lambda: called(engine, worker.APPENV_SECRETS))
        with held(engine, worker.FENCES):
            request.cancel_requested = True
            goes_on_until_drained(engine, request)
        engine.stand_in.wait_for(
            lambda: engine.status(request.runs[0]) == "CANCELED", CANCEL_SECONDS
        )
        wait_for(engine, request, RequestState.CANCELLED)
    assert [call.path for call in engine.stand_in.workers.calls] == PATHS[:3]


def test_a_cancel_in_a_retry_wait_ends_run_and_request(engine: Engine) -> None:
    """In the wait at hand when the run hears of it; were they all short, in the last try."""
    away, answered = Unavailable("store away", details={"target": "openbao"}), threading.Event()
    engine.stand_in.workers.script.errors[worker.APPENV_SECRETS] = [*[away] * 4, answered]
    request = engine.stand_in.add_request()

    def is_tried_again() -> bool:
        return (1, Step.PROVISION_SECRETS, 1) in request.started

    engine.stand_in.wait_for(is_tried_again)
    request.cancel_requested = True
    engine.stand_in.wait_for(lambda: engine.status(request.runs[0]) == "CANCELED", CANCEL_SECONDS)
    answered.set()
    wait_for(engine, request, RequestState.CANCELLED)
    assert {step for _, step, _ in request.started} == set(STEPS[:3])
    assert not called(engine, worker.APPENV_SECRET_BINDINGS)


def test_terminate_in_the_queue_ends_the_run_before_its_first_step(engine: Engine) -> None:
    with held(engine, worker.GIT_REPOSITORIES):
        at_work = [engine.stand_in.add_request() for _ in range(WORKER_SLOTS)]
        engine.stand_in.wait_for(lambda: all(each.runs for each in at_work))
        queued = engine.stand_in.add_request()
        engine.stand_in.wait_for(lambda: runs_of(engine, queued) != [])
        (run_id,) = runs_of(engine, queued)
        # Dagster takes no terminate between a run's creation and its place in the queue.
        engine.stand_in.wait_for(lambda: engine.status(run_id) == "QUEUED")
        engine.terminate(run_id)
        engine.stand_in.wait_for(lambda: engine.status(run_id) == "CANCELED", CANCEL_SECONDS)
        engine.stand_in.wait_for(lambda: queued.reports != [])
        queued.state = RequestState.CANCELLED  # what the control plane makes of the report
    assert {report.ending for report in queued.reports} == {RunEnding.CANCELED}
    for each in at_work:
        wait_for(engine, each, RequestState.SUCCEEDED)
    assert (queued.runs, queued.started) == ([], [])


def test_a_run_whose_request_was_cancelled_in_the_queue_is_canceled_too(engine: Engine) -> None:
    with held(engine, worker.GIT_REPOSITORIES):
        at_work = [engine.stand_in.add_request() for _ in range(WORKER_SLOTS)]
        engine.stand_in.wait_for(lambda: all(each.runs for each in at_work))
        queued = engine.stand_in.add_request()
        engine.stand_in.wait_for(lambda: runs_of(engine, queued) != [])
        queued.state = RequestState.CANCELLED
    (run_id,) = runs_of(engine, queued)
    engine.wait_for_status(run_id, "CANCELED")
    assert queued.started == []
    for each in at_work:
        wait_for(engine, each, RequestState.SUCCEEDED)


def test_a_run_that_lost_its_claim_stops(engine: Engine) -> None:
    with held(engine, worker.APPENV_SECRETS):
        request = engine.stand_in.add_request()
        engine.stand_in.wait_for(lambda: called(engine, worker.APPENV_SECRETS))
        lost_id = request.runs[0]
        request.run_id = "another"
        engine.wait_for_status(lost_id, "FAILURE")
    assert [call.path for call in engine.stand_in.workers.calls] == PATHS[:3]
    assert engine.stand_in.workers.drains == []
    assert request.failures == []


def test_the_run_of_a_killed_worker_is_ended_and_the_next_attempt_succeeds(engine: Engine) -> None:
    with held(engine, worker.APPENV_SECRETS):
        request = engine.stand_in.add_request()
        engine.stand_in.wait_for(lambda: called(engine, worker.APPENV_SECRETS))
        run_id = request.runs[0]
        os.kill(pid_of(engine.run(run_id)), signal.SIGKILL)
        lose(engine, request)
        engine.wait_for_status(run_id, "FAILURE")
        engine.stand_in.wait_for(lambda: engine.stand_in.lost == [])
    engine.stand_in.offer_again(request)
    wait_for(engine, request, RequestState.SUCCEEDED)
    assert [attempt for attempt, step, _ in request.started if step is STEPS[-1]] == [2]


@pytest.mark.endurance
def test_children_leave_with_a_killed_worker_and_its_successor_works(engine: Engine) -> None:
    parent = psutil.Process(engine.processes["worker"].pid)
    children = parent.children(recursive=True)
    parent.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert children
    assert alive == []
    engine.start("worker")
    request = engine.stand_in.add_request()
    wait_for(engine, request, RequestState.SUCCEEDED)


@pytest.mark.endurance
def test_a_killed_code_server_is_found_again(engine: Engine) -> None:
    engine.processes["code_server"].kill()
    engine.processes["code_server"].wait(10)
    engine.start("code_server")
    request = engine.stand_in.add_request()
    wait_for(engine, request, RequestState.SUCCEEDED)


@pytest.mark.endurance
def test_a_killed_daemon_leaves_nothing_undone(engine: Engine) -> None:
    request = engine.stand_in.add_request()
    engine.processes["daemon"].kill()
    engine.processes["daemon"].wait(10)
    engine.start("daemon")
    wait_for(engine, request, RequestState.SUCCEEDED)


def test_daemon_and_code_server_leave_when_they_are_asked_to(engine: Engine) -> None:
    """Sensors wait for work just then, for up to twenty seconds; who supervises waits for ten."""
    modules = ("daemon", "code_server")
    leaving = [engine.processes[each] for each in modules]
    for process in leaving:
        process.terminate()
    give_up_at = time.monotonic() + Program.stop_seconds
    ended = [each.wait(max(0, give_up_at - time.monotonic())) for each in leaving]
    assert ended == [0, 0]
    for module in modules:
        engine.start(module)
    wait_for(engine, engine.stand_in.add_request(), RequestState.SUCCEEDED)


def test_the_engine_survives_an_outage_of_its_database(engine: Engine) -> None:
    with held(engine, worker.APPENV_SECRETS):
        request = engine.stand_in.add_request()
        engine.stand_in.wait_for(lambda: called(engine, worker.APPENV_SECRETS))
        with database_away(engine):
            engine.stand_in.wait_for(
                lambda: all(DATABASE_AWAY in engine.log(module) for module in ("daemon", "worker"))
            )
    later = engine.stand_in.add_request()
    wait_for(engine, later, RequestState.SUCCEEDED)
    wait_for(engine, request, RequestState.SUCCEEDED)


def test_an_ending_that_was_not_told_is_told_when_the_attempt_is_offered_again(
    engine: Engine,
) -> None:
    request = engine.stand_in.add_request()
    wait_for(engine, request, RequestState.SUCCEEDED)
    engine.wait_for_status(request.runs[0], "SUCCESS")
    engine.stand_in.wait_for(lambda: len(request.reports) == 1)
    with engine.stand_in.lock:
        request.state, request.run_id, request.offered_at = RequestState.PENDING, None, None
        engine.stand_in.lock.notify_all()
    engine.stand_in.wait_for(lambda: len(request.reports) == 2)
    assert request.reports[1].run_id == request.runs[0]
    request.state = RequestState.SUCCEEDED


def test_nothing_delivered_stays_in_the_broker(engine: Engine) -> None:
    request = engine.stand_in.add_request()
    wait_for(engine, request, RequestState.SUCCEEDED)
    # A schedule's run may be on its way just now; what stays is there at every look.
    engine.stand_in.wait_for(
        lambda: rows_of(engine, "SELECT count(*) FROM kombu_message") == [(0,)]
    )


def test_the_end_of_a_step_is_stored_together_with_what_follows(engine: Engine) -> None:
    request = engine.stand_in.add_request()
    wait_for(engine, request, RequestState.SUCCEEDED)
    (run_id,) = request.runs
    engine.wait_for_status(run_id, "SUCCESS")
    stored = rows_of(
        engine,
        "SELECT dagster_event_type, xmin::text FROM event_logs WHERE run_id = %s ORDER BY id",
        run_id,
    )
    followed = [(one, next_) for one, next_ in pairwise(stored) if one[0] == "STEP_SUCCESS"]
    assert len(followed) == len(STEPS)
    assert all(transaction == next_[1] for (_, transaction), next_ in followed), stored
    starts = [transaction for type_, transaction in stored if type_ == "STEP_START"]
    assert len(set(starts)) == len(STEPS)


def rows_of(engine: Engine, query: LiteralString, *values: str) -> list[tuple[Any, ...]]:
    """Of the database that Dagster and the broker share."""
    url = engine.environment["IDP_ENGINE_BROKER_URL"].removeprefix("sqla+postgresql+psycopg")
    with psycopg.connect(f"postgresql{url}") as connection:
        return connection.execute(query, values).fetchall()


def goes_on_until_drained(engine: Engine, request: StoodInRequest) -> None:
    """A run that shall end, while the workers are still busy with its call."""
    token = f"Bearer run-token-{request.id}"
    engine.stand_in.wait_for(
        lambda: engine.stand_in.workers.drains == [(token, True)], CANCEL_SECONDS
    )
    assert engine.status(request.runs[0]) == "CANCELING"
    assert request.state is RequestState.RUNNING


def runs_of(engine: Engine, request: StoodInRequest) -> list[str]:
    """Ids of the Dagster runs that were asked for it, claimed or not."""
    found = engine.graphql(_RUNS_OF, requestId=request.id)["runsOrError"]["results"]
    return [str(run["runId"]) for run in found]


_RUNS_OF = """query ($requestId: String!) { runsOrError(
    filter: {tags: [{key: "idp/request_id", value: $requestId}]}) {
    ... on Runs { results { runId } } } }"""


def called(engine: Engine, path: str) -> bool:
    return any(call.path == path for call in engine.stand_in.workers.calls)


@contextmanager
def database_away(engine: Engine) -> Iterator[None]:
    """Nobody has a connection to the engine's database meanwhile, nor gets one."""
    database = engine.database
    with closing(connect_as_superuser(engine.postgres.address, "postgres")) as server:
        name = sql.Identifier(database)
        server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            (database,),
        )
        try:
            yield
        finally:
            server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))


def pid_of(run: dict[str, Any]) -> int:
    """The worker process that executes the run, as Dagster noted it."""
    started = [
        event["message"]
        for event in run["eventConnection"]["events"]
        if event.get("message", "").startswith("Started process for run (pid: ")
    ]
    return int(started[0].removeprefix("Started process for run (pid: ").removesuffix(")."))


def lose(engine: Engine, request: StoodInRequest) -> None:
    """The control plane takes the request from its run, as it does when the lease has ended."""
    assert request.run_id is not None
    lost = LostRun(
        run_id=request.run_id,
        request_id=request.id,
        attempt=request.attempt,
        cause="lease_expired",
    )
    request.run_id = None
    engine.stand_in.lose(lost)
