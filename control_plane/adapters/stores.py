"""The stores of people, teams, environments and applications on SQLAlchemy Core."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    bindparam,
    case,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from control_plane.adapters import tables as t
from control_plane.adapters.statements import (
    CHANGED_ID,
    Hold,
    adding,
    changing,
    held,
    matching,
)
from control_plane.application.ports import StoredToken
from control_plane.domain.application_environments import (
    ApplicationEnvironment,
    ApplicationEnvironmentState,
)
from control_plane.domain.applications import Application, ApplicationState
from control_plane.domain.environments import Environment, EnvironmentState
from control_plane.domain.managed_secrets import (
    Secret,
    SecretBinding,
    SecretBindingState,
    SecretState,
)
from control_plane.domain.repositories import (
    AppEnvRepository,
    ApplicationRepository,
    ApplicationRepositoryKind,
    GitOpsIntegration,
    GitOpsIntegrationState,
    RepositoryState,
)
from control_plane.domain.rotation import RotationPolicy, RotationWindow
from control_plane.domain.teams import Team, TeamState
from idp_kernel.errors import InvariantBroken
from idp_kernel.wire.engine import TeamRole

AnyRow = Row[tuple[Any, ...]]
AnySelect = Select[tuple[Any, ...]]


def hold_of(*, lock: bool) -> Hold:
    return Hold.ANY_OTHER_HOLD if lock else Hold.NOTHING


def locked(query: AnySelect, *, lock: bool) -> AnySelect:
    """The query, holding its rows for update; rows that refer to them may still be added."""
    return held(query, hold_of(lock=lock))


def the(row: AnyRow | None, what: str) -> AnyRow:
    """A row that a foreign key promises."""
    if row is None:
        raise InvariantBroken(f"{what} is referred to and not there")
    return row


def values_of(row: AnyRow) -> dict[str, Any]:
    """A row's values by column name."""
    return dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


SECRETS_WITH_BINDING: AnySelect = select(
    t.secrets,
    t.secret_bindings.c.id.label("binding_id"),
    t.secret_bindings.c.state.label("binding_state"),
    t.secret_bindings.c.version.label("binding_version"),
).join_from(t.secrets, t.secret_bindings, t.secret_bindings.c.secret_id == t.secrets.c.id)


def platform_admins_with_tokens(now: datetime) -> AnySelect:
    """Who is a platform-admin, with the end of the last token that is good at that time."""
    is_good = t.tokens.c.revoked_at.is_(None) & (t.tokens.c.expires_at > now)
    good_until = (
        select(func.max(t.tokens.c.expires_at))
        .where(t.tokens.c.principal == t.principals.c.name, is_good)
        .scalar_subquery()
    )
    return select(
        t.principals.c.name.label("principal"), good_until.label("token_good_until")
    ).where(t.principals.c.platform_admin)


