"""What every process of the engine does first."""

from __future__ import annotations

import logging

from idp_dagster.settings import EngineSettings
from idp_kernel.services import ServiceName
from idp_kernel.telemetry.logs import configure_logs
from idp_kernel.telemetry.traces import configure_traces

DAGSTER_LOGGERS = ("dagster", "dagster-webserver")


def start_process(settings: EngineSettings, *, traces: bool = True) -> None:
    """Gives Dagster its environment, and logs and traces their form.

    Without `traces` for a process that forks: its children start their own.
    """
    settings.export()
    configure_logs(ServiceName.WORKFLOW_ENGINE, settings.log_level)
    if traces:
        configure_traces(ServiceName.WORKFLOW_ENGINE, settings.otlp_endpoint)


def take_over_dagster_logs() -> None:
    """Sends Dagster's records through the platform's formatter, after Dagster set up its own."""
    for name in DAGSTER_LOGGERS:
        logging.getLogger(name).handlers[:] = []
