"""Where the forge keeps its repositories and whom it asks about people."""

from __future__ import annotations

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


class ForgeSettings(TelemetrySettings):
    """Read once at the start; secrets come as paths of files."""

    model_config = SettingsConfigDict(env_prefix=SettingsPrefix.LOCAL_FORGE)

    data_dir: Folder
    """Where the repositories are."""
    port: Port = DEFAULT_PORTS.local_forge
    """The loopback port it listens on."""
    control_plane_url: HttpUrl = f"http://{LOOPBACK}:{DEFAULT_PORTS.control_plane_api}"
    """Where the control plane is, which knows people by their tokens."""
    service_key_file: SecretFilePath
    """The private key (JWK) that `local-forge` proves itself with to the control plane."""
    bot_token_file: SecretFilePath
    """The token of the platform's own bot, which passes branch protection."""
    agent_token_file: SecretFilePath
    """The GitOps agent's token, which reads only."""
