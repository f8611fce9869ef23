"""Everything Dagster shall know of the platform: one explicit list, and the composition root."""

from __future__ import annotations

from functools import cache

from dagster import Definitions, definitions, in_process_executor

from idp_dagster.catalog import asset_specs
from idp_dagster.jobs.asset_checks import application_environment_checks, secret_checks
from idp_dagster.jobs.secret_rotation import secret_rotation_enqueue
from idp_dagster.jobs.workflows import WORKFLOW_JOBS
from idp_dagster.ops.asset_checks import ASSET_CHECKS
from idp_dagster.process import process_log
from idp_dagster.resources.asset_registry import AssetRegistryResource
from idp_dagster.resources.control_plane import ControlPlaneResource
from idp_dagster.resources.housekeeping import HousekeepingResource
from idp_dagster.resources.io_manager import NoDataIOManager
from idp_dagster.resources.probes import ProbesResource
from idp_dagster.resources.rotations import RotationsResource
from idp_dagster.resources.run_news import RunNewsResource
from idp_dagster.resources.run_watch import RunWatchResource
from idp_dagster.resources.workers import (
    AppEnvProvisioningProviderResource,
    EndingProviderResource,
    GitProviderResource,
    SecretRotationProviderResource,
    UndoProviderResource,
)
from idp_dagster.resources.workflow_requests import WorkflowRequestsResource
from idp_dagster.schedules.asset_checks import (
    application_environment_checks_schedule,
    secret_checks_schedule,
)
from idp_dagster.schedules.secret_rotation import secret_rotation_schedule
from idp_dagster.sensors.endings import run_endings_sensor
from idp_dagster.sensors.housekeeping import housekeeping_sensor
from idp_dagster.sensors.secret_rotation_events import secret_rotation_events_sensor
from idp_dagster.sensors.stuck_requests import stuck_requests_sensor
from idp_dagster.sensors.workflow_requests import workflow_requests_sensor
from idp_dagster.settings import EngineSettings


def engine_definitions(settings: EngineSettings) -> Definitions:
    """The jobs, what starts them, the catalog and its checks, and the resources behind them."""
    control_plane = {
        "control_plane_url": settings.control_plane_url,
        "service_key_file": str(settings.service_key_file),
    }
    return Definitions(
        jobs=[
            *WORKFLOW_JOBS,
            secret_rotation_enqueue,
            application_environment_checks,
            secret_checks,
        ],
        assets=asset_specs(settings.control_plane_url),
        asset_checks=ASSET_CHECKS,
        schedules=[
            secret_rotation_schedule,
            application_environment_checks_schedule,
            secret_checks_schedule,
        ],
        sensors=[
            workflow_requests_sensor,
            run_endings_sensor,
            stuck_requests_sensor,
            secret_rotation_events_sensor,
            housekeeping_sensor,
        ],
        resources={
            "control_plane": ControlPlaneResource.configure_at_launch(
                **control_plane, workers_url=settings.workers_url
            ),
            "git_provider": GitProviderResource(workers_url=settings.workers_url),
            "appenv_provisioning_provider": AppEnvProvisioningProviderResource(
                workers_url=settings.workers_url
            ),
            "secret_rotation_provider": SecretRotationProviderResource(
                workers_url=settings.workers_url
            ),
            "ending_provider": EndingProviderResource(workers_url=settings.workers_url),
            "undo_provider": UndoProviderResource(workers_url=settings.workers_url),
            "workflow_requests": WorkflowRequestsResource(**control_plane),
            "run_news": RunNewsResource(),
            "run_watch": RunWatchResource(),
            "rotations": RotationsResource(**control_plane),
            "asset_registry": AssetRegistryResource(**control_plane),
            "probes": ProbesResource(**control_plane, workers_url=settings.workers_url),
            "housekeeping": HousekeepingResource(
                keep_runs_days=settings.keep_runs_days,
                keep_frequent_runs_days=settings.keep_frequent_runs_days,
            ),
            "io_manager": NoDataIOManager(),
        },
        # Also of the run that the UI starts for a single check, which names no executor.
        executor=in_process_executor,
        loggers={"console": process_log},
    )


@cache
def loaded_definitions() -> Definitions:
    """Those of the environment's settings, built once: a warm worker finds its jobs made."""
    return engine_definitions(EngineSettings())


@definitions
def defs() -> Definitions:
    """What Dagster looks for in this module."""
    return loaded_definitions()
