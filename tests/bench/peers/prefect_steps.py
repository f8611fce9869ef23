"""The six steps on Prefect: `python -m tests.bench.peers.prefect_steps <driver|worker>`, in its own
environment.

Requests are background tasks, which a worker that is there already takes up and carries out as a
flow. A deployment would start a process for each.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from uuid import UUID

import httpx
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId
from prefect.task_worker import serve

from tests.bench.driver import drive
from tests.bench.steps import STEPS, slots, step_headers, step_url

READ_AT_ONCE = 200


@cache
def stub_client() -> httpx.Client:
    """One for each process, which keeps its connections."""
    return httpx.Client(timeout=30)


@task
def call(request_id: str, step: str) -> None:
    """One step."""
    headers = step_headers(request_id, step)
    stub_client().post(step_url(step), headers=headers, json={}).raise_for_status()


@flow
def six_steps(request_id: str) -> None:
    """All of them."""
    for step in STEPS:
        call(request_id, step)


@task
def carry_out(request_id: str) -> None:
    """A request."""
    six_steps(request_id)


def submit() -> None:
    """Submits requests as it is told."""
    run_ids: dict[str, UUID] = {}

    def delay(request_id: str) -> None:
        run_ids[request_id] = carry_out.delay(request_id).task_run_id

    def finished_at(ids: Iterable[str]) -> Mapping[str, float]:
        wanted = {run_ids[each]: each for each in ids}
        ended = asyncio.run(_ended(list(wanted)))
        return {wanted[run_id]: at for run_id, at in ended.items()}

    drive(delay, finished_at)


async def _ended(run_ids: list[UUID]) -> Mapping[UUID, float]:
    found: dict[UUID, float] = {}
    async with get_client() as client:
        for start in range(0, len(run_ids), READ_AT_ONCE):
            part = run_ids[start : start + READ_AT_ONCE]
            only = TaskRunFilter(id=TaskRunFilterId(any_=part))
            for run in await client.read_task_runs(task_run_filter=only, limit=READ_AT_ONCE):
                if run.state is not None and run.state.is_failed():
                    raise RuntimeError(f"Task run {run.id} failed.")
                if run.state is not None and run.state.is_completed():
                    found[run.id] = run.state.timestamp.timestamp()
    return found


if __name__ == "__main__":
    if sys.argv[1] == "driver":
        submit()
    else:
        serve(carry_out, limit=slots())
