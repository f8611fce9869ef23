"""The read side on SQLAlchemy Core: rows to messages, one transaction per question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Select, select

from control_plane.adapters import tables as t
from control_plane.adapters.database import transaction
from control_plane.adapters.projection import read_projection
from control_plane.adapters.request_store import SqlRequests, request_of, step_of
from control_plane.adapters.rotation_store import SqlRotations
from control_plane.adapters.secret_views import (
    TEAM_IDS_OF_SECRETS,
    active_request,
    appenv_assets,
    binding_view,
    binding_views,
    secret_assets,
    secret_view,
    secret_views,
)
from control_plane.adapters.stores import (
    AnyRow,
    SqlApplicationEnvironments,
    SqlApplications,
    SqlPrincipals,
    values_of,
)
from control_plane.adapters.work import SqlStanding
from control_plane.application.queries import (
    ApplicationFilter,
    EventFilter,
    RequestFilter,
    SecretFilter,
    Slice,
    VisibleTeams,
)
from control_plane.domain.managed_secrets import Secret
from control_plane.domain.repositories import ApplicationRepository
from control_plane.domain.requests import SubjectKind
from idp_kernel.clock import Clock
from idp_kernel.wire import api as wire
from idp_kernel.wire.api import (
    Application,
    ApplicationEnvironment,
    AttemptView,
    Environment,
    Event,
    Member,
    PlatformStanding,
    RepositorySummary,
    SecretSummary,
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
from idp_kernel.wire.worker import RepositoryKind
from idp_kernel.workflows import WORKFLOWS

Query = Select[tuple[Any, ...]]


class SqlQueries:
    """The read side."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    # ── teams, people, environments ──────────────────────────────────────────────────────────

    def teams(self, visible: VisibleTeams, part: Slice) -> Sequence[Team]:
        query: Query = select(t.teams)
        if visible is not None:
            query = query.where(t.teams.c.id.in_(visible))
        return [Team(**values_of(row)) for row in self._rows(_after_id(query, t.teams.c.id, part))]

    def team(self, slug: str) -> Team | None:
        row = self._row(select(t.teams).where(t.teams.c.slug == slug))
        return None if row is None else Team(**values_of(row))

    def members(self, team_id: str, part: Slice) -> Sequence[Member]:
        members = t.memberships.c
        query: Query = (
            select(t.teams.c.slug.label("team"), members.principal, members.role)
            .join_from(t.memberships, t.teams)
            .where(members.team_id == team_id)
        )
        rows = self._rows(_after_id(query, members.principal, part))
        return [Member(**values_of(row)) for row in rows]

    def roles_by_team_slug(self, principal: str) -> dict[str, TeamRole]:
        with transaction(self._engine) as connection:
            principals = SqlPrincipals(connection, self._clock.now())
            return dict(principals.roles_by_team_slug(principal))

    def tokens(self, principal: str | None, part: Slice) -> Sequence[Token]:
        tokens = t.tokens.c
        query: Query = select(
            tokens.id, tokens.principal, tokens.created_at, tokens.expires_at, tokens.revoked_at
        )
        if principal is not None:
            query = query.where(tokens.principal == principal)
        return [Token(**values_of(row)) for row in self._rows(_after_id(query, tokens.id, part))]

    def environments(self, part: Slice) -> Sequence[Environment]:
        query = _after_id(select(t.environments), t.environments.c.id, part)
        return [Environment(**values_of(row)) for row in self._rows(query)]

    def environment(self, slug: str) -> Environment | None:
        row = self._row(select(t.environments).where(t.environments.c.slug == slug))
        return None if row is None else Environment(**values_of(row))

    # ── applications ─────────────────────────────────────────────────────────────────────────

    def applications(
        self, visible: VisibleTeams, part: Slice, wanted: ApplicationFilter
    ) -> Sequence[Application]:
        query = _APPLICATIONS
        if visible is not None:
            query = query.where(t.applications.c.team_id.in_(visible))
        if wanted.team is not None:
            query = query.where(t.teams.c.slug == wanted.team)
        if wanted.slug is not None:
            query = query.where(t.applications.c.slug == wanted.slug)
        if wanted.state is not None:
            query = query.where(t.applications.c.state == wanted.state)
        with transaction(self._engine) as connection:
            rows = connection.execute(_after_id(query, t.applications.c.id, part)).all()
            return [_application(connection, row) for row in rows]

    def application(self, application_id: str) -> Application | None:
        with transaction(self._engine) as connection:
            query = _APPLICATIONS.where(t.applications.c.id == application_id)
            row = connection.execute(query).one_or_none()
            return None if row is None else _application(connection, row)

    def application_team(self, application_id: str) -> str | None:
        return self._value(
            select(t.applications.c.team_id).where(t.applications.c.id == application_id)
        )

    def application_environments(
        self, application_id: str, part: Slice
    ) -> Sequence[ApplicationEnvironment]:
        columns = t.application_environments.c
        query = _APPENVS.where(columns.application_id == application_id)
        with transaction(self._engine) as connection:
            rows = connection.execute(_after_id(query, columns.id, part)).all()
            return [_appenv(connection, row) for row in rows]

    def application_environment(self, id_: str) -> ApplicationEnvironment | None:
        with transaction(self._engine) as connection:
            query = _APPENVS.where(t.application_environments.c.id == id_)
            row = connection.execute(query).one_or_none()
            return None if row is None else _appenv(connection, row)

    def application_environment_team(self, id_: str) -> str | None:
        query: Query = (
            select(t.applications.c.team_id)
            .join_from(t.application_environments, t.applications)
            .where(t.application_environments.c.id == id_)
        )
        return self._value(query)

    # ── secrets ──────────────────────────────────────────────────────────────────────────────

    def secrets(
        self, visible: VisibleTeams, part: Slice, wanted: SecretFilter
    ) -> Sequence[wire.Secret]:
        with transaction(self._engine) as connection:
            return secret_views(connection, visible, part, wanted)

    def secret(self, secret_id: str) -> wire.Secret | None:
        with transaction(self._engine) as connection:
            return secret_view(connection, secret_id)

    def secret_team(self, secret_id: str) -> str | None:
        return self._value(TEAM_IDS_OF_SECRETS.where(t.secrets.c.id == secret_id))

    def secret_bindings(self, secret_id: str, part: Slice) -> Sequence[wire.SecretBinding]:
        with transaction(self._engine) as connection:
            return binding_views(connection, secret_id, part)

    def secret_binding(self, binding_id: str) -> wire.SecretBinding | None:
        with transaction(self._engine) as connection:
            return binding_view(connection, binding_id)

    def secret_binding_team(self, binding_id: str) -> str | None:
        query = TEAM_IDS_OF_SECRETS.join(
            t.secret_bindings, t.secret_bindings.c.secret_id == t.secrets.c.id
        )
        return self._value(query.where(t.secret_bindings.c.id == binding_id))

    def rotation_causes(self) -> Sequence[RotationCause]:
        with transaction(self._engine) as connection:
            return SqlRotations(connection, self._clock.now()).open_causes()

    def application_environment_assets(self, part: Slice) -> Sequence[AppEnvAsset]:
        with transaction(self._engine) as connection:
            return appenv_assets(connection, part)

    def secret_assets(self, part: Slice) -> Sequence[SecretAsset]:
        with transaction(self._engine) as connection:
            return secret_assets(connection, part)

    # ── requests and events ──────────────────────────────────────────────────────────────────

    def requests(
        self, visible: VisibleTeams, part: Slice, wanted: RequestFilter
    ) -> Sequence[WorkflowRequest]:
        columns, query = t.workflow_requests.c, _REQUESTS
        if visible is not None:
            query = query.where(columns.team_id.in_(visible))
        if wanted.team is not None:
            query = query.where(t.teams.c.slug == wanted.team)
        if wanted.state is not None:
            query = query.where(columns.state == wanted.state)
        if wanted.application_environment_id is not None:
            query = query.where(
                columns.application_environment_id == wanted.application_environment_id
            )
        if wanted.application_id is not None:
            query = query.where(columns.application_id == wanted.application_id)
        if wanted.secret_id is not None:
            query = query.where(columns.secret_id == wanted.secret_id)
        if part.after is not None:
            query = query.where(columns.id < part.after)
        rows = self._rows(query.order_by(columns.id.desc()).limit(part.limit))
        return [_request(row) for row in rows]

    def request(self, request_id: str) -> WorkflowRequest | None:
        with transaction(self._engine) as connection:
            query = _REQUESTS.where(t.workflow_requests.c.id == request_id)
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            return _request(row).model_copy(
                update={
                    "steps": _steps(connection, row),
                    "attempts": _attempts(connection, request_id),
                }
            )

    def request_team(self, request_id: str) -> str | None:
        columns = t.workflow_requests.c
        return self._value(select(columns.team_id).where(columns.id == request_id))

    def events(self, visible: VisibleTeams, part: Slice, wanted: EventFilter) -> Sequence[Event]:
        columns, query = t.outbox_events.c, _EVENTS
        if visible is not None:
            query = query.where(columns.team_id.in_(visible))
        if wanted.team is not None:
            query = query.where(t.teams.c.slug == wanted.team)
        if wanted.subject is not None:
            query = query.where(columns.subject == wanted.subject)
        if wanted.request_id is not None:
            query = query.where(columns.request_id == wanted.request_id)
        if wanted.type is not None:
            query = query.where(columns.type == wanted.type)
        if part.after is not None:
            query = query.where(columns.sequence > int(part.after))
        rows = self._rows(query.order_by(columns.sequence).limit(part.limit))
        return [Event(**values_of(row)) for row in rows]

    # ── the whole platform ───────────────────────────────────────────────────────────────────

    def standing(self) -> PlatformStanding:
        with transaction(self._engine) as connection:
            return PlatformStanding(draining=SqlStanding(connection).is_draining())

    def lost_runs(self) -> Sequence[LostRun]:
        with transaction(self._engine) as connection:
            return SqlRequests(connection, self._clock.now()).lost_runs()

    def metrics(self) -> MetricsProjection:
        return read_projection(self._engine, self._clock.now())

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    def _rows(self, query: Query) -> Sequence[AnyRow]:
        with transaction(self._engine) as connection:
            return connection.execute(query).all()

    def _row(self, query: Query) -> AnyRow | None:
        with transaction(self._engine) as connection:
            return connection.execute(query).one_or_none()

    def _value(self, query: Query) -> str | None:
        row = self._row(query)
        return None if row is None else str(row[0])


