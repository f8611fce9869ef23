"""The job of SecretRevocation."""

from dagster import graph, in_process_executor

from idp_dagster.hooks import tell_step_failed, tell_step_succeeded
from idp_dagster.jobs.launch import secret_launch
from idp_dagster.ops.endings import (
    end_credentials,
    release_consumers,
    remove_secret_bindings,
    verify_secrets_ended,
)
from idp_dagster.ops.secret_revocation import finalize_secret_revocation
from idp_kernel.workflows import SECRET_REVOCATION


@graph
def secret_revocation_steps() -> None:
    """The steps in order; each starts when the one before has succeeded."""
    removed = remove_secret_bindings()
    released = release_consumers(removed)
    ended = end_credentials(released)
    verified = verify_secrets_ended(ended)
    finalize_secret_revocation(verified)


secret_revocation = secret_revocation_steps.to_job(
    name=SECRET_REVOCATION.phase(1).job_name,
    description=(
        "Ends a secret for good: its bindings are removed, its logins and their sessions end, its "
        "values are destroyed. Nothing takes that back. Started by `POST /v1/secrets/{id}/revoke` "
        "through `workflow_requests_sensor`, or by a person from the Launchpad with `secret_id` "
        "and `reason`, or as a re-run of an earlier run."
    ),
    config=secret_launch,
    executor_def=in_process_executor,
    hooks={tell_step_succeeded, tell_step_failed},
)
