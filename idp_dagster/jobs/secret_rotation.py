"""The jobs of SecretRotation: one for each phase, and the one that asks for what is due."""

from dagster import MAX_RUNTIME_SECONDS_TAG, graph, in_process_executor

from idp_dagster.hooks import tell_step_failed, tell_step_succeeded
from idp_dagster.jobs.launch import scheduled_time_launch, secret_launch
from idp_dagster.ops.secret_rotation import (
    confirm_consumers,
    finalize_secret_rotation,
    issue_new_credential,
    retire_old_credential,
    update_secret_bindings,
    validate_rotation,
    verify_new_credential,
)
from idp_dagster.ops.secret_rotation_enqueue import enqueue_due_rotations
from idp_kernel.workflows import SECRET_ROTATION

ENQUEUE_MAX_RUNTIME_SECONDS = 120


@graph
def secret_rotation_steps() -> None:
    """The steps of phase 1 in order; each starts when the one before has succeeded."""
    valid = validate_rotation()
    issued = issue_new_credential(valid)
    verified = verify_new_credential(issued)
    moved = update_secret_bindings(verified)
    confirm_consumers(moved)


secret_rotation = secret_rotation_steps.to_job(
    name=SECRET_ROTATION.phase(1).job_name,
    description=(
        "Gives a secret a new credential beside the old one, moves its bindings, and sees that its "
        "consumers have it; then the grace period begins, in which no run is held. Started by "
        "`POST /v1/secrets/{id}/rotation`, by `secret_rotation_schedule` and "
        "`secret_rotation_events_sensor` through `workflow_requests_sensor`, or by a person from "
        "the Launchpad with `secret_id` and `reason`, or as a re-run of an earlier run."
    ),
    config=secret_launch,
    executor_def=in_process_executor,
    hooks={tell_step_succeeded, tell_step_failed},
)


@graph
def secret_rotation_retirement_steps() -> None:
    """The steps of phase 2 in order."""
    retired = retire_old_credential()
    finalize_secret_rotation(retired)


secret_rotation_retirement = secret_rotation_retirement_steps.to_job(
    name=SECRET_ROTATION.phase(2).job_name,
    description=(
        "Ends a secret's old credential, after the grace period. Started by "
        "`workflow_requests_sensor`. By a person only as a re-run of an earlier run: launched from "
        "the Launchpad it is refused, since a rotation begins with `secret_rotation`."
    ),
    config=secret_launch,
    executor_def=in_process_executor,
    hooks={tell_step_succeeded, tell_step_failed},
)


@graph
def secret_rotation_enqueue_steps() -> None:
    """Asks once."""
    enqueue_due_rotations()


secret_rotation_enqueue = secret_rotation_enqueue_steps.to_job(
    name="secret_rotation_enqueue",
    description=(
        "Asks the control plane to enqueue the rotations that are due. Started by "
        "`secret_rotation_schedule`; a scheduled time counts once, however often this runs. Holds "
        "no request."
    ),
    config=scheduled_time_launch,
    tags={MAX_RUNTIME_SECONDS_TAG: str(ENQUEUE_MAX_RUNTIME_SECONDS)},
    executor_def=in_process_executor,
)
