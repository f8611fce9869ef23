"""What the control plane is told at its start, from variables that begin `IDP_CONTROL_PLANE_`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from control_plane.domain.limits import TeamLimits
from control_plane.domain.rates import RatePolicy
from control_plane.domain.requests import AttemptPolicy
from control_plane.domain.retention import Retention
from idp_kernel.secret_store import StorePathPart
from idp_kernel.services import DEFAULT_PORTS, LOOPBACK
from idp_kernel.settings import (
    AuthoritiesFile,
    DatabaseUrl,
    Host,
    HttpUrl,
    KeptSecretFilePath,
    LogSettings,
    Port,
    ReadableFile,
    Seconds,
    SecretFilePath,
    SettingsPrefix,
    TraceOriginSettings,
)


class DatabaseSettings(LogSettings):
    """What server and bootstrap share."""

    model_config = SettingsConfigDict(env_prefix=SettingsPrefix.CONTROL_PLANE)

    database_url: DatabaseUrl
    """The control plane's own database and role."""


class BootstrapSettings(DatabaseSettings):
    """What `python -m control_plane.bootstrap` needs beside the database."""

    admin_token_file: KeptSecretFilePath
    """The first platform-admin's token: taken from there, or made and put there."""


class ControlPlaneSettings(DatabaseSettings, TraceOriginSettings):
    """What the server needs."""

    model_config = SettingsConfigDict(env_prefix=SettingsPrefix.CONTROL_PLANE)

    host: Host = LOOPBACK
    """The address it listens on."""
    port: Port = DEFAULT_PORTS.control_plane_api
    """The port it listens on."""
    signing_key_file: SecretFilePath
    """The private key (JWK) that signs every token; its public half is published."""
    service_keys_file: ReadableFile
    """The public keys (JWK set) of the services, each under its service's name."""
    lease_seconds: Seconds = 15
    """How long a run holds its claim without renewing it."""
    offer_again_seconds: Seconds = 5
    """How soon an offer that nobody claimed is told again; later ones ever more rarely."""
    max_attempts: Annotated[int, Field(ge=1)] = 10
    """How many runs of a request in a row may be lost or fail without a further step achieved,
    before it fails itself."""
    longest_provider_wait_seconds: Annotated[float, Field(gt=0, le=30 * 24 * 3600)] = 24 * 3600
    """How long a request may wait, in all and in each phase, for providers that do not answer or
    want to be left alone; then it fails."""
    sweep_seconds: Seconds = 0.5
    """How often lost leases, passed deadlines and waits that are over are looked for."""
    housekeeping_seconds: Seconds = 60
    """How often rows that are too old are looked for and deleted."""
    keep_events_days: Annotated[int, Field(ge=1)] = 90
    """How long domain events are kept; a stream cannot be taken up further back."""
    keep_audit_days: Annotated[int, Field(ge=1)] | None = None
    """How long the audit log is kept; none is for ever."""
    rate_limit_per_second: Annotated[float, Field(gt=0)] = 50
    """Calls that each person's or pipeline's token may make for long."""
    rate_limit_burst: Annotated[int, Field(ge=1)] = 500
    """Calls that each token may make at once."""
    stop_within_seconds: Annotated[int, Field(ge=1)] = 5
    """How long calls under way may take when the process is asked to end."""
    body_seconds: Annotated[float, Field(gt=0)] = 30
    """Within what time the body of a call must have arrived."""
    default_max_applications: Annotated[int, Field(ge=0)] | None = None
    """How many applications a team may have without a limit of its own; none is no limit."""
    default_max_application_environments: Annotated[int, Field(ge=0)] | None = None
    """The same for application environments."""
    default_max_active_requests: Annotated[int, Field(ge=0)] | None = None
    """The same for workflow requests at work at once."""
    max_rotations_at_once: Annotated[int, Field(ge=1)] = 5
    """How many routine rotations are at work at a time; commands and emergencies do not count."""
    secret_store_url: HttpUrl = f"http://{LOOPBACK}:{DEFAULT_PORTS.openbao}"
    """Where people reach the secret store; the control plane itself never does."""
    secret_store_namespace: StorePathPart | None = None
    """The namespace with the secrets, the same that the workers are told; the root without it."""
    secret_store_ca_file: AuthoritiesFile | None = None
    """The authorities that vouch for its certificate, as PEM; `idp secret login` is told them, so
    nobody needs the file. The well-known ones without it."""

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.lease_seconds)

    @property
    def attempts(self) -> AttemptPolicy:
        return AttemptPolicy(
            self.lease, self.max_attempts, timedelta(seconds=self.longest_provider_wait_seconds)
        )

    @property
    def retention(self) -> Retention:
        audit = None if self.keep_audit_days is None else timedelta(days=self.keep_audit_days)
        return Retention(events=timedelta(days=self.keep_events_days), audit=audit)

    @property
    def default_limits(self) -> TeamLimits:
        return TeamLimits(
            max_applications=self.default_max_applications,
            max_application_environments=self.default_max_application_environments,
            max_active_requests=self.default_max_active_requests,
        )

    @property
    def rate(self) -> RatePolicy:
        return RatePolicy(self.rate_limit_per_second, self.rate_limit_burst)

    @property
    def offer_again_after(self) -> timedelta:
        return timedelta(seconds=self.offer_again_seconds)
