"""The six steps on DBOS: `python -m tests.bench.peers.dbos_steps <driver|worker>`, in its own
environment.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Mapping

import httpx
from dbos import DBOS, DBOSClient

from tests.bench.driver import drive
from tests.bench.steps import STEPS, step_headers, step_url

DATABASE_VARIABLE = "BENCH_DATABASE_URL"
WORKERS_VARIABLE = "BENCH_DBOS_AT_ONCE"
POLLING_VARIABLE = "BENCH_DBOS_POLLING_SECONDS"
QUEUE = "bench"
WORKFLOW = "six_steps"
VERSION = "1"

stub_client = httpx.Client(timeout=30)


@DBOS.step()
def call(request_id: str, step: str) -> None:
    """One step."""
    headers = step_headers(request_id, step)
    stub_client.post(step_url(step), headers=headers, json={}).raise_for_status()


@DBOS.workflow(name=WORKFLOW)
def six_steps(request_id: str) -> None:
    """All of them."""
    for step in STEPS:
        call(request_id, step)


def work() -> None:
    """Until a signal ends it."""
    DBOS(
        config={
            "name": "bench",
            "system_database_url": os.environ[DATABASE_VARIABLE],
            "application_version": VERSION,
        }
    )
    DBOS.launch()
    DBOS.register_queue(
        QUEUE,
        worker_concurrency=int(os.environ[WORKERS_VARIABLE]),
        polling_interval_sec=float(os.environ[POLLING_VARIABLE]),
    )
    print("ready", flush=True)  # noqa: T201 - whoever started it waits for this line
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    DBOS.destroy()


def submit() -> None:
    """Enqueues workflows as it is told."""
    client = DBOSClient(system_database_url=os.environ[DATABASE_VARIABLE])

    def enqueue(request_id: str) -> None:
        options = {
            "queue_name": QUEUE,
            "workflow_name": WORKFLOW,
            "workflow_id": request_id,
            "app_version": VERSION,
        }
        client.enqueue(options, request_id)

    def finished_at(ids: Iterable[str]) -> Mapping[str, float]:
        told = client.list_workflows(workflow_ids=list(ids), load_input=False, load_output=False)
        failed = [each.workflow_id for each in told if each.status in ("ERROR", "CANCELLED")]
        if failed:
            raise RuntimeError(f"Workflows failed: {failed}")
        return {
            each.workflow_id: each.completed_at / 1000
            for each in told
            if each.status == "SUCCESS" and each.completed_at is not None
        }

    drive(enqueue, finished_at)


if __name__ == "__main__":
    if sys.argv[1] == "driver":
        submit()
    else:
        work()
