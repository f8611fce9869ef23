"""The job of ApplicationOnboarding."""

from dagster import graph, in_process_executor

from idp_dagster.hooks import tell_step_failed, tell_step_succeeded
from idp_dagster.jobs.launch import application_launch
from idp_dagster.ops.onboarding import (
    apply_repository_protection,
    create_code_repository,
    create_deployment_repository,
    declare_application_environments,
    finalize_application_onboarding,
    seed_repositories,
    validate_application,
)
from idp_kernel.workflows import APPLICATION_ONBOARDING


@graph
def application_onboarding_steps() -> None:
    """The steps in order; each starts when the one before has succeeded."""
    valid = validate_application()
    code = create_code_repository(valid)
    deployment = create_deployment_repository(code)
    seeded = seed_repositories(deployment)
    protected = apply_repository_protection(seeded)
    declared = declare_application_environments(protected)
    finalize_application_onboarding(declared)


application_onboarding = application_onboarding_steps.to_job(
    name=APPLICATION_ONBOARDING.phase(1).job_name,
    description=(
        "Takes an application in: code and deployment repository, seeded and protected, its "
        "environments declared. Started by `POST /v1/applications` through "
        "`workflow_requests_sensor`, or by a person from the Launchpad with `application_id` and "
        "`reason`, or as a re-run of an earlier run."
    ),
    config=application_launch,
    executor_def=in_process_executor,
    hooks={tell_step_succeeded, tell_step_failed},
)
