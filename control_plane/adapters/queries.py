"""The read side on SQLAlchemy Core: rows to messages, one transaction per question."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from sqlalchemy import Connection, Engine, func, select

from control_plane.adapters import tables as t
from control_plane.adapters.application_views import (
    appenv_view,
    appenv_views,
    application_view,
    application_views,
    integration_view,
    integration_views,
    repository_view,
    repository_views,
    team_of_repository,
)
from control_plane.adapters.database import one_read, snapshot
from control_plane.adapters.filters import Query, after, beginning, equal, visible_to, within
from control_plane.adapters.projection import read_projection
from control_plane.adapters.request_store import REQUEST_COLUMNS, SqlRequests, request_of, step_of
from control_plane.adapters.rotation_store import SqlRotations
from control_plane.adapters.secret_views import (
    TEAM_IDS_OF_SECRETS,
    appenv_assets,
    binding_view,
    binding_views,
    secret_assets,
    secret_view,
    secret_views,
)
from control_plane.adapters.stores import (
    AnyRow,
    SqlPrincipals,
    environment_of,
    platform_admins_with_tokens,
    team_of,
    values_of,
)
from control_plane.adapters.work import SqlStanding
from control_plane.application.manage_environments import environment_view
from control_plane.application.manage_teams import team_view
from control_plane.application.ports import StepRecord
from control_plane.application.queries import (
    AppEnvFilter,
    ApplicationFilter,
    CommittedEvent,
    EnvironmentFilter,
    EventFilter,
    RepositoryFilter,
    RequestFilter,
    SecretFilter,
    Slice,
    TeamFilter,
    TokenFilter,
    VisibleTeams,
)
from control_plane.domain.limits import UNLIMITED, TeamLimits
from idp_kernel.clock import Clock
from idp_kernel.errors import NotFound
from idp_kernel.wire import api as wire
from idp_kernel.wire.api import (
    EVENTS_GONE,
    Application,
    ApplicationEnvironment,
    AttemptView,
    Environment,
    Event,
    GitOpsIntegration,
    Member,
    PlatformAdmin,
    PlatformStanding,
    Repository,
    StepView,
    Team,
    Token,
    WorkflowRequest,
)
from idp_kernel.wire.engine import (
    AppEnvAsset,
    LostRun,
    RotationCause,
    SecretAsset,
    StepError,
    TeamRole,
)
from idp_kernel.wire.metrics import MetricsProjection
from idp_kernel.workflows import WORKFLOWS, RequestState, WorkflowName


class SqlQueries:
    """The read side."""

    def __init__(
        self, engine: Engine, clock: Clock, default_limits: TeamLimits = UNLIMITED
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._default_limits = default_limits

    # ── teams, people, environments ──────────────────────────────────────────────────────────

    def teams(self, visible: VisibleTeams, part: Slice, wanted: TeamFilter) -> Sequence[Team]:
        columns = t.teams.c
        query = visible_to(select(t.teams), columns.id, visible)
        query = equal(query, (columns.state, wanted.state))
        query = beginning(query, columns.slug, wanted.name_prefix)
        query = within(query, columns.created_at, wanted.created)
        return [team_view(team_of(row)) for row in self._rows(after(query, columns.id, part))]

    def team(self, slug: str) -> Team | None:
        row = self._row(select(t.teams).where(t.teams.c.slug == slug))
        return None if row is None else team_view(team_of(row))

    def members(self, team_id: str, part: Slice, role: TeamRole | None = None) -> Sequence[Member]:
        members = t.memberships.c
        query: Query = (
            select(t.teams.c.slug.label("team"), members.principal, members.role)
            .join_from(t.memberships, t.teams)
            .where(members.team_id == team_id)
        )
        query = equal(query, (members.role, role))
        rows = self._rows(after(query, members.principal, part))
        return [Member(**values_of(row)) for row in rows]

    def roles_by_team_slug(self, principal: str) -> dict[str, TeamRole]:
        with snapshot(self._engine) as connection:
            principals = SqlPrincipals(connection, self._clock.now())
            return dict(principals.roles_by_team_slug(principal))

    def tokens(self, part: Slice, wanted: TokenFilter) -> Sequence[Token]:
        columns = t.tokens.c
        query = equal(_TOKENS, (columns.principal, wanted.principal))
        query = within(query, columns.created_at, wanted.created)
        return [Token(**values_of(row)) for row in self._rows(after(query, columns.id, part))]

    def token(self, token_id: str) -> Token | None:
        row = self._row(_TOKENS.where(t.tokens.c.id == token_id))
        return None if row is None else Token(**values_of(row))

    def platform_admins(self, part: Slice) -> Sequence[PlatformAdmin]:
        query = platform_admins_with_tokens(self._clock.now())
        rows = self._rows(after(query, t.principals.c.name, part))
        return [PlatformAdmin(**values_of(row)) for row in rows]

    def environments(self, part: Slice, wanted: EnvironmentFilter) -> Sequence[Environment]:
        columns = t.environments.c
        query = equal(select(t.environments), (columns.state, wanted.state))
        query = beginning(query, columns.slug, wanted.name_prefix)
        rows = self._rows(after(query, columns.id, part))
        return [environment_view(environment_of(row)) for row in rows]

    def environment(self, slug: str) -> Environment | None:
        row = self._row(select(t.environments).where(t.environments.c.slug == slug))
        return None if row is None else environment_view(environment_of(row))

    # ── applications ─────────────────────────────────────────────────────────────────────────

    def applications(
        self, visible: VisibleTeams, part: Slice, wanted: ApplicationFilter
    ) -> Sequence[Application]:
        with snapshot(self._engine) as connection:
            return application_views(connection, visible, part, wanted)

    def application(self, application_id: str) -> Application | None:
        with snapshot(self._engine) as connection:
            return application_view(connection, application_id)

    def application_team(self, application_id: str) -> str | None:
        return self._value(
            select(t.applications.c.team_id).where(t.applications.c.id == application_id)
        )

    def application_environments(
        self, visible: VisibleTeams, part: Slice, wanted: AppEnvFilter
    ) -> Sequence[ApplicationEnvironment]:
        with snapshot(self._engine) as connection:
            return appenv_views(connection, visible, part, wanted)

    def application_environment(self, id_: str) -> ApplicationEnvironment | None:
        with snapshot(self._engine) as connection:
            return appenv_view(connection, id_)

    def application_environment_team(self, id_: str) -> str | None:
        query: Query = (
            select(t.applications.c.team_id)
            .join_from(t.application_environments, t.applications)
            .where(t.application_environments.c.id == id_)
        )
        return self._value(query)

    def repositories(
        self, application_id: str, part: Slice, wanted: RepositoryFilter
    ) -> Sequence[Repository]:
        with snapshot(self._engine) as connection:
            return repository_views(connection, application_id, part, wanted)

    def repository(self, repository_id: str) -> Repository | None:
        with snapshot(self._engine) as connection:
            return repository_view(connection, repository_id)

    def repository_team(self, repository_id: str) -> str | None:
        with snapshot(self._engine) as connection:
            return team_of_repository(connection, repository_id)

    def integrations(self, application_id: str, part: Slice) -> Sequence[GitOpsIntegration]:
        with snapshot(self._engine) as connection:
            return integration_views(connection, application_id, part)

    def integration(self, integration_id: str) -> GitOpsIntegration | None:
        with snapshot(self._engine) as connection:
            return integration_view(connection, integration_id)

    def integration_team(self, integration_id: str) -> str | None:
        query: Query = (
            select(t.applications.c.team_id)
            .join_from(t.gitops_integrations, t.applications)
            .where(t.gitops_integrations.c.id == integration_id)
        )
        return self._value(query)

    # ── secrets ──────────────────────────────────────────────────────────────────────────────

    def secrets(
        self, visible: VisibleTeams, part: Slice, wanted: SecretFilter
    ) -> Sequence[wire.Secret]:
        with snapshot(self._engine) as connection:
            return secret_views(connection, visible, part, wanted)

    def secret(self, secret_id: str) -> wire.Secret | None:
        with snapshot(self._engine) as connection:
            return secret_view(connection, secret_id)

    def secret_team(self, secret_id: str) -> str | None:
        return self._value(TEAM_IDS_OF_SECRETS.where(t.secrets.c.id == secret_id))

    def secret_bindings(self, secret_id: str, part: Slice) -> Sequence[wire.SecretBinding]:
        with snapshot(self._engine) as connection:
            return binding_views(connection, secret_id, part)

    def secret_binding(self, binding_id: str) -> wire.SecretBinding | None:
        with snapshot(self._engine) as connection:
            return binding_view(connection, binding_id)

    def secret_binding_team(self, binding_id: str) -> str | None:
        query = TEAM_IDS_OF_SECRETS.join(
            t.secret_bindings, t.secret_bindings.c.secret_id == t.secrets.c.id
        )
        return self._value(query.where(t.secret_bindings.c.id == binding_id))

    def rotation_causes(self) -> Sequence[RotationCause]:
        with snapshot(self._engine) as connection:
            return SqlRotations(connection, self._clock.now()).open_causes()

    def application_environment_assets(self, part: Slice) -> Sequence[AppEnvAsset]:
        with snapshot(self._engine) as connection:
            return appenv_assets(connection, part)

    def secret_assets(self, part: Slice) -> Sequence[SecretAsset]:
        with snapshot(self._engine) as connection:
            return secret_assets(connection, part)

    # ── requests and events ──────────────────────────────────────────────────────────────────

    def requests(
        self, visible: VisibleTeams, part: Slice, wanted: RequestFilter
    ) -> Sequence[WorkflowRequest]:
        columns = t.workflow_requests.c
        query = visible_to(_REQUESTS, columns.team_id, visible)
        query = equal(
            query,
            (t.teams.c.slug, wanted.team),
            (columns.state, wanted.state),
            (columns.workflow, wanted.workflow),
            (columns.application_id, wanted.application_id),
            (columns.application_environment_id, wanted.application_environment_id),
            (columns.secret_id, wanted.secret_id),
            (columns.requested_by, wanted.requested_by),
            (columns.waiting_reason, wanted.waiting_reason),
        )
        query = within(query, columns.created_at, wanted.created)
        if part.after is not None:
            query = query.where(columns.id < part.after)
        rows = self._rows(query.order_by(columns.id.desc()).limit(part.limit))
        return [_request(row) for row in rows]

    def request(self, request_id: str) -> WorkflowRequest | None:
        return self.requests_in_full([request_id]).get(request_id)

    def requests_in_full(self, ids: Collection[str]) -> dict[str, WorkflowRequest]:
        with snapshot(self._engine) as connection:
            rows = connection.execute(_REQUESTS.where(t.workflow_requests.c.id.in_(ids))).all()
            steps, attempts = _steps(connection, ids), _attempts(connection, ids)
        return {
            row.id: _request(row).model_copy(
                update={
                    "steps": _in_order(steps[row.id], WorkflowName(row.workflow)),
                    "attempts": tuple(attempts[row.id]),
                }
            )
            for row in rows
        }

    def request_team(self, request_id: str) -> str | None:
        columns = t.workflow_requests.c
        return self._value(select(columns.team_id).where(columns.id == request_id))

    def events(self, visible: VisibleTeams, part: Slice, wanted: EventFilter) -> Sequence[Event]:
        columns = t.outbox_events.c
        query = visible_to(_EVENTS, columns.team_id, visible)
        query = equal(
            query,
            (t.teams.c.slug, wanted.team),
            (columns.subject, wanted.subject),
            (columns.request_id, wanted.request_id),
            (columns.type, wanted.type),
        )
        query = within(query, columns.occurred_at, wanted.occurred)
        if part.after is not None:
            query = query.where(columns.sequence > int(part.after))
        with snapshot(self._engine) as connection:
            if part.after is not None:
                _check_none_is_gone(connection, int(part.after))
            rows = connection.execute(query.order_by(columns.sequence).limit(part.limit)).all()
        return [Event(**values_of(row)) for row in rows]

    def newest_sequence(self) -> int:
        with snapshot(self._engine) as connection:
            newest = select(func.max(t.outbox_events.c.sequence))
            return connection.execute(newest).scalar_one() or 0

    def events_after(self, sequence: int, limit: int) -> Sequence[CommittedEvent]:
        columns = t.outbox_events.c
        query = _EVENTS.add_columns(columns.team_id).where(columns.sequence > sequence)
        rows = self._rows(query.order_by(columns.sequence).limit(limit))
        return [_committed_event(row) for row in rows]

    # ── the whole platform ───────────────────────────────────────────────────────────────────

    def standing(self) -> PlatformStanding:
        with snapshot(self._engine) as connection:
            return PlatformStanding(draining=SqlStanding(connection).is_draining())

    def lost_runs(self) -> Sequence[LostRun]:
        with snapshot(self._engine) as connection:
            return SqlRequests(connection, self._clock.now()).lost_runs()

    def metrics(self) -> MetricsProjection:
        return read_projection(self._engine, self._clock.now(), self._default_limits)

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    def _rows(self, query: Query) -> Sequence[AnyRow]:
        with one_read(self._engine) as connection:
            return connection.execute(query).all()

    def _row(self, query: Query) -> AnyRow | None:
        with one_read(self._engine) as connection:
            return connection.execute(query).one_or_none()

    def _value(self, query: Query) -> str | None:
        row = self._row(query)
        return None if row is None else str(row[0])


_TOKENS: Query = select(
    t.tokens.c.id,
    t.tokens.c.principal,
    t.principals.c.platform_admin,
    t.tokens.c.created_at,
    t.tokens.c.expires_at,
    t.tokens.c.revoked_at,
    t.tokens.c.last_used_at,
).join_from(t.tokens, t.principals)

_undos = t.workflow_requests.alias("undos")
_REQUESTS: Query = select(
    *REQUEST_COLUMNS,
    t.teams.c.slug.label("team"),
    select(_undos.c.id)
    .where(_undos.c.undoes == t.workflow_requests.c.id, _undos.c.state == RequestState.SUCCEEDED)
    .order_by(_undos.c.ended_at.desc(), _undos.c.id.desc())
    .limit(1)
    .scalar_subquery()
    .label("undone_by"),
).join_from(t.workflow_requests, t.teams)

_EVENTS: Query = select(
    t.outbox_events.c.sequence,
    t.outbox_events.c.id,
    t.outbox_events.c.type,
    t.outbox_events.c.occurred_at,
    t.teams.c.slug.label("team"),
    t.outbox_events.c.subject,
    t.outbox_events.c.request_id,
    t.outbox_events.c.actor,
    t.outbox_events.c.data,
).join_from(t.outbox_events, t.teams, t.teams.c.id == t.outbox_events.c.team_id, isouter=True)


def _request(row: AnyRow) -> WorkflowRequest:
    request = request_of(row)
    error = request.error
    return WorkflowRequest(
        id=request.id,
        workflow=request.workflow,
        state=request.state,
        phase=request.phase,
        attempt=request.attempt,
        team=row.team,
        application_id=request.application_id,
        application_environment_id=request.application_environment_id,
        secret_id=request.secret_id,
        requested_by=request.requested_by,
        reason=request.reason,
        waiting_reason=request.waiting.reason if request.waiting else None,
        waiting_until=request.waiting.until if request.waiting else None,
        waiting_for=(request.last_seen or None) if request.waiting else None,
        cancel_requested=request.cancel_requested,
        error=StepError(code=error.code, message=error.message[:2000], retryable=error.retryable)
        if error
        else None,
        left_behind=request.left_behind,
        undoes=request.undoes,
        undone_by=row.undone_by,
        created_at=request.created_at,
        deadline_at=request.deadline_at,
        first_step_at=request.first_step_at,
        ended_at=request.ended_at,
        planned_steps=WORKFLOWS[request.workflow].steps,
    )


def _steps(connection: Connection, request_ids: Collection[str]) -> dict[str, list[StepRecord]]:
    """By request."""
    query = select(t.request_steps).where(t.request_steps.c.request_id.in_(request_ids))
    records = defaultdict[str, list[StepRecord]](list)
    for row in connection.execute(query):
        records[row.request_id].append(step_of(row))
    return records


def _in_order(records: Sequence[StepRecord], workflow: WorkflowName) -> tuple[StepView, ...]:
    """By attempt, then as the workflow orders them."""
    order = {step: number for number, step in enumerate(WORKFLOWS[workflow].steps)}
    return tuple(
        StepView(
            step=record.step,
            attempt=record.attempt,
            state=record.state,
            retries=record.retries,
            started_at=record.started_at,
            ended_at=record.ended_at,
            error=record.error,
            result=record.result,
        )
        for record in sorted(records, key=lambda each: (each.attempt, order[each.step]))
    )


def _attempts(connection: Connection, request_ids: Collection[str]) -> dict[str, list[AttemptView]]:
    """By request."""
    columns = t.request_attempts.c
    query = select(t.request_attempts).where(columns.request_id.in_(request_ids))
    views = defaultdict[str, list[AttemptView]](list)
    for row in connection.execute(query.order_by(columns.attempt)):
        values = values_of(row)
        views[values.pop("request_id")].append(AttemptView(**values))
    return views


def _committed_event(row: AnyRow) -> CommittedEvent:
    values = values_of(row)
    return CommittedEvent(values.pop("team_id"), Event(**values))


def _check_none_is_gone(connection: Connection, seen: int) -> None:
    """Housekeeping leaves the last event that is too old: what came before it may be gone."""
    oldest = connection.execute(select(func.min(t.outbox_events.c.sequence))).scalar_one()
    if oldest is not None and 0 < seen < oldest - 1:
        raise NotFound(
            f"Events that came after sequence {seen} are not kept any more. Go on after"
            f" {oldest - 1}, with the oldest one there is.",
            code=EVENTS_GONE,
            details={"continueAfter": oldest - 1},
        )
