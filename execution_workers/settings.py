"""Everything execution-workers can be told from outside, read once in `main`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from idp_kernel.services import DEFAULT_PORTS, LOOPBACK

Seconds = Annotated[float, Field(gt=0, le=600)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+")]
DatabaseUrl = Annotated[str, Field(pattern=r"^postgresql(\+psycopg)?://[^\s/]+/[^\s/?]+")]
InstallationId = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]
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


class LedgerSettings(BaseSettings):
    """What the bootstrap needs; shares the service's variables."""

    model_config = SettingsConfigDict(
        env_prefix="IDP_EXECUTION_WORKERS_", frozen=True, extra="ignore"
    )

    database_url: str
    """As the role `ledger`; the password is in the file that `passfile=` names."""


class ExecutionWorkersSettings(LedgerSettings):
    """Settings of the service. Secrets come as paths of files with mode 0600."""

    host: str = LOOPBACK
    port: int = DEFAULT_PORTS.execution_workers
    env: str = "local"
    """The `env` label in metrics."""
    otlp_endpoint: str | None = None
    log_level: str = "INFO"
    installation_id: InstallationId
    """Stands in the marker of everything created: never changes, and no two platforms that
    share a provider have the same."""
    control_plane_url: Url = f"http://{LOOPBACK}:{DEFAULT_PORTS.control_plane_api}"
    """Publishes the keys that run tokens are verified with."""

    git_forge: GitForgeChoice = GitForgeChoice.LOCAL
    forge_url: Url = f"http://{LOOPBACK}:{DEFAULT_PORTS.local_forge}"
    forge_token_file: Path
    """The platform's own bot identity."""
    secret_store: SecretStoreChoice = SecretStoreChoice.OPENBAO
    openbao_url: Url = f"http://{LOOPBACK}:{DEFAULT_PORTS.openbao}"
    openbao_approle_file: Path
    """JSON with `role_id` and `secret_id`."""
    postgres_issuer_url: DatabaseUrl | None = None
    """Where database logins are made, as a role that may; the password is in the file that
    `passfile=` names. Without it a secret of the issuer `postgres` is refused."""
    postgres_consumer_url: DatabaseUrl | None = None
    """How consumers reach that database, where it is not as the issuer does; without a user."""
    gitops_agent: GitOpsAgentChoice = GitOpsAgentChoice.LOCAL
    gitops_agent_url: Url = f"http://{LOOPBACK}:{DEFAULT_PORTS.local_gitops_agent}"
    gitops_agent_token_file: Path

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
