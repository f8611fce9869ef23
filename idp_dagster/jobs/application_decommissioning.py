"""The job of ApplicationDecommissioning."""

from dagster import graph, in_process_executor

from idp_dagster.hooks import tell_step_failed, tell_step_succeeded
from idp_dagster.jobs.launch import application_launch
from idp_dagster.ops.application_decommissioning import (
    archive_application_repositories,
    finalize_application_decommissioning,
    verify_application_ended,
)
from idp_kernel.workflows import APPLICATION_DECOMMISSIONING


@graph
def application_decommissioning_steps() -> None:
    """The steps in order; each starts when the one before has succeeded."""
    archived = archive_application_repositories()
    verified = verify_application_ended(archived)
    finalize_application_decommissioning(verified)


application_decommissioning = application_decommissioning_steps.to_job(
    name=APPLICATION_DECOMMISSIONING.phase(1).job_name,
    description=(
        "Ends an application for good, after its environments: its code and deployment "
        "repositories are archived. Nothing takes that back. Started by "
        "`POST /v1/applications/{id}/decommission` through `workflow_requests_sensor`, or by a "
        "person from the Launchpad with `application_id` and `reason`, or as a re-run of an "
        "earlier run."
    ),
    config=application_launch,
    executor_def=in_process_executor,
    hooks={tell_step_succeeded, tell_step_failed},
)
