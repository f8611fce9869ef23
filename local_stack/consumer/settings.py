"""Whom the consumer asks, how often it logs in, and who may read how that goes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from idp_kernel.services import DEFAULT_PORTS, LOOPBACK
from idp_kernel.settings import HttpUrl, Port, SecretFilePath, SettingsPrefix, TelemetrySettings


class ConsumerSettings(TelemetrySettings):
    """Read once at the start; secrets come as paths of files."""

    model_config = SettingsConfigDict(env_prefix=SettingsPrefix.LOCAL_CONSUMER)

    port: Port = DEFAULT_PORTS.local_consumer
    """The loopback port it listens on."""
    agent_url: HttpUrl = f"http://{LOOPBACK}:{DEFAULT_PORTS.local_gitops_agent}"
    """Where the GitOps agent is."""
    agent_token_file: SecretFilePath
    """The agent's reader token."""
    openbao_url: HttpUrl = f"http://{LOOPBACK}:{DEFAULT_PORTS.openbao}"
    """Where OpenBao is."""
    openbao_approle_file: SecretFilePath
    """The consumer's own login at the store: JSON with `role_id` and `secret_id`."""
    reader_token_file: SecretFilePath
    """The token that readers of the consumption show."""
    logins_per_second: Annotated[float, Field(gt=0, le=100)] = 5
    """Of all bindings together; of one, one after the other: a slow login delays the next."""
    look_interval_seconds: Annotated[float, Field(gt=0, le=3600)] = 0.5
    """How long it rests between two questions to the agent what is applied."""
    most_bindings: Annotated[int, Field(ge=1, le=100)] = 20
    """Each has a thread and a database session; bindings beyond are left alone."""
