"""The workflow engine's settings, from the environment; secrets only as paths of files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from idp_kernel.services import DEFAULT_PORTS, LOOPBACK
from idp_kernel.settings import (
    AbsoluteFolder,
    Form,
    Host,
    HttpUrl,
    Port,
    ReadableFile,
    SecretFilePath,
    SettingsPrefix,
    TraceOriginSettings,
)

ROOT = Path(__file__).parents[1]
"""Where `workspace.yaml` and `deploy/` are."""
DagsterDatabaseUrl = Annotated[
    str,
    Field(pattern=r"^postgresql\+psycopg2://[^\s/]+/[^\s/?]+"),
    Form(
        "a postgresql+psycopg2:// URL with a database (dagster-postgres needs that driver named);"
        " the password is in the file `passfile=` names"
    ),
]
BrokerUrl = Annotated[
    str, Field(pattern=r"^[a-z0-9+]+://\S+"), Form("the URL of a broker that Celery knows")
]


class DagsterSettings(TraceOriginSettings):
    """What every process needs that opens Dagster's instance."""

    model_config = SettingsConfigDict(env_prefix=SettingsPrefix.ENGINE)

    dagster_home: Annotated[AbsoluteFolder, Field(validation_alias="DAGSTER_HOME")]
    """Dagster's own folder; the bootstrap puts `dagster.yaml` there."""
    control_plane_url: HttpUrl = f"http://{LOOPBACK}:{DEFAULT_PORTS.control_plane_api}"
    """Where the control plane is."""
    dagster_database_url: DagsterDatabaseUrl
    """Dagster's own database: runs, their events, sensors' ticks."""
    worker_slots: Annotated[int, Field(ge=1, le=1024)] = 4
    """Runs at a time: of a Celery worker, and of the queue, which the daemon keeps. Where there are
    several workers, the daemon is told the sum of theirs."""

    def export(self) -> None:
        """Gives the environment the defaults that `dagster.yaml` reads."""
        os.environ.setdefault("IDP_ENGINE_CONTROL_PLANE_URL", self.control_plane_url)
        os.environ.setdefault("IDP_ENGINE_WORKER_SLOTS", str(self.worker_slots))


class EngineSettings(DagsterSettings):
    """What daemon, code server, workers and web server of the engine need."""

    workers_url: HttpUrl = f"http://{LOOPBACK}:{DEFAULT_PORTS.execution_workers}"
    """Where execution-workers are."""
    service_key_file: SecretFilePath
    """The private key (JWK) of `workflow-engine`."""
    broker_url: BrokerUrl
    """Carries runs to the workers; PostgreSQL itself in the embedded default, as
    `sqla+postgresql+psycopg://…`."""
    keep_runs_days: Annotated[int, Field(ge=1)] = 30
    """How long an ended run is kept with its events; a deleted one cannot be run again from the
    UI, its request can with `idp request retry`."""
    keep_frequent_runs_days: Annotated[int, Field(ge=1)] = 7
    """The same for runs of the jobs that begin by the clock, and for results of checks."""
    webserver_host: Host = LOOPBACK
    """The address of Dagster's UI. On any that is not loopback the UI only shows."""
    webserver_port: Port = DEFAULT_PORTS.dagster_webserver
    """The port of Dagster's UI."""
    code_server_host: Host = LOOPBACK
    """The address the code server listens on, and where daemon and UI look for it."""
    code_server_port: Port = DEFAULT_PORTS.dagster_code_server
    """The code server's port."""
    workspace_file: ReadableFile = ROOT / "workspace.yaml"
    """Tells Dagster where the code server is."""

    def export(self) -> None:
        """Gives the environment the defaults that `dagster.yaml` and `workspace.yaml` read."""
        super().export()
        os.environ.setdefault("IDP_ENGINE_CODE_SERVER_HOST", self.code_server_host)
        os.environ.setdefault("IDP_ENGINE_CODE_SERVER_PORT", str(self.code_server_port))


class ExporterSettings(DagsterSettings):
    """What the metrics exporter needs."""

    exporter_key_file: SecretFilePath
    """The private key (JWK) of `metrics-exporter`."""
    exporter_host: Host = LOOPBACK
    """The address it listens on."""
    exporter_port: Port = DEFAULT_PORTS.metrics_exporter
    """The port it listens on."""
