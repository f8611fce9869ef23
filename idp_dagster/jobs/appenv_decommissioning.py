"""The job of ApplicationEnvironmentDecommissioning."""

from dagster import graph, in_process_executor

from idp_dagster.hooks import tell_step_failed, tell_step_succeeded
from idp_dagster.jobs.launch import application_environment_launch
from idp_dagster.ops.appenv_decommissioning import (
    archive_environment_repository,
    finalize_application_environment_decommissioning,
    verify_nothing_reconciled,
)
from idp_dagster.ops.endings import end_credentials, release_consumers, remove_secret_bindings
from idp_kernel.workflows import APPLICATION_ENVIRONMENT_DECOMMISSIONING


@graph
def application_environment_decommissioning_steps() -> None:
    """The steps in order; each starts when the one before has succeeded."""
    removed = remove_secret_bindings()
    released = release_consumers(removed)
    ended = end_credentials(released)
    archived = archive_environment_repository(ended)
    verified = verify_nothing_reconciled(archived)
    finalize_application_environment_decommissioning(verified)


application_environment_decommissioning = application_environment_decommissioning_steps.to_job(
    name=APPLICATION_ENVIRONMENT_DECOMMISSIONING.phase(1).job_name,
    description=(
        "Ends an application environment for good: its secrets are revoked, its repository is "
        "archived, nothing of it is reconciled. Nothing takes that back. Started by "
        "`POST /v1/application-environments/{id}/decommission` through "
        "`workflow_requests_sensor`, or by a person from the Launchpad with "
        "`application_environment_id` and `reason`, or as a re-run of an earlier run."
    ),
    config=application_environment_launch,
    executor_def=in_process_executor,
    hooks={tell_step_succeeded, tell_step_failed},
)
