"""Asks for the rotations that are due."""

from dagster import (
    DefaultScheduleStatus,
    RunRequest,
    ScheduleEvaluationContext,
    schedule,
)

from idp_dagster.jobs.secret_rotation import secret_rotation_enqueue

# No postponed annotations here: Dagster reads those of the decorated functions as classes.


@schedule(
    cron_schedule="*/5 * * * *",
    job=secret_rotation_enqueue,
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description=(
        "Every five minutes: the control plane enqueues what is due, a few at a time and inside "
        "each secret's window. Of the times missed in an outage only the last is made up for; it "
        "finds all that is due by then. Switched off, secrets are rotated by command and event "
        "only."
    ),
)
def secret_rotation_schedule(context: ScheduleEvaluationContext) -> RunRequest:
    """One run for each scheduled time: Dagster remembers the run key."""
    scheduled_at = context.scheduled_execution_time.isoformat()
    return RunRequest(
        run_key=scheduled_at,
        run_config={"scheduled_at": scheduled_at},
    )
