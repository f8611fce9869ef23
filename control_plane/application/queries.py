"""What can be read. Every list is a page, ordered by id, and scoped to the teams one may see."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from control_plane.domain.application_environments import ApplicationEnvironmentState
from control_plane.domain.applications import ApplicationState
from control_plane.domain.environments import EnvironmentState
from control_plane.domain.managed_secrets import SecretState
from control_plane.domain.repositories import RepositoryState
from control_plane.domain.teams import TeamState
from idp_kernel.wire.api import (
    Application,
    ApplicationEnvironment,
    Environment,
    Event,
    GitOpsIntegration,
    Member,
    PlatformAdmin,
    PlatformStanding,
    Repository,
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
from idp_kernel.wire.worker import RepositoryKind
from idp_kernel.workflows import RequestState, WaitingReason, WorkflowName

VisibleTeams = frozenset[str] | None
"""Ids of teams; `None` means all."""


@dataclass(frozen=True)
class Slice:
    """Which part of a list: what comes after `after`, at most `limit` items."""

    after: str | None
    limit: int


@dataclass(frozen=True)
class Period:
    """A part of time, without its ends; `None` leaves it open."""

    after: datetime | None = None
    before: datetime | None = None

    def holds(self, moment: datetime) -> bool:
        is_late_enough = self.after is None or moment > self.after
        return is_late_enough and (self.before is None or moment < self.before)


ANY_TIME = Period()


@dataclass(frozen=True)
class TeamFilter:
    """Which teams; `None` does not filter, here and below."""

    state: TeamState | None = None
    name_prefix: str | None = None
    """Of the slug, here and below."""
    created: Period = ANY_TIME


@dataclass(frozen=True)
class TokenFilter:
    """Which tokens."""

    principal: str | None = None
    created: Period = ANY_TIME


@dataclass(frozen=True)
class EnvironmentFilter:
    """Which environments."""

    state: EnvironmentState | None = None
    name_prefix: str | None = None


@dataclass(frozen=True)
class ApplicationFilter:
    """Which applications."""

    team: str | None = None
    slug: str | None = None
    state: ApplicationState | None = None
    name_prefix: str | None = None
    created: Period = ANY_TIME


@dataclass(frozen=True)
class AppEnvFilter:
    """Which application environments."""

    team: str | None = None
    application_id: str | None = None
    environment: str | None = None
    state: ApplicationEnvironmentState | None = None


@dataclass(frozen=True)
class RepositoryFilter:
    """Which repositories."""

    kind: RepositoryKind | None = None
    state: RepositoryState | None = None


@dataclass(frozen=True)
class RequestFilter:
    """Which requests."""

    team: str | None = None
    state: RequestState | None = None
    workflow: WorkflowName | None = None
    application_id: str | None = None
    application_environment_id: str | None = None
    secret_id: str | None = None
    requested_by: str | None = None
    waiting_reason: WaitingReason | None = None
    created: Period = ANY_TIME


@dataclass(frozen=True)
class EventFilter:
    """Which events."""

    team: str | None = None
    subject: str | None = None
    request_id: str | None = None
    type: str | None = None
    occurred: Period = ANY_TIME

    def accepts(self, event: Event) -> bool:
        """Whether the list shows the event too."""
        return (
            self.team in (None, event.team)
            and self.subject in (None, event.subject)
            and self.request_id in (None, event.request_id)
            and self.type in (None, event.type)
            and self.occurred.holds(event.occurred_at)
        )


@dataclass(frozen=True)
class CommittedEvent:
    """An event with the id of the team that may see it; none is for platform-admins."""

    team_id: str | None
    event: Event


@dataclass(frozen=True)
class SecretFilter:
    """Which secrets."""

    team: str | None = None
    application_id: str | None = None
    application_environment_id: str | None = None
    environment: str | None = None
    state: SecretState | None = None
    name_prefix: str | None = None
    due_before: datetime | None = None


class Queries(Protocol):
    """Reads, each in a snapshot of its own. `…_team` answers the owning team's id."""

    def teams(self, visible: VisibleTeams, part: Slice, wanted: TeamFilter) -> Sequence[Team]: ...

    def team(self, slug: str) -> Team | None: ...

    def members(self, team_id: str, part: Slice, role: TeamRole | None = None) -> Sequence[Member]:
        """By principal; the slice's `after` is a principal."""
        ...

    def roles_by_team_slug(self, principal: str) -> dict[str, TeamRole]: ...

    def tokens(self, part: Slice, wanted: TokenFilter) -> Sequence[Token]: ...

    def token(self, token_id: str) -> Token | None: ...

    def platform_admins(self, part: Slice) -> Sequence[PlatformAdmin]:
        """By principal; the slice's `after` is a principal."""
        ...

    def environments(self, part: Slice, wanted: EnvironmentFilter) -> Sequence[Environment]: ...

    def environment(self, slug: str) -> Environment | None: ...

    def applications(
        self, visible: VisibleTeams, part: Slice, wanted: ApplicationFilter
    ) -> Sequence[Application]: ...

    def application(self, application_id: str) -> Application | None: ...

    def application_team(self, application_id: str) -> str | None: ...

    def application_environments(
        self, visible: VisibleTeams, part: Slice, wanted: AppEnvFilter
    ) -> Sequence[ApplicationEnvironment]: ...

    def application_environment(self, id_: str) -> ApplicationEnvironment | None: ...

    def application_environment_team(self, id_: str) -> str | None: ...

    def repositories(
        self, application_id: str, part: Slice, wanted: RepositoryFilter
    ) -> Sequence[Repository]:
        """Those of the application and of its environments."""
        ...

    def repository(self, repository_id: str) -> Repository | None: ...

    def repository_team(self, repository_id: str) -> str | None: ...

    def integrations(self, application_id: str, part: Slice) -> Sequence[GitOpsIntegration]: ...

    def integration(self, integration_id: str) -> GitOpsIntegration | None: ...

    def integration_team(self, integration_id: str) -> str | None: ...

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

    def requests_in_full(self, ids: Collection[str]) -> Mapping[str, WorkflowRequest]:
        """As `request`, by id, as many as there are of these."""
        ...

    def request_team(self, request_id: str) -> str | None: ...

    def events(self, visible: VisibleTeams, part: Slice, wanted: EventFilter) -> Sequence[Event]:
        """By sequence; the slice's `after` is one. Those of no team are for platform-admins.

        Raises `NotFound` (`events_gone`) when some that came after it may have been deleted;
        `continueAfter` is where those begin that are kept. 0 stands for the oldest one there is.
        """
        ...

    def newest_sequence(self) -> int:
        """Of the event that was committed last; 0 when there is none."""
        ...

    def events_after(self, sequence: int, limit: int) -> Sequence[CommittedEvent]:
        """Whoever may see them, by sequence."""
        ...

    def rotation_causes(self) -> Sequence[RotationCause]:
        """Those nobody has acted on, oldest first, at most five hundred."""
        ...

    def application_environment_assets(self, part: Slice) -> Sequence[AppEnvAsset]: ...

    def secret_assets(self, part: Slice) -> Sequence[SecretAsset]: ...

    def standing(self) -> PlatformStanding: ...

    def lost_runs(self) -> Sequence[LostRun]: ...

    def metrics(self) -> MetricsProjection: ...
