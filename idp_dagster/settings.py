"""The workflow engine's settings, from the environment; secrets only as paths of files."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from idp_kernel.services import DEFAULT_PORTS, LOOPBACK

ROOT = Path(__file__).parents[1]
"""Where `workspace.yaml` and `deploy/` are."""


class EngineSettings(BaseSettings):
    """What daemon, code server, workers and web server of the engine need."""

    model_config = SettingsConfigDict(env_prefix="IDP_ENGINE_", frozen=True, extra="ignore")

    control_plane_url: str = f"http://{LOOPBACK}:{DEFAULT_PORTS.control_plane_api}"
    workers_url: str = f"http://{LOOPBACK}:{DEFAULT_PORTS.execution_workers}"
    service_key_file: Path
    """The private key of `workflow-engine`."""
    dagster_database_url: str
    """`postgresql+psycopg2://…`: dagster-postgres needs that driver named."""
    broker_url: str
    """Any broker of Celery; in the embedded default `sqla+postgresql+psycopg://…`."""
    worker_slots: int = Field(default=4, ge=1, le=64)
    """Runs at a time, of the queue and of the Celery workers alike."""
    webserver_host: str = LOOPBACK
    webserver_port: int = DEFAULT_PORTS.dagster_webserver
    code_server_host: str = LOOPBACK
    code_server_port: int = DEFAULT_PORTS.dagster_code_server
    workspace_file: Path = ROOT / "workspace.yaml"
    otlp_endpoint: str | None = None
    log_level: str = "INFO"

    def export(self) -> None:
        """Gives the environment the defaults that `dagster.yaml` and `workspace.yaml` read."""
        os.environ.setdefault("IDP_ENGINE_CONTROL_PLANE_URL", self.control_plane_url)
        os.environ.setdefault("IDP_ENGINE_WORKER_SLOTS", str(self.worker_slots))
        os.environ.setdefault("IDP_ENGINE_CODE_SERVER_HOST", self.code_server_host)
        os.environ.setdefault("IDP_ENGINE_CODE_SERVER_PORT", str(self.code_server_port))


class ExporterSettings(BaseSettings):
    """What the metrics exporter needs."""

    model_config = SettingsConfigDict(env_prefix="IDP_ENGINE_", frozen=True, extra="ignore")

    control_plane_url: str = f"http://{LOOPBACK}:{DEFAULT_PORTS.control_plane_api}"
    exporter_key_file: Path
    """The private key of `metrics-exporter`."""
    exporter_host: str = LOOPBACK
    exporter_port: int = DEFAULT_PORTS.metrics_exporter
    env: str = "local"
    otlp_endpoint: str | None = None
    log_level: str = "INFO"
