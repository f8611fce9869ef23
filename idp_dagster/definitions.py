"""Everything Dagster shall know of the platform: one explicit list, and the composition root."""

from __future__ import annotations

from functools import cache

from dagster import Definitions, definitions

from idp_dagster.jobs.appenv_provisioning import application_environment_provisioning
from idp_dagster.process import process_log
from idp_dagster.resources.control_plane import ControlPlaneResource
from idp_dagster.resources.io_manager import NoDataIOManager
from idp_dagster.resources.workers import AppEnvProvisioningProviderResource, GitProviderResource
from idp_dagster.resources.workflow_requests import WorkflowRequestsResource
from idp_dagster.sensors.endings import (
    run_canceled_sensor,
    run_failed_sensor,
    run_succeeded_sensor,
)
from idp_dagster.sensors.stuck_requests import stuck_requests_sensor
from idp_dagster.sensors.workflow_requests import workflow_requests_sensor
from idp_dagster.settings import EngineSettings


def engine_definitions(settings: EngineSettings) -> Definitions:
    """The jobs, the sensors and the resources behind them."""
    control_plane = {
        "control_plane_url": settings.control_plane_url,
        "service_key_file": str(settings.service_key_file),
    }
    return Definitions(
        jobs=[application_environment_provisioning],
        sensors=[
            workflow_requests_sensor,
            run_succeeded_sensor,
            run_failed_sensor,
            run_canceled_sensor,
            stuck_requests_sensor,
        ],
        resources={
            "control_plane": ControlPlaneResource.configure_at_launch(
                **control_plane, workers_url=settings.workers_url
            ),
            "git_provider": GitProviderResource(workers_url=settings.workers_url),
            "appenv_provisioning_provider": AppEnvProvisioningProviderResource(
                workers_url=settings.workers_url
            ),
            "workflow_requests": WorkflowRequestsResource(**control_plane),
            "io_manager": NoDataIOManager(),
        },
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
