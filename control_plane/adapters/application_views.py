"""What is shown of applications, their environments, repositories and integrations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection, Uuid, cast, null, select, union_all
from sqlalchemy.sql import literal

from control_plane.adapters import tables as t
from control_plane.adapters.filters import Query, after, beginning, equal, visible_to, within
from control_plane.adapters.secret_views import active_request
from control_plane.adapters.stores import AnyRow, values_of
from control_plane.application.queries import (
    AppEnvFilter,
    ApplicationFilter,
    RepositoryFilter,
    Slice,
    VisibleTeams,
)
from control_plane.domain.requests import SubjectKind
from idp_kernel.wire import api as wire
from idp_kernel.wire.worker import RepositoryKind


def application_views(
    connection: Connection, visible: VisibleTeams, part: Slice, wanted: ApplicationFilter
) -> Sequence[wire.Application]:
    """A part of the applications, by id."""
    columns = t.applications.c
    query = visible_to(_APPLICATIONS, columns.team_id, visible)
    query = equal(
        query,
        (t.teams.c.slug, wanted.team),
        (columns.slug, wanted.slug),
        (columns.state, wanted.state),
    )
    query = beginning(query, columns.slug, wanted.name_prefix)
    query = within(query, columns.created_at, wanted.created)
    rows = connection.execute(after(query, columns.id, part)).all()
    return _applications(connection, rows)


def application_view(connection: Connection, application_id: str) -> wire.Application | None:
    query = _APPLICATIONS.where(t.applications.c.id == application_id)
    return next(iter(_applications(connection, connection.execute(query).all())), None)


def appenv_views(
    connection: Connection, visible: VisibleTeams, part: Slice, wanted: AppEnvFilter
) -> Sequence[wire.ApplicationEnvironment]:
    """A part of the application environments, by id."""
    columns = t.application_environments.c
    query = visible_to(_APPENVS, t.applications.c.team_id, visible)
    query = equal(
        query,
        (t.teams.c.slug, wanted.team),
        (columns.application_id, wanted.application_id),
        (t.environments.c.slug, wanted.environment),
        (columns.state, wanted.state),
    )
    rows = connection.execute(after(query, columns.id, part)).all()
    return _appenvs(connection, rows)


def appenv_view(connection: Connection, id_: str) -> wire.ApplicationEnvironment | None:
    query = _APPENVS.where(t.application_environments.c.id == id_)
    return next(iter(_appenvs(connection, connection.execute(query).all())), None)


def repository_views(
    connection: Connection, application_id: str, part: Slice, wanted: RepositoryFilter
) -> Sequence[wire.Repository]:
    """A part of the application's repositories and those of its environments, by id."""
    query = select(_REPOSITORIES).where(_REPOSITORIES.c.application_id == application_id)
    query = equal(query, (_REPOSITORIES.c.kind, wanted.kind), (_REPOSITORIES.c.state, wanted.state))
    rows = connection.execute(after(query, _REPOSITORIES.c.id, part))
    return [wire.Repository(**values_of(row)) for row in rows]


