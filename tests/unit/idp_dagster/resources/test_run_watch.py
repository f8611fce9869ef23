"""A run without a request ends when it is to, and only then."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, OpExecutionContext, job, op

from idp_dagster.resources.interrupts import is_terminated
from idp_dagster.resources.run_watch import RunWatchResource, watched
from idp_dagster.tags import LAST_SEEN
from idp_kernel.ids import new_id

# No postponed annotations here: Dagster reads those of the decorated functions as classes.

QUICK_SECONDS = 0.01


def watching(
    must_end: Callable[[], bool],
    end: Callable[[], None],
    *,
    look_every_seconds: float = QUICK_SECONDS,
    sign: Callable[[], None] = lambda: None,
) -> AbstractContextManager[None]:
    return watched(
        must_end, end, look_every_seconds, sign=sign, sign_every_seconds=2 * QUICK_SECONDS
    )


def test_the_run_is_ended_once() -> None:
    ended = threading.Semaphore(0)
    with watching(lambda: True, ended.release):
        assert ended.acquire(timeout=5)
    assert not ended.acquire(blocking=False)


def test_a_failed_look_is_none() -> None:
    looks: Iterator[object] = iter([ValueError("away"), False, True])
    ended = threading.Event()

    def must_end() -> bool:
        answer = next(looks)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    with watching(must_end, ended.set):
        assert ended.wait(5)


def test_signs_of_life_go_on_whatever_becomes_of_one() -> None:
    signs, gone_on = [], threading.Event()

    def sign() -> None:
        signs.append(1)
        if len(signs) == 1:
            raise ValueError("away")
        if len(signs) == 3:
            gone_on.set()

    with watching(lambda: False, gone_on.set, sign=sign):
        assert gone_on.wait(5)
    assert len(signs) >= 3


def test_a_run_that_asks_for_the_watch_says_that_it_is_alive(tmp_path: Path) -> None:
    def last_seen(instance: DagsterInstance, run_id: str) -> str | None:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        return run.tags.get(LAST_SEEN)

    @op(required_resource_keys={"run_watch"})
    def waits_for_a_sign(context: OpExecutionContext) -> None:
        for _ in range(500):
            if last_seen(context.instance, context.run_id) is not None:
                return
            threading.Event().wait(QUICK_SECONDS)

    @job(resource_defs={"run_watch": RunWatchResource()})
    def watched_job() -> None:
        waits_for_a_sign()

    before = datetime.now(UTC)
    # In files: a database in memory refuses who reads while another thread writes.
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        run = watched_job.execute_in_process(instance=instance)
        sign = last_seen(instance, run.run_id)
    assert sign is not None
    assert before <= datetime.fromisoformat(sign) <= datetime.now(UTC)


def test_nothing_is_ended_after_the_run() -> None:
    looked, told_late = threading.Event(), threading.Event()

    def must_end() -> bool:
        looked.set()
        return True

    with watching(must_end, told_late.set, look_every_seconds=60):
        pass
    assert not looked.is_set()
    assert not told_late.is_set()


@pytest.mark.parametrize(
    ("status", "terminated"),
    [
        (DagsterRunStatus.STARTED, False),
        (DagsterRunStatus.CANCELING, True),
        (DagsterRunStatus.CANCELED, True),
        (DagsterRunStatus.FAILURE, True),
    ],
)
def test_a_run_is_to_end_when_dagster_shows_it_so(
    status: DagsterRunStatus, *, terminated: bool
) -> None:
    with DagsterInstance.ephemeral() as instance:
        run = DagsterRun(job_name="secret_checks", run_id=new_id(), status=status)
        instance.run_storage.add_run(run)
        assert is_terminated(instance, run.run_id) is terminated
        assert is_terminated(instance, new_id())
