"""What can be read. Every list is a page, ordered by id, and scoped to the teams one may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from control_plane.domain.applications import ApplicationState
from control_plane.domain.managed_secrets import SecretState
from idp_kernel.wire.api import (
    Application,
    ApplicationEnvironment,
    Environment,
    Event,
    Member,
    PlatformStanding,
    Secret,
    SecretBinding,
    Team,
    Token,
    WorkflowRequest,
)
from idp_kernel.wire.engine import (
    AppEnvAsset,
    LostRun,
    RotationCause,
    SecretAsset,
    TeamRole,
)
from idp_kernel.wire.metrics import MetricsProjection
from idp_kernel.workflows import RequestState

VisibleTeams = frozenset[str] | None
"""Ids of teams; `None` means all."""


@dataclass(frozen=True)
class Slice:
    """Which part of a list: what comes after `after`, at most `limit` items."""

    after: str | None
    limit: int


@dataclass(frozen=True)
class ApplicationFilter:
    """Which applications; `None` does not filter."""

    team: str | None = None
    slug: str | None = None
    state: ApplicationState | None = None


@dataclass(frozen=True)
class RequestFilter:
    """Which requests; `None` does not filter."""

    team: str | None = None
    state: RequestState | None = None
    application_id: str | None = None
    application_environment_id: str | None = None
    secret_id: str | None = None


@dataclass(frozen=True)
class EventFilter:
    """Which events; `None` does not filter."""

    team: str | None = None
    subject: str | None = None
    request_id: str | None = None
    type: str | None = None


@dataclass(frozen=True)
class SecretFilter:
    """Which secrets; `None` does not filter."""

    team: str | None = None
    application_environment_id: str | None = None
    state: SecretState | None = None
    due_before: datetime | None = None


class Queries(Protocol):
    """Reads, each in a snapshot of its own. `…_team` answers the owning team's id."""

    def teams(self, visible: VisibleTeams, part: Slice) -> Sequence[Team]: ...

    def team(self, slug: str) -> Team | None: ...

    def members(self, team_id: str, part: Slice) -> Sequence[Member]:
        """By principal; the slice's `after` is a principal."""
        ...

    def roles_by_team_slug(self, principal: str) -> dict[str, TeamRole]: ...

    def tokens(self, principal: str | None, part: Slice) -> Sequence[Token]: ...

    def environments(self, part: Slice) -> Sequence[Environment]: ...

    def environment(self, slug: str) -> Environment | None: ...

    def applications(
        self, visible: VisibleTeams, part: Slice, wanted: ApplicationFilter
    ) -> Sequence[Application]: ...

    def application(self, application_id: str) -> Application | None: ...

    def application_team(self, application_id: str) -> str | None: ...

    def application_environments(
        self, application_id: str, part: Slice
    ) -> Sequence[ApplicationEnvironment]: ...

    def application_environment(self, id_: str) -> ApplicationEnvironment | None: ...

    def application_environment_team(self, id_: str) -> str | None: ...

    def secrets(
        self, visible: VisibleTeams, part: Slice, wanted: SecretFilter
    ) -> Sequence[Secret]: ...

    def secret(self, secret_id: str) -> Secret | None: ...

    def secret_team(self, secret_id: str) -> str | None: ...

    def secret_bindings(self, secret_id: str, part: Slice) -> Sequence[SecretBinding]: ...

    def secret_binding(self, binding_id: str) -> SecretBinding | None: ...

    def secret_binding_team(self, binding_id: str) -> str | None: ...

    def requests(
        self, visible: VisibleTeams, part: Slice, wanted: RequestFilter
    ) -> Sequence[WorkflowRequest]:
        """Newest first, without steps and attempts."""
        ...

    def request(self, request_id: str) -> WorkflowRequest | None:
        """With the steps of all attempts."""
        ...

    def request_team(self, request_id: str) -> str | None: ...

    def events(self, visible: VisibleTeams, part: Slice, wanted: EventFilter) -> Sequence[Event]:
        """By sequence; the slice's `after` is one. Those of no team are for platform-admins."""
        ...

    def rotation_causes(self) -> Sequence[RotationCause]:
        """Those nobody has acted on, oldest first, at most five hundred."""
        ...

    def application_environment_assets(self, part: Slice) -> Sequence[AppEnvAsset]: ...

    def secret_assets(self, part: Slice) -> Sequence[SecretAsset]: ...

    def standing(self) -> PlatformStanding: ...

    def lost_runs(self) -> Sequence[LostRun]: ...

    def metrics(self) -> MetricsProjection: ...
