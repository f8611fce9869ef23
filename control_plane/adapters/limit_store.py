"""Limits of teams and what counts against them, on SQLAlchemy Core."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, FromClause, Select, and_, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from control_plane.adapters import tables as t
from control_plane.domain.application_environments import ApplicationEnvironmentState
from control_plane.domain.applications import ApplicationState
from control_plane.domain.limits import UNLIMITED, TeamLimits
from idp_kernel.workflows import RequestState

_QUOTA_LOCKS: Final = 0x1D9
_PLACES_LOCK: Final = 0x1D91ACE5


class SqlLimits:
    """Limits of teams."""

    def __init__(self, connection: Connection, default: TeamLimits) -> None:
        self._connection = connection
        self.default = default

    def of(self, team_id: str) -> TeamLimits:
        columns = t.team_limits.c
        query = select(
            columns.max_applications,
            columns.max_application_environments,
            columns.max_active_requests,
        ).where(columns.team_id == team_id)
        row = self._connection.execute(query).one_or_none()
        return UNLIMITED if row is None else TeamLimits(*row)

    def put(self, team_id: str, limits: TeamLimits) -> None:
        statement = upsert(t.team_limits).values(team_id=team_id, **asdict(limits))
        self._connection.execute(
            statement.on_conflict_do_update(
                constraint=t.team_limits.primary_key, set_=asdict(limits)
            )
        )

    def hold(self, team_id: str) -> None:
        # The team's row is shared among those who add; only their counting is one at a time.
        self._connection.execute(
            text("SELECT pg_advisory_xact_lock(:kind, hashtext(:team))"),
            {"kind": _QUOTA_LOCKS, "team": team_id},
        )

    def hold_places(self) -> None:
        # One lock for all teams: an offer looks at every team in one statement.
        self._connection.execute(select(func.pg_advisory_xact_lock(_PLACES_LOCK)))

    def applications(self, team_id: str) -> int:
        columns = t.applications.c
        query = select(func.count()).where(
            columns.team_id == team_id, columns.state != ApplicationState.ARCHIVED
        )
        return self._count(query)

    def application_environments(self, team_id: str) -> int:
        columns = t.application_environments.c
        query = (
            select(func.count())
            .select_from(t.application_environments)
            .join(t.applications, t.applications.c.id == columns.application_id)
            .where(
                t.applications.c.team_id == team_id,
                columns.state != ApplicationEnvironmentState.RETIRED,
            )
        )
        return self._count(query)

    def active_requests(self, team_id: str) -> int:
        requests = t.workflow_requests
        return self._count(
            select(func.count()).where(requests.c.team_id == team_id, is_at_work(requests))
        )

    def _count(self, query: Select[Any]) -> int:
        return int(self._connection.execute(query).scalar_one())


def is_at_work(requests: FromClause) -> ColumnElement[bool]:
    """Of a request: a run has it, or was offered it and may take it at any time."""
    columns = requests.c
    return or_(
        columns.state == RequestState.RUNNING,
        and_(columns.state == RequestState.PENDING, columns.offers > 0),
    )
