"""Whom the consumer asks, how often it logs in, and who may read how that goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from idp_kernel.services import DEFAULT_PORTS, LOOPBACK


class ConsumerSettings(BaseSettings):
    """Read once at the start; secrets come as paths of files."""

    model_config = SettingsConfigDict(env_prefix="IDP_LOCAL_CONSUMER_", frozen=True)

    port: int = DEFAULT_PORTS.local_consumer
    agent_url: str = f"http://{LOOPBACK}:{DEFAULT_PORTS.local_gitops_agent}"
    agent_token_file: Path
    """The agent's reader token."""
    openbao_url: str = f"http://{LOOPBACK}:{DEFAULT_PORTS.openbao}"
    openbao_approle_file: Path
    """JSON with the consumer's own `role_id` and `secret_id`."""
    reader_token_file: Path
    """The token that readers of the consumption show."""
    logins_per_second: Annotated[float, Field(gt=0, le=100)] = 5
    """Of all bindings together; of one, one after the other: a slow login delays the next."""
    look_interval_seconds: Annotated[float, Field(gt=0, le=3600)] = 0.5
    """How often the agent is asked what is applied."""
    most_bindings: Annotated[int, Field(ge=1, le=100)] = 20
    """Each has a thread and a database session; bindings beyond are left alone."""
    env: str = "local"
    """The `env` label in metrics."""
    otlp_endpoint: str | None = None
