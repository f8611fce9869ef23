"""What is shown of secrets, their bindings and, to the engine, of how they should stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Column, Connection, ScalarSelect, String, cast, select

from control_plane.adapters import tables as t
from control_plane.adapters.filters import Query, after, beginning, equal, visible_to
from control_plane.adapters.stores import AnyRow, policy_of, values_of
from control_plane.application.queries import SecretFilter, Slice, VisibleTeams
from control_plane.application.rotation_policies import policy_view
from control_plane.application.workflows.wanted import appenv_repository_wanted
from control_plane.domain.application_environments import ApplicationEnvironmentState
from control_plane.domain.managed_secrets import SecretState
from control_plane.domain.repositories import REQUIRED_APPROVALS
from control_plane.domain.requests import ACTIVE_STATES, SubjectKind
from idp_kernel.wire import api as wire
from idp_kernel.wire.engine import AppEnvAsset, SecretAsset
from idp_kernel.wire.worker import (
    AppEnvExpected,
    AppEnvSubject,
    SecretBindingWanted,
    SecretExpected,
    SecretWanted,
)

_WITH_A_VALUE = (SecretState.ACTIVE, SecretState.ROTATING, SecretState.SUSPENDED)
_STANDING = (ApplicationEnvironmentState.ACTIVE, ApplicationEnvironmentState.FROZEN)
_secrets, _bindings, _appenvs = t.secrets.c, t.secret_bindings.c, t.application_environments.c


def secret_views(
    connection: Connection, visible: VisibleTeams, part: Slice, wanted: SecretFilter
) -> Sequence[wire.Secret]:
    """A part of the secrets, by id."""
    query = visible_to(_SECRETS, t.applications.c.team_id, visible)
    query = equal(
        query,
        (t.teams.c.slug, wanted.team),
        (t.applications.c.id, wanted.application_id),
        (_secrets.application_environment_id, wanted.application_environment_id),
        (t.environments.c.slug, wanted.environment),
        (_secrets.state, wanted.state),
    )
    query = beginning(query, _secrets.name, wanted.name_prefix)
    if wanted.due_before is not None:
        query = query.where(_secrets.next_rotation_at < wanted.due_before)
    rows = connection.execute(after(query, _secrets.id, part)).all()
    bindings = _bindings_of(connection, [row.id for row in rows])
    return [_secret(row, bindings[row.id]) for row in rows]


def secret_view(connection: Connection, secret_id: str) -> wire.Secret | None:
    row = connection.execute(_SECRETS.where(_secrets.id == secret_id)).one_or_none()
    return None if row is None else _secret(row, _bindings_of(connection, [secret_id])[secret_id])


def binding_views(
    connection: Connection, secret_id: str, part: Slice
) -> Sequence[wire.SecretBinding]:
    query = _BINDINGS.where(_bindings.secret_id == secret_id)
    rows = connection.execute(after(query, _bindings.id, part))
    return [wire.SecretBinding(**values_of(row)) for row in rows]


def binding_view(connection: Connection, binding_id: str) -> wire.SecretBinding | None:
    row = connection.execute(_BINDINGS.where(_bindings.id == binding_id)).one_or_none()
    return None if row is None else wire.SecretBinding(**values_of(row))


def appenv_assets(connection: Connection, part: Slice) -> Sequence[AppEnvAsset]:
    """A part of the application environments that stand, by id, as they should."""
    query = _WHEREABOUTS.where(_appenvs.state.in_(_STANDING), _appenvs.revision.is_not(None))
    rows = connection.execute(after(query, _appenvs.id, part)).all()
    pinned = _pinned_in(connection, [row.application_environment_id for row in rows])
    return [_appenv_asset(row, pinned[row.application_environment_id]) for row in rows]


def secret_assets(connection: Connection, part: Slice) -> Sequence[SecretAsset]:
    """A part of the secrets with a value, by id, as they should stand."""
    query = _SECRETS.where(_secrets.version.is_not(None), _secrets.state.in_(_WITH_A_VALUE))
    rows = connection.execute(after(query, _secrets.id, part))
    return [_secret_asset(row) for row in rows]


def active_request(kind: SubjectKind, subject_id: Column[str]) -> ScalarSelect[str]:
    """The id of the request that has not ended on the row's thing; of several the newest, which is
    at work while another waits in its grace.
    """
    subjects = t.workflow_subjects.c
    return (
        select(cast(t.workflow_requests.c.id, String))
        .join_from(t.workflow_requests, t.workflow_subjects)
        .where(
            subjects.kind == kind,
            subjects.subject_id == subject_id,
            t.workflow_requests.c.state.in_(ACTIVE_STATES),
        )
        .order_by(t.workflow_requests.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )


_SECRETS: Query = (
    select(
        t.secrets,
        t.teams.c.slug.label("team"),
        t.applications.c.id.label("application_id"),
        t.applications.c.slug.label("application"),
        t.environments.c.slug.label("environment"),
        active_request(SubjectKind.SECRET, _secrets.id).label("active_request_id"),
    )
    .join_from(t.secrets, t.application_environments)
    .join(t.applications, t.applications.c.id == _appenvs.application_id)
    .join(t.teams, t.teams.c.id == t.applications.c.team_id)
    .join(t.environments, t.environments.c.id == _appenvs.environment_id)
)

_BINDINGS: Query = (
    select(
        _bindings.id,
        _bindings.secret_id,
        _bindings.application_environment_id,
        t.applications.c.slug.label("application"),
        t.environments.c.slug.label("environment"),
        _bindings.state,
        _bindings.version,
    )
    .join_from(
        t.secret_bindings,
        t.application_environments,
        _appenvs.id == _bindings.application_environment_id,
    )
    .join(t.applications, t.applications.c.id == _appenvs.application_id)
    .join(t.environments, t.environments.c.id == _appenvs.environment_id)
)

TEAM_IDS_OF_SECRETS: Query = (
    select(t.applications.c.team_id)
    .join_from(t.secrets, t.application_environments)
    .join(t.applications, t.applications.c.id == _appenvs.application_id)
)

_WHEREABOUTS: Query = (
    select(
        _appenvs.id.label("application_environment_id"),
        _appenvs.state,
        _appenvs.revision,
        t.teams.c.slug.label("team"),
        t.applications.c.slug.label("application"),
        t.environments.c.slug.label("environment"),
        t.appenv_repositories.c.id.label("repository_id"),
        t.appenv_repositories.c.owner,
        t.appenv_repositories.c.name,
        t.appenv_repositories.c.url,
    )
    .join_from(t.application_environments, t.applications)
    .join(t.teams, t.teams.c.id == t.applications.c.team_id)
    .join(t.environments, t.environments.c.id == _appenvs.environment_id)
    .join(
        t.appenv_repositories,
        t.appenv_repositories.c.application_environment_id == _appenvs.id,
    )
)

_PINNED: Query = (
    select(
        _bindings.application_environment_id,
        _bindings.id.label("binding_id"),
        _bindings.secret_id,
        _secrets.name,
        _secrets.issuer,
        _secrets.store_path,
        _bindings.version,
    )
    .join_from(t.secret_bindings, t.secrets, _secrets.id == _bindings.secret_id)
    .where(_bindings.version.is_not(None), _secrets.state.in_(_WITH_A_VALUE))
    .order_by(_secrets.name)
)


def _bindings_of(
    connection: Connection, secret_ids: Sequence[str]
) -> defaultdict[str, list[wire.SecretBinding]]:
    found: defaultdict[str, list[wire.SecretBinding]] = defaultdict(list)
    query = _BINDINGS.where(_bindings.secret_id.in_(secret_ids)).order_by(_bindings.id)
    for row in connection.execute(query):
        found[row.secret_id].append(wire.SecretBinding(**values_of(row)))
    return found


def _pinned_in(
    connection: Connection, appenv_ids: Sequence[str]
) -> defaultdict[str, list[SecretBindingWanted]]:
    found: defaultdict[str, list[SecretBindingWanted]] = defaultdict(list)
    query = _PINNED.where(_bindings.application_environment_id.in_(appenv_ids))
    for row in connection.execute(query):
        values = values_of(row)
        found[values.pop("application_environment_id")].append(SecretBindingWanted(**values))
    return found


def _secret(row: AnyRow, bindings: Sequence[wire.SecretBinding]) -> wire.Secret:
    return wire.Secret(
        id=row.id,
        team=row.team,
        application_id=row.application_id,
        application=row.application,
        application_environment_id=row.application_environment_id,
        environment=row.environment,
        name=row.name,
        purpose=row.purpose,
        sensitivity=row.sensitivity,
        issuer=row.issuer,
        state=row.state,
        store_path=row.store_path,
        version=row.version,
        rotation_policy=policy_view(policy_of(row).in_force(row.sensitivity)),
        rotated_at=row.rotated_at,
        next_rotation_at=row.next_rotation_at,
        bindings=tuple(bindings),
        active_request_id=row.active_request_id,
        created_at=row.created_at,
    )


def _subject(row: AnyRow) -> AppEnvSubject:
    return AppEnvSubject(
        application_environment_id=row.application_environment_id,
        team=row.team,
        application=row.application,
        environment=row.environment,
    )


def _appenv_asset(row: AnyRow, pinned: Sequence[SecretBindingWanted]) -> AppEnvAsset:
    subject = _subject(row)
    expected = AppEnvExpected(
        subject=subject,
        repository=appenv_repository_wanted(row.repository_id, row.owner, row.name, subject),
        required_approvals=REQUIRED_APPROVALS,
        revision=row.revision,
        bindings=tuple(pinned),
    )
    return AppEnvAsset(expected=expected, url=row.url, state=row.state)


def _secret_asset(row: AnyRow) -> SecretAsset:
    secret = SecretWanted(
        secret_id=row.id,
        name=row.name,
        purpose=row.purpose,
        sensitivity=row.sensitivity,
        issuer=row.issuer,
    )
    policy = policy_of(row).in_force(row.sensitivity)
    expected = SecretExpected(
        subject=_subject(row),
        secret=secret,
        store_path=row.store_path,
        version=row.version,
        longest_age_seconds=int(policy.longest_age.total_seconds()),
    )
    return SecretAsset(expected=expected, state=row.state, next_rotation_at=row.next_rotation_at)
