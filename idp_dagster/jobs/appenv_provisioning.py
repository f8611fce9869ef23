"""The job of ApplicationEnvironmentProvisioning."""

from dagster import graph, in_process_executor

from idp_dagster.hooks import tell_step_failed, tell_step_succeeded
from idp_dagster.jobs.launch import application_environment_launch
from idp_dagster.ops.appenv_provisioning import (
    apply_branch_protection,
    create_secret_bindings,
    finalize_application_environment_provisioning,
    materialize_repositories,
    provision_secrets,
    verify_gitops_reconciliation,
)
from idp_kernel.workflows import APPLICATION_ENVIRONMENT_PROVISIONING


@graph
def application_environment_provisioning_steps() -> None:
    """The steps in order; each starts when the one before has succeeded."""
    created = materialize_repositories()
    protected = apply_branch_protection(created)
    provisioned = provision_secrets(protected)
    bound = create_secret_bindings(provisioned)
    verified = verify_gitops_reconciliation(bound)
    finalize_application_environment_provisioning(verified)


application_environment_provisioning = application_environment_provisioning_steps.to_job(
    name=APPLICATION_ENVIRONMENT_PROVISIONING.phase(1).job_name,
    description=(
        "Makes an application environment real: repository, branch protection, secrets, bindings, "
        "GitOps. Started by `POST /v1/applications/{id}/environments` through "
        "`workflow_requests_sensor`, or by a person from the Launchpad with "
        "`application_environment_id` and `reason`, or as a re-run of an earlier run."
    ),
    config=application_environment_launch,
    executor_def=in_process_executor,
    hooks={tell_step_succeeded, tell_step_failed},
)
