"""Looks at all assets every quarter of an hour."""

from __future__ import annotations

from dagster import DefaultScheduleStatus, ScheduleDefinition

from idp_dagster.jobs.asset_checks import application_environment_checks, secret_checks

EVERY_QUARTER_OF_AN_HOUR = "*/15 * * * *"

application_environment_checks_schedule = ScheduleDefinition(
    name="application_environment_checks_schedule",
    job=application_environment_checks,
    cron_schedule=EVERY_QUARTER_OF_AN_HOUR,
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Looks whether application environments have drifted.",
)
secret_checks_schedule = ScheduleDefinition(
    name="secret_checks_schedule",
    job=secret_checks,
    cron_schedule=EVERY_QUARTER_OF_AN_HOUR,
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Looks whether secrets are within their policy.",
)