_APPLICATIONS: Query = select(
    t.applications.c.id,
    t.teams.c.slug.label("team"),
    t.applications.c.slug,
    t.applications.c.description,
    t.applications.c.state,
    t.applications.c.created_at,
    active_request(SubjectKind.APPLICATION, t.applications.c.id).label("active_request_id"),
).join_from(t.applications, t.teams)

_APPENVS: Query = (
    select(
        t.application_environments.c.id,
        t.application_environments.c.application_id,
        t.teams.c.slug.label("team"),
        t.applications.c.slug.label("application"),
        t.environments.c.slug.label("environment"),
        t.application_environments.c.state,
        t.appenv_repositories.c.name.label("repository_name"),
        t.appenv_repositories.c.url.label("repository_url"),
        t.application_environments.c.revision,
        t.application_environments.c.created_at,
        active_request(SubjectKind.APPLICATION_ENVIRONMENT, t.application_environments.c.id).label(
            "active_request_id"
        ),
    )
    .join_from(t.application_environments, t.applications)
    .join(t.teams, t.teams.c.id == t.applications.c.team_id)
    .join(t.environments, t.environments.c.id == t.application_environments.c.environment_id)
    .join(
        t.appenv_repositories,
        t.appenv_repositories.c.application_environment_id == t.application_environments.c.id,
    )
)