class SqlPrincipals:
    """People and pipelines with their tokens."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def ensure(self, name: str) -> None:
        row = {"name": name, "platform_admin": False, "created_at": self._now}
        self._connection.execute(upsert(t.principals).values(row).on_conflict_do_nothing())

    def make_platform_admin(self, name: str) -> None:
        self._set_platform_admin(name, is_one=True)

    def remove_platform_admin(self, name: str) -> None:
        self._set_platform_admin(name, is_one=False)

    def is_platform_admin(self, name: str) -> bool:
        query = select(t.principals.c.platform_admin).where(t.principals.c.name == name)
        return bool(self._connection.execute(query).scalar_one_or_none())

    def lock_platform_admins(self) -> Mapping[str, datetime | None]:
        principals = t.principals.c
        admins = select(principals.name).where(principals.platform_admin)
        self._connection.execute(locked(admins.order_by(principals.name), lock=True))
        rows = self._connection.execute(platform_admins_with_tokens(self._now))
        return {row.principal: row.token_good_until for row in rows}

    def add_token(
        self, *, id_: str, principal: str, token_hash: bytes, expires_at: datetime
    ) -> None:
        self._connection.execute(
            adding(t.tokens),
            {
                "id": id_,
                "principal": principal,
                "token_hash": token_hash,
                "created_at": self._now,
                "expires_at": expires_at,
            },
        )

    def token_by_hash(self, token_hash: bytes) -> StoredToken | None:
        return self._token(_TOKEN_BY_HASH, {"token_hash": token_hash})

    def token_by_id(self, token_id: str) -> StoredToken | None:
        return self._token(_TOKENS.where(t.tokens.c.id == token_id), {})

    def tokens_by_ids(self, token_ids: Collection[str]) -> Sequence[StoredToken]:
        rows = self._connection.execute(_TOKENS.where(t.tokens.c.id.in_(token_ids)))
        return [StoredToken(**values_of(row)) for row in rows]

    def revoke_token(self, token_id: str) -> None:
        self._set_token(token_id, revoked_at=self._now)

    def touch_token(self, token_id: str) -> None:
        self._set_token(token_id, last_used_at=self._now)

    def roles_of(self, principal: str) -> Mapping[str, TeamRole]:
        query = matching(t.memberships, "principal")
        rows = self._connection.execute(query, {"principal": principal})
        return {row.team_id: TeamRole(row.role) for row in rows}

    def roles_of_all(self, principals: Collection[str]) -> Mapping[str, Mapping[str, TeamRole]]:
        query = select(t.memberships).where(t.memberships.c.principal.in_(principals))
        roles = defaultdict[str, dict[str, TeamRole]](dict)
        for row in self._connection.execute(query):
            roles[row.principal][row.team_id] = TeamRole(row.role)
        return roles

    def roles_by_team_slug(self, principal: str) -> Mapping[str, TeamRole]:
        query = (
            select(t.teams.c.slug, t.memberships.c.role)
            .join_from(t.memberships, t.teams)
            .where(t.memberships.c.principal == principal)
        )
        return {row.slug: TeamRole(row.role) for row in self._connection.execute(query)}

    def is_new_assertion(self, jti: str, expires_at: datetime) -> bool:
        row = {"jti": jti, "expires_at": expires_at}
        statement = upsert(t.used_assertions).values(row).on_conflict_do_nothing()
        returning = statement.returning(t.used_assertions.c.jti)
        return self._connection.execute(returning).one_or_none() is not None

    def _set_platform_admin(self, name: str, *, is_one: bool) -> None:
        self._connection.execute(
            update(t.principals).where(t.principals.c.name == name).values(platform_admin=is_one)
        )

    def _token(self, query: AnySelect, named: Mapping[str, object]) -> StoredToken | None:
        row = self._connection.execute(query, named).one_or_none()
        return None if row is None else StoredToken(**values_of(row))

    def _set_token(self, token_id: str, **values: datetime) -> None:
        self._connection.execute(update(t.tokens).where(t.tokens.c.id == token_id).values(**values))


_TOKENS: AnySelect = select(
    t.tokens.c.id,
    t.tokens.c.principal,
    t.principals.c.platform_admin,
    t.tokens.c.created_at,
    t.tokens.c.expires_at,
    t.tokens.c.revoked_at,
    t.tokens.c.last_used_at,
).join_from(t.tokens, t.principals)
_TOKEN_BY_HASH = _TOKENS.where(t.tokens.c.token_hash == bindparam("token_hash"))


class SqlTeams:
    """Teams and who is in them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, team: Team) -> None:
        self._connection.execute(
            adding(t.teams),
            {
                "id": team.id,
                "slug": team.slug,
                "display_name": team.display_name,
                "state": team.state,
                "created_at": team.created_at,
            },
        )

    def by_slug(self, slug: str, *, lock: bool = False) -> Team | None:
        query = matching(t.teams, "slug", hold=hold_of(lock=lock))
        row = self._connection.execute(query, {"slug": slug}).one_or_none()
        return None if row is None else team_of(row)

    def by_id(self, team_id: str) -> Team:
        return self._the(matching(t.teams, "id"), team_id)

    def hold(self, team_id: str) -> Team:
        return self._the(matching(t.teams, "id", hold=Hold.DELETION_AND_CHANGE), team_id)

    def save(self, team: Team) -> None:
        changing = {"state": team.state, "display_name": team.display_name}
        _save_state(self._connection, t.teams, team.id, **changing)

    def undoes_failures(self, team_id: str) -> bool:
        policies = t.team_policies.c
        query = select(policies.undo_on_failure).where(policies.team_id == team_id)
        return bool(self._connection.execute(query).scalar_one_or_none())

    def requires_approval(self, team_id: str) -> bool:
        policies = t.team_policies.c
        query = select(policies.requires_approval).where(policies.team_id == team_id)
        return bool(self._connection.execute(query).scalar_one_or_none())

    def set_policy(self, team_id: str, *, undoes_failures: bool, requires_approval: bool) -> None:
        policy = {"undo_on_failure": undoes_failures, "requires_approval": requires_approval}
        statement = upsert(t.team_policies).values(team_id=team_id, **policy)
        self._connection.execute(
            statement.on_conflict_do_update(constraint=t.team_policies.primary_key, set_=policy)
        )

    def put_member(self, team_id: str, principal: str, role: TeamRole) -> None:
        row = {"team_id": team_id, "principal": principal, "role": role}
        statement = upsert(t.memberships).values(row)
        self._connection.execute(
            statement.on_conflict_do_update(
                constraint=t.memberships.primary_key, set_={"role": statement.excluded.role}
            )
        )

    def remove_member(self, team_id: str, principal: str) -> bool:
        columns = t.memberships.c
        statement = delete(t.memberships).where(
            columns.team_id == team_id, columns.principal == principal
        )
        return self._connection.execute(statement).rowcount == 1

    def _the(self, query: AnySelect, team_id: str) -> Team:
        row = self._connection.execute(query, {"id": team_id}).one_or_none()
        return team_of(the(row, f"team {team_id}"))


