"""Which forge the agent watches, and who may read what it saw."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from idp_kernel.services import DEFAULT_PORTS, LOOPBACK


class AgentSettings(BaseSettings):
    """Read once at the start; secrets come as paths of files."""

    model_config = SettingsConfigDict(env_prefix="IDP_LOCAL_GITOPS_AGENT_", frozen=True)

    data_dir: Path
    port: int = DEFAULT_PORTS.local_gitops_agent
    forge_url: str = f"http://{LOOPBACK}:{DEFAULT_PORTS.local_forge}"
    forge_token_file: Path
    """The agent's own, read-only token at the forge."""
    reader_token_file: Path
    """The token that readers of its conditions show."""
    interval_seconds: Annotated[float, Field(gt=0, le=3600)] = 0.5
    env: str = "local"
    """The `env` label in metrics."""
    otlp_endpoint: str | None = None
