"""Ends the runs whose requests were taken from them, so that the next attempt can be offered."""

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    ResourceParam,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from idp_dagster.jobs.workflows import WORKFLOW_JOBS
from idp_dagster.ports import WorkflowRequests
from idp_dagster.sensors.endings import ENDINGS
from idp_kernel.errors import Unavailable
from idp_kernel.failpoints import Guard, is_off
from idp_kernel.wire.engine import ROW_HELD, LostRun, RunEnding, RunReport

# No postponed annotations here: Dagster reads those of the decorated functions as classes.

NOT_STARTED_STATUSES = frozenset(
    {DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING}
)


@sensor(
    jobs=WORKFLOW_JOBS,
    minimum_interval_seconds=1,
    default_status=DefaultSensorStatus.RUNNING,
    description=(
        "Waits at the control plane for runs that lost their request, such as those of a killed "
        "worker, and ends them. Starts nothing."
    ),
)
def stuck_requests_sensor(
    context: SensorEvaluationContext, workflow_requests: ResourceParam[WorkflowRequests]
) -> SkipReason:
    """Ends each lost run, then says so. One that cannot be ended keeps no other from it."""
    lost_runs = () if is_off(Guard.RECONCILER) else workflow_requests.lost_runs()
    failures: list[Exception] = []
    for lost in lost_runs:
        try:
            _end_and_report(lost, context.instance, workflow_requests)
        except Exception as error:
            if isinstance(error, Unavailable) and error.code != ROW_HELD:
                raise  # nor would the others get an answer
            failures.append(error)
    if failures:
        told = "; ".join(map(str, failures))
        raise ExceptionGroup(f"{len(failures)} lost runs could not be ended: {told}", failures)
    return SkipReason(f"{len(lost_runs)} runs ended." if lost_runs else "No run is lost.")


def _end_and_report(
    lost: LostRun, instance: DagsterInstance, workflow_requests: WorkflowRequests
) -> None:
    workflow_requests.report(
        RunReport(
            request_id=lost.request_id,
            run_id=lost.run_id,
            attempt=lost.attempt,
            ending=end_run(lost, instance),
            message=f"Ended: {lost.cause}",
        )
    )


def end_run(lost: LostRun, instance: DagsterInstance) -> RunEnding:
    """Sees to it that Dagster shows the run as ended; answers how.

    A worker that still lives finds that out at its next look, and its token is refused already.
    """
    run = instance.get_run_by_id(lost.run_id)
    if run is None:
        return RunEnding.NEVER_STARTED
    if run.status in ENDINGS:
        return ENDINGS[run.status]
    message = f"The control plane took the request from this run: {lost.cause}"
    if run.status is DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, message)
        return RunEnding.CANCELED
    instance.report_run_failed(run, message)
    return RunEnding.NEVER_STARTED if run.status in NOT_STARTED_STATUSES else RunEnding.FAILED
