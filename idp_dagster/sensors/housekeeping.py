"""Deletes what Dagster would keep for ever."""

from dagster import DefaultSensorStatus, ResourceParam, SensorEvaluationContext, SkipReason, sensor

from idp_dagster.housekeeping import keep_house
from idp_dagster.jobs.asset_checks import application_environment_checks, secret_checks
from idp_dagster.jobs.secret_rotation import secret_rotation_enqueue
from idp_dagster.jobs.workflows import WORKFLOW_JOBS
from idp_dagster.ports import Housekeeping
from idp_kernel.clock import SystemClock

# No postponed annotations here: Dagster reads those of the decorated functions as classes.

FREQUENT_JOBS = tuple(
    job.name for job in (application_environment_checks, secret_checks, secret_rotation_enqueue)
)
"""Those that begin by the clock."""
WITHIN_SECONDS = 15.0
"""Of one tick; Dagster gives a sensor a minute."""


@sensor(
    jobs=WORKFLOW_JOBS,
    minimum_interval_seconds=300,
    default_status=DefaultSensorStatus.RUNNING,
    description=(
        "Deletes ended runs with their events, and results of checks, that are older than "
        "`IDP_ENGINE_KEEP_RUNS_DAYS` and `IDP_ENGINE_KEEP_FREQUENT_RUNS_DAYS` say. Starts nothing."
    ),
)
def housekeeping_sensor(
    context: SensorEvaluationContext, housekeeping: ResourceParam[Housekeeping]
) -> SkipReason:
    """One round, as far as it gets."""
    gone = keep_house(
        context.instance,
        housekeeping.retention,
        FREQUENT_JOBS,
        now=SystemClock().now(),
        within_seconds=WITHIN_SECONDS,
    )
    told = ", ".join(f"{rows} of {table}" for table, rows in gone.items())
    return SkipReason(f"Deleted: {told}." if told else "Nothing is too old.")
