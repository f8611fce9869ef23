"""Where the forge keeps its repositories and whom it asks about people."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from idp_kernel.services import DEFAULT_PORTS, LOOPBACK


class ForgeSettings(BaseSettings):
    """Read once at the start; secrets come as paths of files."""

    model_config = SettingsConfigDict(env_prefix="IDP_LOCAL_FORGE_", frozen=True)

    data_dir: Path
    port: int = DEFAULT_PORTS.local_forge
    control_plane_url: str = f"http://{LOOPBACK}:{DEFAULT_PORTS.control_plane_api}"
    service_key_file: Path
    """The private key that `local-forge` proves itself with to the control plane."""
    bot_token_file: Path
    agent_token_file: Path
    env: str = "local"
    """The `env` label in metrics."""
    otlp_endpoint: str | None = None