class SqlEnvironments:
    """The platform's environments."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, environment: Environment) -> None:
        self._connection.execute(
            adding(t.environments),
            {
                "id": environment.id,
                "slug": environment.slug,
                "description": environment.description,
                "state": environment.state,
                "created_at": environment.created_at,
            },
        )

    def by_slug(self, slug: str, *, lock: bool = False) -> Environment | None:
        query = matching(t.environments, "slug", hold=hold_of(lock=lock))
        row = self._connection.execute(query, {"slug": slug}).one_or_none()
        return None if row is None else environment_of(row)

    def by_id(self, environment_id: str) -> Environment:
        return self._the(matching(t.environments, "id"), environment_id)

    def hold(self, environment_id: str) -> Environment:
        query = matching(t.environments, "id", hold=Hold.DELETION_AND_CHANGE)
        return self._the(query, environment_id)

    def save(self, environment: Environment) -> None:
        changing = {"state": environment.state, "description": environment.description}
        _save_state(self._connection, t.environments, environment.id, **changing)

    def _the(self, query: AnySelect, environment_id: str) -> Environment:
        row = self._connection.execute(query, {"id": environment_id}).one_or_none()
        return environment_of(the(row, f"environment {environment_id}"))


class SqlApplications:
    """Applications with their repositories and integration."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, application: Application) -> None:
        self._connection.execute(
            adding(t.applications),
            {
                "id": application.id,
                "team_id": application.team_id,
                "slug": application.slug,
                "description": application.description,
                "state": application.state,
                "created_at": application.created_at,
            },
        )

    def by_id(self, application_id: str, *, lock: bool = False) -> Application | None:
        query = matching(t.applications, "id", hold=hold_of(lock=lock))
        row = self._connection.execute(query, {"id": application_id}).one_or_none()
        return None if row is None else application_of(row)

    def save(self, application: Application) -> None:
        changing = {"state": application.state, "description": application.description}
        _save_state(self._connection, t.applications, application.id, **changing)

    def add_repository(self, repository: ApplicationRepository) -> None:
        self._connection.execute(adding(t.application_repositories), asdict(repository))

    def repositories(self, application_id: str) -> Sequence[ApplicationRepository]:
        table = t.application_repositories
        query = select(table).where(table.c.application_id == application_id)
        rows = self._connection.execute(query.order_by(table.c.kind))
        return [application_repository_of(row) for row in rows]

    def save_repository(self, repository: ApplicationRepository) -> None:
        changing = {"state": repository.state, "url": repository.url}
        _save_state(self._connection, t.application_repositories, repository.id, **changing)

    def add_integration(self, integration: GitOpsIntegration) -> None:
        self._connection.execute(adding(t.gitops_integrations), asdict(integration))

    def integration(self, application_id: str) -> GitOpsIntegration | None:
        table = t.gitops_integrations
        query = select(table).where(table.c.application_id == application_id)
        row = self._connection.execute(query).one_or_none()
        if row is None:
            return None
        state = GitOpsIntegrationState(row.state)
        return GitOpsIntegration(**{**values_of(row), "state": state})

    def save_integration(self, integration: GitOpsIntegration) -> None:
        _save_state(
            self._connection, t.gitops_integrations, integration.id, state=integration.state
        )


