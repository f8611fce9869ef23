"""Runs as tasks of warm Celery workers, their health told by the lease, or by the signs of life of
those that have none.

Beside `CeleryRunLauncher`: a cancel works on every broker, the task has the run's id, and a killed
worker's run is not taken for a healthy one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from celery import Task
from dagster import DagsterInstance, DagsterRun, Field, StringSource
from dagster._cli.api import _execute_run_command_body
from dagster._config import UserConfigSchema
from dagster._core.events import EngineEventData
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClassData, pack_value, unpack_value
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.launcher import CeleryRunLauncher, _get_run_priority
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG
from dagster_shared.serdes.serdes import JsonSerializableValue

from idp_dagster.clients import control_plane_client
from idp_dagster.storage import events_held
from idp_dagster.tags import LAST_SEEN, TRACEPARENT, log_fields_of, subject_of
from idp_kernel.clock import Clock, SystemClock
from idp_kernel.errors import NotFound
from idp_kernel.failpoints import Guard, is_off
from idp_kernel.http.client import ServiceClient
from idp_kernel.telemetry.traces import span
from idp_kernel.wire.engine import RUN_STATUS, RunStanding
from idp_kernel.workflows import WORKFLOWS

UNHELD_GRACE_SECONDS = 30.0
"""How long a run may be at work without a claim: before it has one, and after it gave it back."""

FORGET_UNHELD_SECONDS = 3600.0
"""Dagster asks about a run every few seconds; one it has not asked about for so long has ended."""

SILENT_SECONDS = 60.0
"""How long a run that holds no request may give no sign of life; `run_watch` gives them."""

FIRST_SIGN_SECONDS = 120.0
"""How long after its start the first sign may take."""

LOG_FIELDS_HEADER = "idp_log_fields"
"""Of a task's message: what the log lines of its run say."""

REQUEST_JOBS = frozenset(
    phase.job_name for workflow in WORKFLOWS.values() for phase in workflow.phases
)
"""The jobs whose runs hold a request. The runs of all others ask for `run_watch`, also of the job
that Dagster makes up for a check from the asset catalog.
"""

CELERY_SETTINGS = {
    # Nobody reads results: the lease and Dagster's own events tell how a run fares.
    "task_ignore_result": True,
    "worker_prefetch_multiplier": 1,
}


@cache
def process_instance(process_id: int) -> DagsterInstance:
    """One for all runs of a process: to make one takes longer than some steps."""
    assert process_id == os.getpid()  # noqa: S101 - the key of the cache: not a parent's
    return DagsterInstance.get()


def execute_run(execute_job_args_packed: JsonSerializableValue) -> int:
    """The task: executes a run in this process; answers 1 when it failed."""
    told = unpack_value(execute_job_args_packed, as_type=ExecuteRunArgs)
    instance = process_instance(os.getpid())
    with events_held(instance):
        return _execute_run_command_body(
            run_id=told.run_id,
            instance=instance,
            write_stream_fn=lambda _event: None,
            set_exit_code_on_failure=True,
        )


