"""The six steps as a Dagster job, its definitions by executor, and how it is submitted.

`python -m tests.bench.contenders.dagster_steps driver` submits runs as Dagster's own sensor daemon
does.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import httpx
from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    Definitions,
    ExecutorDefinition,
    In,
    JobDefinition,
    LoggerDefinition,
    Nothing,
    OpDefinition,
    OpExecutionContext,
    ResourceDefinition,
    RunsFilter,
    graph,
    op,
)
from dagster._core.remote_origin import RemoteRepositoryOrigin  # noqa: F401 - loads what unpacks origins
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from tests.bench.driver import drive
from tests.bench.steps import STEPS, step_headers, step_url

# No postponed annotations here: Dagster reads those of the decorated functions as classes.

JOB = "six_steps"
LOCATION = "bench"
WORKSPACE_VARIABLE = "BENCH_WORKSPACE"
RUN_CONFIG_VARIABLE = "BENCH_RUN_CONFIG"
"""Of each run, as JSON."""
READ_AT_ONCE = 500


@cache
def stub_client() -> httpx.Client:
    """One for each process, which keeps its connections."""
    return httpx.Client(timeout=30)


def step_op(step: str, *, first: bool) -> OpDefinition:
    """An op of one call."""

    @op(name=step, ins={} if first else {"after": In(Nothing)})
    def call(context: OpExecutionContext) -> None:
        headers = step_headers(context.run_id, step)
        stub_client().post(step_url(step), headers=headers, json={}).raise_for_status()

    return call


def six_steps(executor: ExecutorDefinition) -> JobDefinition:
    """The ops in a row."""
    ops = [step_op(step, first=number == 0) for number, step in enumerate(STEPS)]

    @graph(name=JOB)
    def in_a_row() -> None:
        before: Any = ops[0]()
        for each in ops[1:]:
            before = each(before)

    return in_a_row.to_job(executor_def=executor)


def definitions(
    executor: ExecutorDefinition,
    *,
    loggers: Mapping[str, LoggerDefinition] | None = None,
    resources: Mapping[str, ResourceDefinition] | None = None,
) -> Definitions:
    """All that a code location has."""
    return Definitions(jobs=[six_steps(executor)], loggers=loggers, resources=resources)


class Submitter:
    """Makes runs and hands them to the run queue."""

    def __init__(
        self,
        instance: DagsterInstance,
        workspace: WorkspaceProcessContext,
        run_config: Mapping[str, Any],
    ) -> None:
        self._instance = instance
        self._workspace = workspace
        self._run_config = run_config

    def submit(self, run_id: str) -> None:
        location = self._workspace.create_request_context().get_code_location(LOCATION)
        repository = next(iter(location.get_repositories().values()))
        job = repository.get_full_job(JOB)
        plan = location.get_execution_plan(
            job,
            self._run_config,
            step_keys_to_execute=None,
            known_state=None,
            instance=self._instance,
        )
        self._instance.create_run(
            job_name=JOB,
            run_id=run_id,
            run_config=self._run_config,
            resolved_op_selection=job.resolved_op_selection,
            step_keys_to_execute=None,
            status=DagsterRunStatus.NOT_STARTED,
            op_selection=None,
            root_run_id=None,
            parent_run_id=None,
            tags={},
            job_snapshot=job.job_snapshot,
            execution_plan_snapshot=plan.execution_plan_snapshot,
            parent_job_snapshot=job.parent_job_snapshot,
            remote_job_origin=job.get_remote_origin(),
            job_code_origin=job.get_python_origin(),
            asset_selection=None,
            asset_check_selection=None,
            asset_graph=repository.asset_graph,
        )
        self._instance.submit_run(run_id, self._workspace.create_request_context())

    def finished_at(self, ids: Iterable[str]) -> Mapping[str, float]:
        wanted = list(ids)
        found: dict[str, float] = {}
        for start in range(0, len(wanted), READ_AT_ONCE):
            filters = RunsFilter(run_ids=wanted[start : start + READ_AT_ONCE])
            for record in self._instance.get_run_records(filters):
                _refuse_failed(record.dagster_run)
                if record.dagster_run.is_success and record.end_time is not None:
                    found[record.dagster_run.run_id] = record.end_time
        return found


def _refuse_failed(run: DagsterRun) -> None:
    if run.is_failure_or_canceled:
        raise RuntimeError(f"Run {run.run_id} ended as {run.status}.")


def main(workspace_file: str, run_config: Mapping[str, Any]) -> None:
    """Submits what it is told."""
    with (
        DagsterInstance.get() as instance,
        WorkspaceProcessContext(
            instance, workspace_load_target=WorkspaceFileTarget(paths=[workspace_file])
        ) as workspace,
    ):
        submitter = Submitter(instance, workspace, run_config)
        drive(submitter.submit, submitter.finished_at)


if __name__ == "__main__":
    import json
    import os

    main(os.environ[WORKSPACE_VARIABLE], json.loads(os.environ.get(RUN_CONFIG_VARIABLE, "{}")))
