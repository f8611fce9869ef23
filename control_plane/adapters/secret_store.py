"""Single secrets, what is due of them, and which end soon, on SQLAlchemy Core."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, update

from control_plane.adapters import tables as t
from control_plane.adapters.secret_views import TEAM_IDS_OF_SECRETS
from control_plane.adapters.stores import SECRETS_WITH_BINDING, AnySelect, locked, secret_of
from control_plane.domain.applications import ROTATABLE_IN
from control_plane.domain.managed_secrets import Secret, SecretBindingState, SecretState
from control_plane.domain.teams import TeamState

_EXPIRING_PAGE = 200
_secrets = t.secrets.c


class SqlSecrets:
    """Secrets with their binding."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def by_id(self, secret_id: str, *, lock: bool = False) -> Secret | None:
        query = SECRETS_WITH_BINDING.where(_secrets.id == secret_id)
        row = self._connection.execute(locked(query, lock=lock)).one_or_none()
        return None if row is None else secret_of(row)

    def team_of(self, secret_id: str) -> str:
        query = TEAM_IDS_OF_SECRETS.where(_secrets.id == secret_id)
        return str(self._connection.execute(query).scalar_one())

    def by_binding(self, binding_id: str, *, lock: bool = False) -> Secret | None:
        query = SECRETS_WITH_BINDING.where(t.secret_bindings.c.id == binding_id)
        row = self._connection.execute(locked(query, lock=lock)).one_or_none()
        return None if row is None else secret_of(row)

    def due(self, at: datetime) -> Sequence[Secret]:
        query = _ROTATABLE.where(_secrets.next_rotation_at <= at).order_by(
            _secrets.next_rotation_at, _secrets.id
        )
        return [secret_of(row) for row in self._connection.execute(query)]

    def lock_expiring(self, now: datetime, notice: timedelta) -> Sequence[Secret]:
        query = (
            _ROTATABLE.where(
                _secrets.version.is_not(None),
                _secrets.expires_at < now + notice,
                _secrets.expiry_told_of_version.is_distinct_from(_secrets.version),
            )
            .order_by(_secrets.expires_at, _secrets.id)
            .limit(_EXPIRING_PAGE)
            .with_for_update(of=t.secrets, skip_locked=True, key_share=True)
        )
        return [secret_of(row) for row in self._connection.execute(query)]

    def note_expiry_told(self, secret: Secret) -> None:
        self._connection.execute(
            update(t.secrets)
            .where(_secrets.id == secret.id)
            .values(expiry_told_of_version=secret.version)
        )


_ROTATABLE: AnySelect = (
    SECRETS_WITH_BINDING.join(
        t.application_environments,
        t.application_environments.c.id == _secrets.application_environment_id,
    )
    .join(t.applications, t.applications.c.id == t.application_environments.c.application_id)
    .join(t.teams, t.teams.c.id == t.applications.c.team_id)
    .where(
        _secrets.state == SecretState.ACTIVE,
        t.secret_bindings.c.state == SecretBindingState.ACTIVE,
        t.applications.c.state.in_(ROTATABLE_IN),
        t.teams.c.state == TeamState.ACTIVE,
    )
)
"""Active secrets, bound as such, of active teams and of applications that run."""