def repository_view(connection: Connection, repository_id: str) -> wire.Repository | None:
    query = select(_REPOSITORIES).where(_REPOSITORIES.c.id == repository_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else wire.Repository(**values_of(row))


def team_of_repository(connection: Connection, repository_id: str) -> str | None:
    """The id of the team that owns the repository."""
    query = (
        select(t.applications.c.team_id)
        .join_from(
            _REPOSITORIES, t.applications, t.applications.c.id == _REPOSITORIES.c.application_id
        )
        .where(_REPOSITORIES.c.id == repository_id)
    )
    return connection.execute(query).scalar_one_or_none()


def integration_views(
    connection: Connection, application_id: str, part: Slice
) -> Sequence[wire.GitOpsIntegration]:
    query = _INTEGRATIONS.where(t.gitops_integrations.c.application_id == application_id)
    rows = connection.execute(after(query, t.gitops_integrations.c.id, part))
    return [wire.GitOpsIntegration(**values_of(row)) for row in rows]


def integration_view(connection: Connection, integration_id: str) -> wire.GitOpsIntegration | None:
    query = _INTEGRATIONS.where(t.gitops_integrations.c.id == integration_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else wire.GitOpsIntegration(**values_of(row))


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

_OF_APPLICATIONS: Query = (
    select(
        t.application_repositories.c.id,
        t.application_repositories.c.kind,
        t.teams.c.slug.label("team"),
        t.applications.c.id.label("application_id"),
        t.applications.c.slug.label("application"),
        cast(null(), Uuid(as_uuid=False)).label("application_environment_id"),
        cast(null(), t.environments.c.slug.type).label("environment"),
        t.application_repositories.c.owner,
        t.application_repositories.c.name,
        t.application_repositories.c.url,
        t.application_repositories.c.state,
    )
    .join_from(t.application_repositories, t.applications)
    .join(t.teams, t.teams.c.id == t.applications.c.team_id)
)

_OF_ENVIRONMENTS: Query = (
    select(
        t.appenv_repositories.c.id,
        literal(str(RepositoryKind.APPLICATION_ENVIRONMENT)).label("kind"),
        t.teams.c.slug.label("team"),
        t.applications.c.id.label("application_id"),
        t.applications.c.slug.label("application"),
        t.appenv_repositories.c.application_environment_id,
        t.environments.c.slug.label("environment"),
        t.appenv_repositories.c.owner,
        t.appenv_repositories.c.name,
        t.appenv_repositories.c.url,
        t.appenv_repositories.c.state,
    )
    .join_from(t.appenv_repositories, t.application_environments)
    .join(t.applications, t.applications.c.id == t.application_environments.c.application_id)
    .join(t.teams, t.teams.c.id == t.applications.c.team_id)
    .join(t.environments, t.environments.c.id == t.application_environments.c.environment_id)
)

_REPOSITORIES = union_all(_OF_APPLICATIONS, _OF_ENVIRONMENTS).subquery("repositories")

_SECRETS: Query = select(
    t.secret_bindings.c.application_environment_id,
    t.secrets.c.id,
    t.secrets.c.name,
    t.secrets.c.purpose,
    t.secrets.c.sensitivity,
    t.secrets.c.issuer,
    t.secrets.c.state,
    t.secrets.c.store_path,
    t.secrets.c.version,
    t.secret_bindings.c.id.label("binding_id"),
    t.secret_bindings.c.state.label("binding_state"),
).join_from(t.secrets, t.secret_bindings, t.secret_bindings.c.secret_id == t.secrets.c.id)

_INTEGRATIONS: Query = (
    select(
        t.gitops_integrations.c.id,
        t.teams.c.slug.label("team"),
        t.applications.c.id.label("application_id"),
        t.applications.c.slug.label("application"),
        t.gitops_integrations.c.repository_id,
        t.gitops_integrations.c.state,
    )
    .join_from(t.gitops_integrations, t.applications)
    .join(t.teams, t.teams.c.id == t.applications.c.team_id)
)


def _applications(connection: Connection, rows: Sequence[AnyRow]) -> list[wire.Application]:
    columns = t.application_repositories.c
    query: Query = select(
        columns.application_id, columns.id, columns.kind, columns.name, columns.url, columns.state
    ).where(columns.application_id.in_([row.id for row in rows]))
    repositories = defaultdict[str, list[wire.RepositorySummary]](list)
    for found in connection.execute(query.order_by(columns.kind)):
        values = values_of(found)
        summaries = repositories[values.pop("application_id")]
        summaries.append(wire.RepositorySummary(**values))
    return [
        wire.Application(**values_of(row), repositories=tuple(repositories[row.id])) for row in rows
    ]


def _appenvs(connection: Connection, rows: Sequence[AnyRow]) -> list[wire.ApplicationEnvironment]:
    bindings = t.secret_bindings.c
    query = _SECRETS.where(bindings.application_environment_id.in_([row.id for row in rows]))
    secrets = defaultdict[str, list[wire.SecretSummary]](list)
    for found in connection.execute(query.order_by(t.secrets.c.name)):
        values = values_of(found)
        summaries = secrets[values.pop("application_environment_id")]
        summaries.append(wire.SecretSummary(**values))
    return [
        wire.ApplicationEnvironment(**values_of(row), secrets=tuple(secrets[row.id]))
        for row in rows
    ]
