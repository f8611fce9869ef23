"""Everything execution-workers can be told from outside, read once in `main`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from execution_workers.providers.argocd.settings import ArgoCdSettings
from execution_workers.providers.flux.settings import FluxSettings
from execution_workers.providers.harbor.settings import HarborSettings
from execution_workers.providers.openbao.settings import OpenBaoSettings
from idp_kernel.services import DEFAULT_PORTS, LOOPBACK
from idp_kernel.settings import (
    DatabaseUrl,
    Form,
    Host,
    HttpUrl,
    Port,
    Seconds,
    SecretFilePath,
    ServiceSettings,
    SettingsPrefix,
    TraceOriginSettings,
)

InstallationId = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"),
    Form("1 to 63 letters, digits, ., _ and -, a letter or digit first and last"),
]
"""Fit for a Kubernetes label, since manifests carry it."""


class GitForgeChoice(StrEnum):
    """Which forge stands behind the port `GitForge`."""

    LOCAL = "local"


class SecretStoreChoice(StrEnum):
    """Which store stands behind the port `SecretStore`."""

    OPENBAO = "openbao"


class GitOpsAgentChoice(StrEnum):
    """Which agent stands behind the port `GitOpsAgent`."""

    LOCAL = "local"
    ARGOCD = "argocd"
    FLUX = "flux"


class LedgerSettings(ServiceSettings):
    """What the bootstrap needs; shares the service's variables."""

    model_config = SettingsConfigDict(env_prefix=SettingsPrefix.EXECUTION_WORKERS)

    database_url: DatabaseUrl
    """Where the ledger of effects is kept, as a role of its own."""


class ExecutionWorkersSettings(
    LedgerSettings,
    ArgoCdSettings,
    FluxSettings,
    HarborSettings,
    OpenBaoSettings,
    TraceOriginSettings,
):
    """What the server needs."""

    model_config = SettingsConfigDict(env_prefix=SettingsPrefix.EXECUTION_WORKERS)

    host: Host = LOOPBACK
    """The address it listens on."""
    port: Port = DEFAULT_PORTS.execution_workers
    """The port it listens on."""
    installation_id: InstallationId
    """Stands in the marker of everything created: never changes, and no two platforms that
    share a provider have the same."""
    control_plane_url: HttpUrl = f"http://{LOOPBACK}:{DEFAULT_PORTS.control_plane_api}"
    """Publishes the keys that run tokens are verified with."""

    git_forge: GitForgeChoice = GitForgeChoice.LOCAL
    """Which forge has the repositories."""
    forge_url: HttpUrl = f"http://{LOOPBACK}:{DEFAULT_PORTS.local_forge}"
    """Where the forge is."""
    forge_token_file: SecretFilePath
    """The token of the platform's own bot at the forge."""
    secret_store: SecretStoreChoice = SecretStoreChoice.OPENBAO
    """Which store has the secrets' values."""
    postgres_issuer_url: DatabaseUrl | None = None
    """Where database logins are made, as a role that may. Without it a secret of the issuer
    `postgres` is refused."""
    postgres_consumer_url: DatabaseUrl | None = None
    """How consumers reach that database, where it is not as the issuer does; without a user."""
    gitops_agent: GitOpsAgentChoice = GitOpsAgentChoice.LOCAL
    """Which agent reconciles the repositories."""
    gitops_agent_url: HttpUrl = f"http://{LOOPBACK}:{DEFAULT_PORTS.local_gitops_agent}"
    """Where the agent `local` is."""
    gitops_agent_token_file: SecretFilePath | None = None
    """The token that reads the conditions of the agent `local`, which needs it."""

    call_timeout_seconds: Seconds = 10
    """For one HTTP call to a provider."""
    git_timeout_seconds: Seconds = 30
    """For one git process."""
    provider_concurrency: Annotated[int, Field(ge=1, le=100)] = 8
    """Calls in flight to one provider, from one process."""
    max_calls: Annotated[int, Field(ge=1, le=30)] = 16
    """Calls this process works on at once, each with a database connection; more are refused
    for a moment. Below the threads that serve requests, so that `/fences` finds one."""
    item_wait_seconds: Seconds = 30
    """How long a call waits for another one that works on the same item."""
    drain_wait_seconds: Seconds = 30
    """How long `/fences` waits for calls in flight."""
    settle_seconds: Annotated[float, Field(ge=0, le=600)] = 1
    """How long the GitOps agent must have called our revision healthy."""