_REQUESTS: Query = select(t.workflow_requests, t.teams.c.slug.label("team")).join_from(
    t.workflow_requests, t.teams
)

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


def _after_id(query: Query, column: Any, part: Slice) -> Query:
    if part.after is not None:
        query = query.where(column > part.after)
    return query.order_by(column).limit(part.limit)


def _application(connection: Connection, row: AnyRow) -> Application:
    repositories = SqlApplications(connection).repositories(row.id)
    return Application(
        **values_of(row), repositories=tuple(_repository_summary(each) for each in repositories)
    )


def _repository_summary(repository: ApplicationRepository) -> RepositorySummary:
    return RepositorySummary(
        id=repository.id,
        kind=RepositoryKind(repository.kind),
        name=repository.name,
        url=repository.url,
        state=repository.state,
    )


def _appenv(connection: Connection, row: AnyRow) -> ApplicationEnvironment:
    secrets = SqlApplicationEnvironments(connection).secrets(row.id)
    return ApplicationEnvironment(
        **values_of(row), secrets=tuple(_secret_summary(each) for each in secrets)
    )


def _secret_summary(secret: Secret) -> SecretSummary:
    return SecretSummary.model_validate(
        {
            "id": secret.id,
            "name": secret.name,
            "purpose": secret.purpose,
            "sensitivity": secret.sensitivity,
            "issuer": secret.issuer,
            "state": secret.state,
            "store_path": secret.store_path,
            "version": secret.version,
            "binding_id": secret.binding.id,
            "binding_state": secret.binding.state,
        }
    )


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
        cancel_requested=request.cancel_requested,
        error=StepError(code=error.code, message=error.message[:2000], retryable=error.retryable)
        if error
        else None,
        left_behind=request.left_behind,
        created_at=request.created_at,
        deadline_at=request.deadline_at,
        first_step_at=request.first_step_at,
        ended_at=request.ended_at,
        planned_steps=WORKFLOWS[request.workflow].steps,
    )


def _steps(connection: Connection, row: AnyRow) -> tuple[StepView, ...]:
    """By attempt, then as the workflow orders them."""
    columns = t.request_steps.c
    query = select(t.request_steps).where(columns.request_id == row.id)
    records = [step_of(each) for each in connection.execute(query)]
    order = {step: number for number, step in enumerate(WORKFLOWS[row.workflow].steps)}
    records.sort(key=lambda record: (record.attempt, order[record.step]))
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
        for record in records
    )


def _attempts(connection: Connection, request_id: str) -> tuple[AttemptView, ...]:
    columns = t.request_attempts.c
    query = (
        select(t.request_attempts).where(columns.request_id == request_id).order_by(columns.attempt)
    )
    views = []
    for row in connection.execute(query):
        values = values_of(row)
        values.pop("request_id")
        views.append(AttemptView(**values))
    return tuple(views)
