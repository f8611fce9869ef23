"""Newer runs and older ones: fences, waiting for each other, draining."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from execution_workers.failpoints import REPOSITORY_CREATED, after_provider
from idp_kernel.clock import SystemClock
from idp_kernel.wire.worker import APPENV_SECRETS
from idp_kernel.workflows import Step
from tests.integration.execution_workers.catalogue import (
    REPOSITORY,
    SECRET,
    assert_effect,
    assert_problem,
)
from tests.integration.execution_workers.driver import Run, eventually, in_background

HELD = after_provider(Step.PROVISION_SECRETS)


def test_an_older_run_is_refused(run: Run, tmp_path: Path) -> None:
    assert run.with_(fence=7).raise_fence().json() == {"fence": 7}
    assert_problem(SECRET.do(run.with_(fence=6)), 409, "fenced_off")
    assert_problem(SECRET.undo(run.with_(fence=6)), 409, "fenced_off")
    assert_problem(run.with_(fence=6).raise_fence(), 409, "fenced_off")
    assert SECRET.times_done(run.world, run.appenv, tmp_path) == 0
    assert_effect(SECRET.do(run.with_(fence=7)), "created")


def test_each_call_raises_the_fence(run: Run) -> None:
    assert_effect(SECRET.do(run.with_(fence=5)), "created")
    assert_problem(SECRET.do(run.with_(fence=4)), 409, "fenced_off")


def test_fences_are_of_one_request(run: Run) -> None:
    assert run.with_(fence=9).raise_fence().status_code == 200
    assert_effect(SECRET.do(run.world.new_run(run.appenv)), "created")


def test_raising_the_fence_waits_for_calls_in_flight(run: Run) -> None:
    hit = run.world.workers.arm(HELD)
    with in_background(lambda: SECRET.do(run)) as held:
        eventually(hit.exists, what="the call is between provider and ledger")
        with in_background(run.with_(fence=2).raise_fence) as raising:
            _wait_for_lock(run)
            assert not raising.done()
            hit.unlink()
            assert raising.result().status_code == 200
            assert held.done() or held.result().status_code == 200
    assert_effect(held.result(), "created")


def test_who_waited_for_the_item_looks_at_the_fence_again(run: Run) -> None:
    hit = run.world.workers.arm(HELD)
    with in_background(lambda: SECRET.do(run)) as held:
        eventually(hit.exists, what="the first call holds the item")
        with in_background(lambda: SECRET.do(run)) as waiting:
            _wait_for_lock(run)
            with in_background(run.with_(fence=2).raise_fence) as raising:
                _wait_for_lock(run, waiters=2)
                hit.unlink()
                assert_effect(held.result(), "created")
                assert_problem(waiting.result(), 409, "fenced_off")
                assert raising.result().status_code == 200


def test_a_newer_run_stops_an_older_one_between_two_changes(run: Run, tmp_path: Path) -> None:
    hit = run.world.workers.arm(REPOSITORY_CREATED)
    with in_background(lambda: REPOSITORY.do(run)) as held:
        eventually(hit.exists, what="the repository is there, its seed is not")
        with in_background(run.with_(fence=2).raise_fence) as raising:
            _wait_for_lock(run)
            hit.unlink()
            assert_problem(held.result(), 409, "fenced_off")
            assert raising.result().status_code == 200
    assert REPOSITORY.times_done(run.world, run.appenv, tmp_path) == 0
    assert_effect(REPOSITORY.do(run.with_(fence=2)), "adopted")
    assert REPOSITORY.times_done(run.world, run.appenv, tmp_path) == 1


def test_a_request_without_time_left_stops_between_two_changes(run: Run, tmp_path: Path) -> None:
    clock = SystemClock()
    hit = run.world.workers.arm(REPOSITORY_CREATED)

    def stands_still(seconds: int) -> bool:
        """Whether the call gets so far in that time; one that does not has changed nothing."""
        deadline = clock.now() + timedelta(seconds=seconds)
        with in_background(lambda: REPOSITORY.do(run.with_(deadline=deadline))) as held:
            eventually(lambda: hit.exists() or held.done(), what="the repository is there")
            is_standing = hit.exists()
            if is_standing:
                eventually(lambda: clock.now() >= deadline, what="the deadline has passed")
                hit.unlink()
            assert_problem(held.result(), 409, "deadline_passed")
        return is_standing

    assert any(map(stands_still, (2, 4, 8, 16)))
    assert REPOSITORY.times_done(run.world, run.appenv, tmp_path) == 0, "its seed is not"
    assert_effect(REPOSITORY.do(run.with_(fence=2)), "adopted")


def test_a_run_that_is_over_stops_between_two_changes(run: Run, tmp_path: Path) -> None:
    hit = run.world.workers.arm(REPOSITORY_CREATED)
    with in_background(lambda: REPOSITORY.do(run)) as held:
        eventually(hit.exists, what="the repository is there, its seed is not")
        with in_background(run.close_fence) as closing:
            _wait_for_lock(run)
            hit.unlink()
            assert_problem(held.result(), 409, "fenced_off")
            assert closing.result().status_code == 200
    assert REPOSITORY.times_done(run.world, run.appenv, tmp_path) == 0
    assert run.close_fence().status_code == 200, "as often as it says so"
    assert_problem(SECRET.do(run), 409, "fenced_off")
    assert_problem(run.raise_fence(), 409, "fenced_off")
    assert_effect(REPOSITORY.do(run.with_(fence=2)), "adopted")
    assert_problem(run.close_fence(), 409, "fenced_off")
    assert_effect(SECRET.do(run.with_(fence=2)), "created")


def test_a_client_that_hangs_up_stops_nothing(run: Run, tmp_path: Path) -> None:
    hit = run.world.workers.arm(HELD)
    headers = {
        "Authorization": f"Bearer {run.token}",
        "Idempotency-Key": run.key(Step.PROVISION_SECRETS),
        "Content-Type": "application/json",
    }
    with closing(HTTPConnection(urlsplit(run.world.workers.url).netloc)) as client:
        client.request("POST", APPENV_SECRETS, json.dumps(SECRET.body(run.appenv)), headers)
        eventually(hit.exists, what="the call is between provider and ledger")
    hit.unlink()
    assert_effect(SECRET.do(run), "replayed")
    assert SECRET.times_done(run.world, run.appenv, tmp_path) == 1


def _wait_for_lock(run: Run, waiters: int = 1) -> None:
    eventually(lambda: run.world.lock_waiters() >= waiters, what=f"{waiters} calls wait")