class SqlApplicationEnvironments:
    """Application environments with their repository, secrets and bindings."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, environment: ApplicationEnvironment, repository: AppEnvRepository) -> None:
        self._connection.execute(
            adding(t.application_environments),
            {
                "id": environment.id,
                "application_id": environment.application_id,
                "environment_id": environment.environment_id,
                "state": environment.state,
                "revision": environment.revision,
                "created_at": environment.created_at,
            },
        )
        self._connection.execute(
            adding(t.appenv_repositories),
            {
                "id": repository.id,
                "application_environment_id": repository.application_environment_id,
                "owner": repository.owner,
                "name": repository.name,
                "url": repository.url,
                "state": repository.state,
            },
        )

    def by_id(self, id_: str, *, lock: bool = False) -> ApplicationEnvironment | None:
        return self._one({"id": id_}, lock=lock)

    def by_pair(
        self, application_id: str, environment_id: str, *, lock: bool = False
    ) -> ApplicationEnvironment | None:
        pair = {"application_id": application_id, "environment_id": environment_id}
        return self._one(pair, lock=lock)

    def of_application(
        self, application_id: str, *, lock: bool = False
    ) -> Sequence[ApplicationEnvironment]:
        table = t.application_environments
        query = select(table).where(table.c.application_id == application_id).order_by(table.c.id)
        found = [appenv_of(row) for row in self._connection.execute(locked(query, lock=lock))]
        if lock:
            for appenv in found:
                self.secrets(appenv.id, lock=True)
        return found

    def save(self, environment: ApplicationEnvironment) -> None:
        _save_state(
            self._connection,
            t.application_environments,
            environment.id,
            state=environment.state,
            revision=environment.revision,
        )

    def repository(self, id_: str) -> AppEnvRepository:
        query = matching(t.appenv_repositories, "application_environment_id")
        found = self._connection.execute(query, {"application_environment_id": id_})
        row = the(found.one_or_none(), f"repository of {id_}")
        return AppEnvRepository(**{**values_of(row), "state": RepositoryState(row.state)})

    def save_repository(self, repository: AppEnvRepository) -> None:
        _save_state(
            self._connection,
            t.appenv_repositories,
            repository.id,
            state=repository.state,
            url=repository.url,
        )

    def secrets(self, id_: str, *, lock: bool = False) -> Sequence[Secret]:
        query = _secrets_of_environment(hold_of(lock=lock))
        rows = self._connection.execute(query, {_ENVIRONMENT: id_})
        return [secret_of(row) for row in rows]

    def add_secret(self, secret: Secret) -> None:
        self._connection.execute(
            adding(t.secrets),
            {
                "id": secret.id,
                "application_environment_id": secret.application_environment_id,
                "name": secret.name,
                "issuer": secret.issuer,
                "created_at": secret.created_at,
                **_secret_values(secret),
            },
        )
        self._connection.execute(
            adding(t.secret_bindings),
            {
                "id": secret.binding.id,
                "secret_id": secret.id,
                "application_environment_id": secret.binding.application_environment_id,
                "state": secret.binding.state,
            },
        )

    def save_secret(self, secret: Secret) -> None:
        expires_at = secret.policy.expires_at
        self._connection.execute(
            _SAVE_SECRET,
            {**_secret_values(secret), CHANGED_ID: secret.id, _NEW_EXPIRY: expires_at},
        )
        binding = secret.binding
        _save_state(
            self._connection,
            t.secret_bindings,
            binding.id,
            state=binding.state,
            version=binding.version,
        )

    def _one(self, named: Mapping[str, str], *, lock: bool) -> ApplicationEnvironment | None:
        query = matching(t.application_environments, *named, hold=hold_of(lock=lock))
        row = self._connection.execute(query, named).one_or_none()
        return None if row is None else appenv_of(row)


def _secret_values(secret: Secret) -> dict[str, object]:
    return {
        "purpose": secret.purpose,
        "sensitivity": secret.sensitivity,
        "state": secret.state,
        "store_path": secret.store_path,
        "version": secret.version,
        "rotated_at": secret.rotated_at,
        "next_rotation_at": secret.next_rotation_at,
        **_policy_values(secret.policy),
    }


_ENVIRONMENT = "of_environment"
_NEW_EXPIRY = "new_expiry"


@cache
def _secrets_of_environment(hold: Hold) -> AnySelect:
    columns = t.secret_bindings.c
    named = columns.application_environment_id == bindparam(_ENVIRONMENT)
    return held(SECRETS_WITH_BINDING.where(named).order_by(t.secrets.c.name), hold)


def _told_unless_changed() -> ColumnElement[int | None]:
    """That its end comes soon was told of one end; of another it was not."""
    columns = t.secrets.c
    is_another = columns.expires_at.is_distinct_from(
        bindparam(_NEW_EXPIRY, type_=columns.expires_at.type)
    )
    return case((is_another, None), else_=columns.expiry_told_of_version)


_SAVE_SECRET = changing(t.secrets).values(expiry_told_of_version=_told_unless_changed())


def _policy_values(policy: RotationPolicy) -> dict[str, object]:
    return {
        "rotation_interval_seconds": _seconds(policy.interval),
        "rotation_grace_seconds": _seconds(policy.grace),
        "rotation_window": None if policy.window is None else asdict(policy.window),
        "expires_at": policy.expires_at,
    }


def _seconds(duration: timedelta | None) -> int | None:
    return None if duration is None else int(duration.total_seconds())


def _duration(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _save_state(connection: Connection, table: Table, id_: str, **values: object) -> None:
    connection.execute(changing(table), {**values, CHANGED_ID: id_})


def team_of(row: AnyRow) -> Team:
    return Team(**{**values_of(row), "state": TeamState(row.state)})


def environment_of(row: AnyRow) -> Environment:
    return Environment(**{**values_of(row), "state": EnvironmentState(row.state)})


def application_of(row: AnyRow) -> Application:
    return Application(**{**values_of(row), "state": ApplicationState(row.state)})


def application_repository_of(row: AnyRow) -> ApplicationRepository:
    kind, state = ApplicationRepositoryKind(row.kind), RepositoryState(row.state)
    return ApplicationRepository(**{**values_of(row), "kind": kind, "state": state})


def appenv_of(row: AnyRow) -> ApplicationEnvironment:
    state = ApplicationEnvironmentState(row.state)
    return ApplicationEnvironment(**{**values_of(row), "state": state})


def secret_of(row: AnyRow) -> Secret:
    return Secret(
        id=row.id,
        application_environment_id=row.application_environment_id,
        name=row.name,
        purpose=row.purpose,
        sensitivity=row.sensitivity,
        issuer=row.issuer,
        state=SecretState(row.state),
        store_path=row.store_path,
        version=row.version,
        binding=SecretBinding(
            id=row.binding_id,
            secret_id=row.id,
            application_environment_id=row.application_environment_id,
            state=SecretBindingState(row.binding_state),
            version=row.binding_version,
        ),
        created_at=row.created_at,
        policy=policy_of(row),
        rotated_at=row.rotated_at,
        next_rotation_at=row.next_rotation_at,
    )


def policy_of(row: AnyRow) -> RotationPolicy:
    """What a row of `secrets` says of its rotation."""
    window = row.rotation_window
    return RotationPolicy(
        interval=_duration(row.rotation_interval_seconds),
        grace=_duration(row.rotation_grace_seconds),
        window=None
        if window is None
        else RotationWindow(**{**window, "days": tuple(window["days"])}),
        expires_at=row.expires_at,
    )
