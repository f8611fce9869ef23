"""One transaction with every store on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from control_plane.adapters import tables as t
from control_plane.adapters.database import database_errors, transaction
from control_plane.adapters.journal import SqlJournal
from control_plane.adapters.limit_store import SqlLimits
from control_plane.adapters.request_store import SqlRequests
from control_plane.adapters.rotation_store import SqlCheckResults, SqlRotations
from control_plane.adapters.secret_store import SqlSecrets
from control_plane.adapters.stores import (
    SqlApplicationEnvironments,
    SqlApplications,
    SqlEnvironments,
    SqlPrincipals,
    SqlTeams,
)
from control_plane.adapters.views import SqlViews
from control_plane.application.ports import Answer, Begin, CommandKey, RecordedCommand, Work
from control_plane.domain.limits import UNLIMITED, TeamLimits
from idp_kernel.clock import Clock
from idp_kernel.errors import InvariantBroken

_STANDING_ID = 1


class SqlCommands:
    """Answers of commands under their idempotency keys."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def begin(self, key: CommandKey) -> RecordedCommand | None:
        # The insert waits for a concurrent twin: it finds the twin's row, or acts in its stead.
        statement = (
            upsert(t.idempotency_keys)
            .values(
                principal=key.principal,
                method=key.method,
                path=key.path,
                key=key.key,
                body_hash=key.body_hash,
                created_at=self._now,
            )
            .on_conflict_do_nothing()
            .returning(t.idempotency_keys.c.key)
        )
        is_ours = self._connection.execute(statement).one_or_none() is not None
        return None if is_ours else self._recorded(key)

    def finish(self, key: CommandKey, answer: Answer) -> None:
        self._connection.execute(
            update(t.idempotency_keys)
            .where(*_is(key))
            .values(status=answer.status, body=answer.body, location=answer.location)
        )

    def _recorded(self, key: CommandKey) -> RecordedCommand:
        row = self._connection.execute(select(t.idempotency_keys).where(*_is(key))).one_or_none()
        if row is None or row.status is None:
            raise InvariantBroken(f"the command under key {key.key} was recorded without answer")
        return RecordedCommand(row.body_hash, Answer(row.status, row.body, row.location))


def _is(key: CommandKey) -> tuple[ColumnElement[bool], ...]:
    columns = t.idempotency_keys.c
    return (
        columns.principal == key.principal,
        columns.method == key.method,
        columns.path == key.path,
        columns.key == key.key,
    )


class SqlStanding:
    """What is true of the whole platform; no row means nothing special."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def is_draining(self) -> bool:
        query = select(t.platform_standing.c.draining)
        return bool(self._connection.execute(query).scalar_one_or_none())

    def set_draining(self, *, draining: bool) -> None:
        statement = upsert(t.platform_standing).values(id=_STANDING_ID, draining=draining)
        self._connection.execute(
            statement.on_conflict_do_update(
                constraint=t.platform_standing.primary_key, set_={"draining": draining}
            )
        )


class SqlWork:
    """One transaction."""

    def __init__(self, connection: Connection, now: datetime, default_limits: TeamLimits) -> None:
        self._connection = connection
        self.now = now
        self.principals = SqlPrincipals(connection, now)
        self.teams = SqlTeams(connection)
        self.environments = SqlEnvironments(connection)
        self.applications = SqlApplications(connection)
        self.application_environments = SqlApplicationEnvironments(connection)
        self.secrets = SqlSecrets(connection)
        self.rotations = SqlRotations(connection, now)
        self.check_results = SqlCheckResults(connection, now)
        self.requests = SqlRequests(connection, now)
        self.limits = SqlLimits(connection, default_limits)
        self.views = SqlViews(connection)
        self.commands = SqlCommands(connection, now)
        self.standing = SqlStanding(connection)
        self.journal = SqlJournal(connection, now)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        with self.journal.undone_by_errors(), database_errors(), self._connection.begin_nested():
            yield


def beginner(engine: Engine, clock: Clock, default_limits: TeamLimits = UNLIMITED) -> Begin:
    """Opens transactions on this engine."""

    @contextmanager
    def begin() -> Iterator[Work]:
        with transaction(engine) as connection:
            work = SqlWork(connection, clock.now(), default_limits)
            yield work
            work.journal.flush(changed_requests=work.requests.changed)
        work.journal.tell_spans()

    return begin
