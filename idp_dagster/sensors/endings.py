"""Reports to the control plane how runs ended. They inform only; what they miss, such as after a
kill, the control plane learns from the lease.
"""

from dagster import (
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    ResourceParam,
    RunStatusSensorContext,
    run_status_sensor,
)

from idp_dagster.jobs.workflows import WORKFLOW_JOBS
from idp_dagster.ports import WorkflowRequests
from idp_dagster.tags import RUN_ID, TRACEPARENT, request_and_attempt, subject_of
from idp_kernel.telemetry.logs import redact
from idp_kernel.telemetry.traces import span
from idp_kernel.wire.engine import RunEnding, RunReport

# No postponed annotations here: Dagster reads those of the decorated functions as classes.

_MESSAGE_LENGTH = 2000

ENDINGS: dict[DagsterRunStatus, RunEnding] = {
    DagsterRunStatus.SUCCESS: RunEnding.SUCCEEDED,
    DagsterRunStatus.FAILURE: RunEnding.FAILED,
    DagsterRunStatus.CANCELED: RunEnding.CANCELED,
}


def report_of(run: DagsterRun, ending: RunEnding, message: str = "") -> RunReport | None:
    """What is told of a run; nothing of one whose tags are not its own: a launch that was refused
    has none, or those of the run it repeats.
    """
    requested = request_and_attempt(run.tags)
    if requested is None or run.tags.get(RUN_ID, run.run_id) != run.run_id:
        return None
    if run.parent_run_id is not None and RUN_ID not in run.tags:
        return None
    request_id, attempt = requested
    return RunReport(
        request_id=request_id,
        run_id=run.run_id,
        attempt=attempt,
        ending=ending,
        message=redact(message)[:_MESSAGE_LENGTH],
    )


def _report(
    context: RunStatusSensorContext, workflow_requests: WorkflowRequests, ending: RunEnding
) -> None:
    message = context.dagster_event.message or "" if ending is not RunEnding.SUCCEEDED else ""
    run = context.dagster_run
    if (report := report_of(run, ending, message)) is not None:
        attributes = subject_of(run.tags)
        with span("report run", attributes=attributes, traceparent=run.tags.get(TRACEPARENT)):
            workflow_requests.report(report)


@run_status_sensor(
    run_status=DagsterRunStatus.SUCCESS,
    monitored_jobs=WORKFLOW_JOBS,
    minimum_interval_seconds=5,
    default_status=DefaultSensorStatus.RUNNING,
    description="Tells the control plane which runs succeeded.",
)
def run_succeeded_sensor(
    context: RunStatusSensorContext, workflow_requests: ResourceParam[WorkflowRequests]
) -> None:
    _report(context, workflow_requests, RunEnding.SUCCEEDED)


@run_status_sensor(
    run_status=DagsterRunStatus.FAILURE,
    monitored_jobs=WORKFLOW_JOBS,
    minimum_interval_seconds=2,
    default_status=DefaultSensorStatus.RUNNING,
    description="Tells the control plane which runs failed.",
)
def run_failed_sensor(
    context: RunStatusSensorContext, workflow_requests: ResourceParam[WorkflowRequests]
) -> None:
    _report(context, workflow_requests, RunEnding.FAILED)


@run_status_sensor(
    run_status=DagsterRunStatus.CANCELED,
    monitored_jobs=WORKFLOW_JOBS,
    minimum_interval_seconds=2,
    default_status=DefaultSensorStatus.RUNNING,
    description="Tells the control plane which runs were canceled.",
)
def run_canceled_sensor(
    context: RunStatusSensorContext, workflow_requests: ResourceParam[WorkflowRequests]
) -> None:
    _report(context, workflow_requests, RunEnding.CANCELED)
