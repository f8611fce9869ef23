"""The six steps on Temporal: `python -m tests.bench.peers.temporal <driver|worker>`, in its own
environment.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta

import httpx
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.bench.driver import drive
from tests.bench.steps import STEPS, step_headers, step_url

ADDRESS_VARIABLE = "BENCH_TEMPORAL_ADDRESS"
QUEUE = "bench"
READ_AT_ONCE = 100


@workflow.defn
class SixSteps:
    """An activity for each step."""

    @workflow.run
    async def run(self, request_id: str) -> None:
        for step in STEPS:
            await workflow.execute_activity(
                "call", args=[request_id, step], start_to_close_timeout=timedelta(seconds=60)
            )


class Steps:
    """The activity, with a client that keeps its connections."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(timeout=30)

    @activity.defn
    async def call(self, request_id: str, step: str) -> None:
        headers = step_headers(request_id, step)
        answer = await self._client.post(step_url(step), headers=headers, json={})
        answer.raise_for_status()


async def work() -> None:
    """Until a signal ends it."""
    client = await Client.connect(os.environ[ADDRESS_VARIABLE])
    steps = Steps()
    await Worker(
        client,
        task_queue=QUEUE,
        workflows=[SixSteps],
        activities=[steps.call],
        # Spares it what looks for mistakes in workflows.
        workflow_runner=UnsandboxedWorkflowRunner(),
    ).run()


def submit() -> None:
    """Starts workflows as it is told."""
    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(Client.connect(os.environ[ADDRESS_VARIABLE]))

    def start(request_id: str) -> None:
        starting = client.start_workflow(SixSteps.run, request_id, id=request_id, task_queue=QUEUE)
        loop.run_until_complete(starting)

    def finished_at(ids: Iterable[str]) -> Mapping[str, float]:
        return loop.run_until_complete(_finished(client, list(ids)))

    drive(start, finished_at)


async def _finished(client: Client, ids: list[str]) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for start in range(0, len(ids), READ_AT_ONCE):
        part = ids[start : start + READ_AT_ONCE]
        told = await asyncio.gather(*(client.get_workflow_handle(each).describe() for each in part))
        for each in told:
            if each.status == WorkflowExecutionStatus.COMPLETED and each.close_time is not None:
                found[each.id] = each.close_time.timestamp()
            elif each.status != WorkflowExecutionStatus.RUNNING:
                raise RuntimeError(f"Workflow {each.id} ended as {each.status}.")
    return found


if __name__ == "__main__":
    if sys.argv[1] == "driver":
        submit()
    else:
        asyncio.run(work())
