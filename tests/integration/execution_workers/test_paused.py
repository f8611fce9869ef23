"""A process that is stopped in the middle of a call, and wakes when a newer run is at work."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, text

from execution_workers.failpoints import REPOSITORY_CREATED, SECRET_MARKED, after_provider
from idp_kernel.clock import SystemClock
from tests.fixtures.stack import free_port
from tests.integration.execution_workers.catalogue import (
    BINDINGS,
    REPOSITORY,
    SECRET,
    Effect,
    assert_effect,
    assert_problem,
)
from tests.integration.execution_workers.driver import (
    Run,
    WorkersProcess,
    World,
    eventually,
    for_long,
    in_background,
)

HALFWAY = [(REPOSITORY, REPOSITORY_CREATED), (SECRET, SECRET_MARKED)]
"""Effects of several changes, and where they stand between two."""
LEASE = timedelta(seconds=3)


@pytest.fixture(scope="module")
def replica(world: World, home: Path) -> Iterator[WorkersProcess]:
    """A second process on the same ledger; nothing holds it still."""
    port, failpoints = free_port(), home / "no-failpoints"
    failpoints.mkdir()
    environment = {**world.workers.environment, "IDP_EXECUTION_WORKERS_PORT": str(port)}
    workers = WorkersProcess(environment, port, home / "replica.log", failpoints)
    try:
        workers.start()
        yield workers
    finally:
        workers.stop()


@pytest.fixture
def newer(run: Run, replica: WorkersProcess) -> Run:
    """The next run of the same request, which calls the other process."""
    return run.with_(fence=2, world=replace(run.world, workers=replica))


@contextmanager
def paused(world: World) -> Iterator[None]:
    """The process stands still meanwhile; what is sent to it waits in its socket."""
    process_id = world.workers.process_id
    assert process_id is not None
    os.kill(process_id, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process_id, signal.SIGCONT)


def cut_off(world: World) -> None:
    """The database gives up the connections of calls in flight, and with them their locks, as
    when their machine does not answer.
    """
    calls = "SELECT DISTINCT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
    engine = create_engine(world.database_url)
    with engine.begin() as connection:
        connection.execute(text(calls))
    engine.dispose()


def wait_for_locks(run: Run) -> None:
    eventually(lambda: run.world.lock_waiters() >= 1, what="the newer run waits")


@pytest.mark.parametrize(("effect", "place"), HALFWAY, ids=["repository", "secret"])
def test_between_two_changes_it_makes_no_further_one(
    effect: Effect, place: str, run: Run, newer: Run, tmp_path: Path
) -> None:
    effect.prepare(run)
    hit = run.world.workers.arm(place)
    with in_background(lambda: effect.do(run)) as held:
        eventually(hit.exists, what="the first change is made")
        with in_background(newer.raise_fence) as raising:
            with paused(run.world):
                wait_for_locks(run)
                hit.unlink()
                assert not raising.done()
            assert_problem(held.result(), 409, "fenced_off")
            assert raising.result().status_code == 200
    assert effect.times_done(run.world, run.appenv, tmp_path) == 0
    assert effect.do(newer).status_code == 200
    assert effect.times_done(run.world, run.appenv, tmp_path) == 1


@pytest.mark.parametrize(("effect", "place"), HALFWAY, ids=["repository", "secret"])
def test_cut_off_from_the_ledger_it_makes_no_further_change_either(
    effect: Effect, place: str, run: Run, newer: Run, tmp_path: Path
) -> None:
    """Its locks are gone with its connection, so nothing held the newer run back."""
    effect.prepare(run)
    hit = run.world.workers.arm(place)
    with in_background(lambda: effect.do(run)) as held:
        eventually(hit.exists, what="the first change is made")
        with paused(run.world):
            cut_off(run.world)
            assert effect.do(newer).status_code == 200
            assert effect.times_done(run.world, run.appenv, tmp_path) == 1
            hit.unlink()
        assert_problem(held.result(), 503, "ledger_unavailable")
    assert effect.times_done(run.world, run.appenv, tmp_path) == 1
    assert_effect(effect.do(newer), "replayed")
    assert_problem(effect.do(run), 409, "fenced_off")


@pytest.mark.parametrize(
    "effect", [SECRET, for_long(REPOSITORY), for_long(BINDINGS)], ids=lambda each: each.name
)
def test_what_it_had_done_at_the_provider_is_adopted_once(
    effect: Effect, run: Run, newer: Run, tmp_path: Path
) -> None:
    effect.prepare(run)
    hit = run.world.workers.arm(after_provider(effect.step))
    with in_background(lambda: effect.do(run)) as held:
        eventually(hit.exists, what="the provider has done it, the ledger does not know")
        with paused(run.world):
            cut_off(run.world)
            adopted = assert_effect(effect.do(newer), "adopted")
            assert adopted["events"] == [effect.event], "told once, by the request that did it"
            hit.unlink()
        assert_problem(held.result(), 503, "ledger_unavailable")
    assert_effect(effect.do(newer), "replayed")
    assert effect.times_done(run.world, run.appenv, tmp_path) == 1


@pytest.mark.parametrize(
    "effect", [SECRET, for_long(REPOSITORY), for_long(BINDINGS)], ids=lambda each: each.name
)
def test_the_newer_run_waits_for_it_as_long_as_it_has_its_locks(
    effect: Effect, run: Run, newer: Run, tmp_path: Path
) -> None:
    effect.prepare(run)
    hit = run.world.workers.arm(after_provider(effect.step))
    with in_background(lambda: effect.do(run)) as held:
        eventually(hit.exists, what="the provider has done it, the ledger does not know")
        with in_background(lambda: effect.do(newer)) as waiting:
            with paused(run.world):
                wait_for_locks(run)
                hit.unlink()
                assert not waiting.done()
            assert_effect(held.result(), "created")
            assert_effect(waiting.result(), "replayed")
    assert effect.times_done(run.world, run.appenv, tmp_path) == 1


def test_a_call_that_waited_in_it_past_its_lease_does_nothing(run: Run, tmp_path: Path) -> None:
    token, ends_at = run.with_(lifetime=LEASE).token, SystemClock().now() + LEASE

    def ask() -> httpx.Response:
        return run.post(SECRET.path, SECRET.body(run.appenv), run.key(SECRET.step), token=token)

    with ExitStack() as stack:
        with paused(run.world):
            waiting = stack.enter_context(in_background(ask))
            eventually(lambda: SystemClock().now() > ends_at, what="the lease has ended")
        assert_problem(waiting.result(), 401, "token_expired")
    assert SECRET.times_done(run.world, run.appenv, tmp_path) == 0
