"""The one step of `secret_rotation_enqueue`, which belongs to no request."""

from datetime import datetime

from dagster import Config, Nothing, OpExecutionContext, Out, ResourceParam, op
from pydantic import Field, ValidationError

from idp_dagster.policies import ENQUEUE_RETRY_POLICY, dagster_failures
from idp_dagster.ports import Rotations, RunWatch
from idp_kernel.errors import InvalidInput
from idp_kernel.wire.engine import EnqueueDueRotations

# No postponed annotations here: Dagster reads those of the decorated functions as classes.


class ScheduledTime(Config):
    """Whose rotations are asked for."""

    scheduled_at: str = Field(
        description="The schedule's own time, RFC 3339 with an offset: `2026-03-01T12:05:00+00:00`."
    )


@op(out=Out(Nothing), retry_policy=ENQUEUE_RETRY_POLICY)
def enqueue_due_rotations(
    context: OpExecutionContext,
    config: ScheduledTime,
    rotations: ResourceParam[Rotations],
    run_watch: ResourceParam[RunWatch],  # noqa: ARG001 - to ask for it is all
) -> None:
    """Asks the control plane; it acts once for each scheduled time."""
    with dagster_failures(context.op.name):
        due = rotations.enqueue_due(scheduled_time(config))
    context.log.info("%d rotations enqueued, %d put off.", len(due.enqueued), due.put_off)


def scheduled_time(config: ScheduledTime) -> datetime:
    """What was typed or scheduled; `InvalidInput` when it is no time with an offset."""
    try:
        return EnqueueDueRotations.model_validate({"scheduledAt": config.scheduled_at}).scheduled_at
    except ValidationError as error:
        raise InvalidInput(
            f"scheduled_at is {config.scheduled_at!r}, no time with an offset."
        ) from error