class LeaseRunLauncher(CeleryRunLauncher):
    """Launches through Celery, asks the control plane whether a run is alive."""

    def __init__(
        self,
        *,
        control_plane_url: str,
        service_key_file: str,
        broker: str,
        default_queue: str,
        clock: Clock | None = None,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        self._control_plane_url = control_plane_url
        self._service_key_file = Path(service_key_file)
        self._clock = clock or SystemClock()
        self._unheld_since: dict[str, float] = {}
        super().__init__(
            default_queue=default_queue,
            broker=broker,
            backend="disabled://",
            config_source=CELERY_SETTINGS,
            inst_data=inst_data,
        )
        # Not shared: Celery would give it to every other application of this process, too.
        self._execute = self.celery.task(name=TASK_EXECUTE_JOB_NAME, shared=False)(execute_run)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Publishes the run. The base would register its task anew with each run, for ever."""
        run = context.dagster_run
        assert run.job_code_origin is not None  # noqa: S101 - for mypy: a run from a code server has one
        arguments = ExecuteRunArgs(
            job_origin=run.job_code_origin,
            run_id=run.run_id,
            instance_ref=self._instance.get_ref(),
            set_exit_code_on_failure=True,
        )
        task = self._execute.si(execute_job_args_packed=pack_value(arguments))
        attributes = subject_of(run.tags)
        with span("launch run", attributes=attributes, traceparent=run.tags.get(TRACEPARENT)):
            self._launch_celery_task_run(run, task, TASK_EXECUTE_JOB_NAME)

    def terminate(self, run_id: str) -> bool:
        """Says that the run shall end; the run sees it within a second and ends itself."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        return True

    @property
    def supports_resume_run(self) -> bool:
        """Never: a further attempt is the control plane's to offer."""
        return False

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Alive while the lease is, or while it gives signs of life when it has none. Raises when
        the control plane or Dagster's database cannot say: no verdict.
        """
        if is_off(Guard.RECONCILER):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if run.job_name not in REQUEST_JOBS:
            return self._by_signs(run.run_id)
        standing = self._standing(run.run_id)
        if standing is not None and standing.holds_claim:
            self._unheld_since.pop(run.run_id, None)
            return self._by_lease(standing)
        return self._without_claim(run.run_id)

    def get_run_worker_debug_info(
        self,
        run: DagsterRun,
        include_container_logs: bool | None = True,  # noqa: ARG002, FBT001, FBT002 - the signature of the base
    ) -> str | None:
        return f"Celery task: {run.run_id}. The lease is at the control plane."

    def _launch_celery_task_run(
        self, run: DagsterRun, task_signature: Task, routing_key: str
    ) -> None:
        """The task has the run's id. The base would give it one of its own, write that to the run
        once the task may have started, and two events about one message.
        """
        queue = run.tags.get(DAGSTER_CELERY_QUEUE_TAG, self.default_queue)
        task_signature.apply_async(
            task_id=run.run_id,
            headers={LOG_FIELDS_HEADER: log_fields_of(run.tags)},
            priority=_get_run_priority(run),
            queue=queue,
            routing_key=f"{queue}.{routing_key}",
        )
        self._instance.report_engine_event(
            "Handed to the workers.",
            run,
            EngineEventData({"Celery queue": queue}),
            cls=type(self),
        )

    def _standing(self, run_id: str) -> RunStanding | None:
        try:
            return self._api.call("GET", RUN_STATUS.format(run_id=run_id), RunStanding)
        except NotFound:
            return None

    def _by_lease(self, standing: RunStanding) -> CheckRunHealthResult:
        expires_at = standing.lease_expires_at
        if expires_at is not None and expires_at <= self._clock.now():
            return CheckRunHealthResult(
                WorkerStatus.FAILED, f"The run's lease ended at {expires_at:%F %T} UTC."
            )
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def _by_signs(self, run_id: str) -> CheckRunHealthResult:
        record = self._instance.get_run_record_by_id(run_id)
        if record is None or record.start_time is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        started_at = datetime.fromtimestamp(record.start_time, UTC)
        sign = record.dagster_run.tags.get(LAST_SEEN)
        seen_at = datetime.fromisoformat(sign) if sign is not None else None
        # A run that a person starts again has its parent's tags; that sign is none of its own.
        if seen_at is None or seen_at < started_at:
            silent_at = started_at + timedelta(seconds=FIRST_SIGN_SECONDS)
        else:
            silent_at = seen_at + timedelta(seconds=SILENT_SECONDS)
        if silent_at <= self._clock.now():
            return CheckRunHealthResult(
                WorkerStatus.FAILED,
                f"The run's worker last gave a sign of life at {seen_at or started_at:%F %T} UTC.",
            )
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def _without_claim(self, run_id: str) -> CheckRunHealthResult:
        now = time.monotonic()
        self._unheld_since = {
            run: at for run, at in self._unheld_since.items() if now - at < FORGET_UNHELD_SECONDS
        }
        since = self._unheld_since.setdefault(run_id, now)
        if now - since < UNHELD_GRACE_SECONDS:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        del self._unheld_since[run_id]
        return CheckRunHealthResult(WorkerStatus.FAILED, "The run holds no request (any more).")

    @property
    def _api(self) -> ServiceClient:
        return control_plane_client(self._control_plane_url, self._service_key_file)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {
            "control_plane_url": Field(StringSource, description="Where leases are asked for."),
            "service_key_file": Field(StringSource, description="The key of workflow-engine."),
            "broker": Field(StringSource, description="The URL of the Celery broker."),
            "default_queue": Field(StringSource, is_required=False, default_value="dagster"),
        }

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> LeaseRunLauncher:
        return cls(inst_data=inst_data, **config_value)
