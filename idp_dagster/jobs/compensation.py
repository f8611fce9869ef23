"""The job of Compensation."""

from dagster import graph, in_process_executor

from idp_dagster.hooks import tell_step_failed, tell_step_succeeded
from idp_dagster.jobs.launch import request_launch
from idp_dagster.ops.compensation import (
    finalize_compensation,
    stop_undone_request,
    undo_effects,
    verify_nothing_left,
)
from idp_kernel.workflows import COMPENSATION


@graph
def compensation_steps() -> None:
    """The steps in order; each starts when the one before has succeeded."""
    stopped = stop_undone_request()
    undone = undo_effects(stopped)
    verified = verify_nothing_left(undone)
    finalize_compensation(verified)


compensation = compensation_steps.to_job(
    name=COMPENSATION.phase(1).job_name,
    description=(
        "Takes back what one ended request made and nobody took over since, the newest first, and "
        "sees that the providers have it no more. Started by "
        "`POST /v1/workflow-requests/{id}/undo` through `workflow_requests_sensor`, or by a person "
        "from the Launchpad with `request_id` and `reason`, or as a re-run of an earlier run."
    ),
    config=request_launch,
    executor_def=in_process_executor,
    hooks={tell_step_succeeded, tell_step_failed},
)
