"""The job of ApplicationEnvironmentProvisioning."""

from typing import Any

from dagster import Config, config_mapping, graph, in_process_executor
from pydantic import Field

from idp_dagster.hooks import tell_step_failed, tell_step_succeeded
from idp_dagster.ops.appenv_provisioning import (
    apply_branch_protection,
    create_secret_bindings,
    finalize_application_environment_provisioning,
    materialize_repositories,
    provision_secrets,
    verify_gitops_reconciliation,
)
from idp_kernel.workflows import APPLICATION_ENVIRONMENT_PROVISIONING

# No postponed annotations here: Dagster reads those of the decorated functions as classes.


class LaunchConfig(Config):
    """What a person types into the Launchpad; runs from the sensor leave both empty."""

    application_environment_id: str = Field(
        default="", description="The application environment to provision."
    )
    reason: str = Field(default="", description="Why, for the audit.")


@config_mapping
def launch_config(config: LaunchConfig) -> dict[str, Any]:
    """Hands the Launchpad's two fields to the resource that asks the control plane, and asks for
    the platform's logger: Dagster uses its own unless a run's configuration names one.
    """
    return {
        "resources": {"control_plane": {"config": config.model_dump()}},
        "loggers": {"console": {}},
    }


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
    name=APPLICATION_ENVIRONMENT_PROVISIONING.job_name,
    description=(
        "Makes an application environment real: repository, branch protection, secrets, bindings, "
        "GitOps. Started by `POST /v1/applications/{id}/environments` through "
        "`workflow_requests_sensor`, or by a person from the Launchpad with "
        "`application_environment_id` and `reason`, or as a re-run of an earlier run."
    ),
    config=launch_config,
    executor_def=in_process_executor,
    hooks={tell_step_succeeded, tell_step_failed},
)
