"""The six steps as a chain of Celery tasks, a message for each.

`python -m tests.bench.contenders.celery_steps <driver|worker>`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import httpx
from celery import Celery, chain
from celery.backends.database.models import Task as TaskRow
from sqlalchemy import create_engine, select

from idp_dagster.broker import use_quick_transport
from tests.bench.driver import drive
from tests.bench.steps import STEPS, slots, step_headers, step_url

BROKER_VARIABLE = "BENCH_BROKER_URL"
RESULTS_VARIABLE = "BENCH_RESULTS_URL"
CALL = "bench.call"

Options = dict[str, Any]


@cache
def stub_client() -> httpx.Client:
    """One for each process, which keeps its connections."""
    return httpx.Client(timeout=30)


def call(request_id: str, step: str) -> None:
    """One step."""
    headers = step_headers(request_id, step)
    stub_client().post(step_url(step), headers=headers, json={}).raise_for_status()


def application() -> Celery:
    """On the broker of the environment; only a chain's last task leaves a result."""
    use_quick_transport()
    app = Celery("bench", broker=os.environ[BROKER_VARIABLE], backend=os.environ[RESULTS_VARIABLE])
    app.conf.update(worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)
    app.task(call, name=CALL)
    return app


class Submitter:
    """Sends chains; their last task bears the request's id."""

    def __init__(self, app: Celery) -> None:
        self._task = app.tasks[CALL]
        self._results = create_engine(os.environ[RESULTS_VARIABLE].removeprefix("db+"))

    def submit(self, request_id: str) -> None:
        steps = [self._task.si(request_id, each).set(ignore_result=True) for each in STEPS[:-1]]
        last = self._task.si(request_id, STEPS[-1]).set(task_id=request_id, ignore_result=False)
        chain(*steps, last).apply_async()

    def finished_at(self, ids: Iterable[str]) -> Mapping[str, float]:
        wanted = select(TaskRow.task_id, TaskRow.status, TaskRow.date_done).where(
            TaskRow.task_id.in_(list(ids))
        )
        with self._results.connect() as connection:
            rows = connection.execute(wanted).all()
        failed = [task_id for task_id, status, _ in rows if status == "FAILURE"]
        if failed:
            raise RuntimeError(f"Failed: {failed}")
        return {task_id: _moment(done) for task_id, _, done in rows if done is not None}


def _moment(naive: datetime) -> float:
    return naive.replace(tzinfo=UTC).timestamp()


def make_tables(app: Celery) -> None:
    """Of the queue and of results."""
    app.backend.ResultSession()
    with app.connection_for_write() as connection:
        for queue in app.amqp.queues.values():
            queue(connection.default_channel).declare()


def main(program: str) -> None:
    """A worker, or what submits."""
    app = application()
    if program == "driver":
        submitter = Submitter(app)
        make_tables(app)
        drive(submitter.submit, submitter.finished_at)
    else:
        app.Worker(
            pool_cls="prefork",
            concurrency=slots(),
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        ).start()


if __name__ == "__main__":
    main(sys.argv[1])
