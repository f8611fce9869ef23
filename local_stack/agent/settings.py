"""Which forge the agent watches, and who may read what it saw."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from idp_kernel.services import DEFAULT_PORTS, LOOPBACK
from idp_kernel.settings import (
    Folder,
    HttpUrl,
    Port,
    SecretFilePath,
    SettingsPrefix,
    TelemetrySettings,
)


class AgentSettings(TelemetrySettings):
    """Read once at the start; secrets come as paths of files."""

    model_config = SettingsConfigDict(env_prefix=SettingsPrefix.LOCAL_GITOPS_AGENT)

    data_dir: Folder
    """Where it keeps its copies of repositories and what it saw."""
    port: Port = DEFAULT_PORTS.local_gitops_agent
    """The loopback port it listens on."""
    forge_url: HttpUrl = f"http://{LOOPBACK}:{DEFAULT_PORTS.local_forge}"
    """Where the forge is."""
    forge_token_file: SecretFilePath
    """The agent's own, read-only token at the forge."""
    reader_token_file: SecretFilePath
    """The token that readers of its conditions show."""
    interval_seconds: Annotated[float, Field(gt=0, le=3600)] = 0.5
    """How long it rests between two looks at the forge."""
