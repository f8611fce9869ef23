"""What the control plane is told at its start, from variables that begin `IDP_CONTROL_PLANE_`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from idp_kernel.services import DEFAULT_PORTS, LOOPBACK


class DatabaseSettings(BaseSettings):
    """Where the database is; the URL names a password file and holds no password."""

    model_config = SettingsConfigDict(env_prefix="IDP_CONTROL_PLANE_", frozen=True, extra="ignore")

    database_url: str
    log_level: str = "INFO"


class BootstrapSettings(DatabaseSettings):
    """What `python -m control_plane.bootstrap` needs beside the database."""

    admin_token_file: Path


class ControlPlaneSettings(DatabaseSettings):
    """What the server needs."""

    host: str = LOOPBACK
    port: int = DEFAULT_PORTS.control_plane_api
    env: str = "local"
    otlp_endpoint: str | None = None
    signing_key_file: Path
    service_keys_file: Path
    lease_seconds: Annotated[float, Field(gt=0)] = 15
    offer_again_seconds: Annotated[float, Field(gt=0)] = 5
    max_attempts: Annotated[int, Field(ge=1)] = 5
    sweep_seconds: Annotated[float, Field(gt=0)] = 0.5
    max_rotations_at_once: Annotated[int, Field(ge=1)] = 5
    secret_store_url: Annotated[str, Field(pattern=r"^https?://[^\s?#]+$")] = (
        f"http://{LOOPBACK}:{DEFAULT_PORTS.openbao}"
    )
    """Where people reach the secret store; the control plane itself never does."""
    secret_store_mount: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")] = "kv"

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.lease_seconds)

    @property
    def offer_again_after(self) -> timedelta:
        return timedelta(seconds=self.offer_again_seconds)
