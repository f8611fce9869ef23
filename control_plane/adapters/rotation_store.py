"""What the schedule did, why rotations are asked for, and what checks found last."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    exists,
    func,
    insert,
    join,
    or_,
    outerjoin,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.dialects.postgresql import insert as upsert

from control_plane.adapters import tables as t
from control_plane.adapters.database import storable
from control_plane.adapters.request_store import IS_IN_GRACE, IS_ROUTINE, WAITS_FOR_ANOTHER
from control_plane.adapters.stores import AnySelect, locked
from control_plane.application.ports import StoredCause
from control_plane.domain.requests import ACTIVE_STATES, Request, SubjectKind
from control_plane.domain.rotation import BACK_AT_WORK_WITHIN, LONGEST_PAUSE
from idp_kernel.wire.engine import AssetCheckName, DueRotations, RotationCause
from idp_kernel.wire.worker import Finding
from idp_kernel.workflows import BOUNDED_WAITS, DomainEvent, RequestState

_SCHEDULE_LOCK = 0x1D950C4E
_CAUSES_PAGE = 500
_causes, _results, _requests = t.rotation_causes.c, t.check_results.c, t.workflow_requests.c
_WAITS_FOR_OTHERS = and_(
    _requests.state == RequestState.WAITING,
    _requests.waiting_reason.in_(BOUNDED_WAITS),
)
"""Of a request: it waits for a provider that is away, or for people; both may last."""


class SqlRotations:
    """Scheduled times and causes of rotations."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    # ── the schedule ─────────────────────────────────────────────────────────────────────────

    def hold_schedule(self) -> None:
        self._connection.execute(select(func.pg_advisory_xact_lock(_SCHEDULE_LOCK)))

    def tick(self, scheduled_at: datetime) -> DueRotations | None:
        ticks = t.rotation_ticks.c
        query = select(ticks.enqueued, ticks.put_off).where(ticks.scheduled_at == scheduled_at)
        row = self._connection.execute(query).one_or_none()
        return None if row is None else DueRotations(enqueued=row.enqueued, put_off=row.put_off)

    def add_tick(self, scheduled_at: datetime, answer: DueRotations) -> None:
        self._connection.execute(
            insert(t.rotation_ticks).values(
                scheduled_at=scheduled_at,
                enqueued=list(answer.enqueued),
                put_off=answer.put_off,
                acted_at=self._now,
            )
        )

    def at_work(self) -> int:
        active = _requests.state.in_(ACTIVE_STATES)
        gives_way = or_(IS_IN_GRACE, _WAITS_FOR_OTHERS)
        query = select(func.count()).where(IS_ROUTINE, active, ~gives_way)
        return self._connection.execute(query).scalar_one()

    def back_soon(self) -> int:
        soon = _requests.waiting_until <= self._now + BACK_AT_WORK_WITHIN
        query = select(func.count()).where(IS_ROUTINE, IS_IN_GRACE, soon)
        return self._connection.execute(query).scalar_one()

    def out_of_grace(self, limit: int) -> Sequence[str]:
        query = (
            select(_requests.id)
            .where(
                IS_ROUTINE, IS_IN_GRACE, _requests.waiting_until <= self._now, ~WAITS_FOR_ANOTHER
            )
            .order_by(_requests.waiting_until, _requests.id)
            .limit(limit)
        )
        return list(self._connection.execute(query).scalars())

    # ── causes ───────────────────────────────────────────────────────────────────────────────

    def add_cause(self, event_id: str, type_: str, secret_id: str, version: int) -> None:
        self._connection.execute(
            insert(t.rotation_causes).values(
                event_id=event_id,
                type=type_,
                secret_id=secret_id,
                version=version,
                raised_at=self._now,
            )
        )

    def cause(self, event_id: str, *, lock: bool = False) -> StoredCause | None:
        is_open = self._is_open().label("is_open")
        query: AnySelect = select(t.rotation_causes, is_open).where(_causes.event_id == event_id)
        row = self._connection.execute(locked(query, lock=lock)).one_or_none()
        if row is None:
            return None
        return StoredCause(
            event_id=row.event_id,
            type=row.type,
            secret_id=row.secret_id,
            is_open=row.is_open,
            request_id=row.request_id,
        )

    def open_causes(self) -> Sequence[RotationCause]:
        query = (
            select(_causes.event_id, _causes.type, _causes.secret_id)
            .where(self._is_open())
            .order_by(
                _causes.type != DomainEvent.SECRET_COMPROMISED, _causes.raised_at, _causes.event_id
            )
            .limit(_CAUSES_PAGE)
        )
        return [
            RotationCause(event_id=row.event_id, type=row.type, secret_id=row.secret_id)
            for row in self._connection.execute(query)
        ]

    def take_up_causes(self, secret_id: str, request_id: str, *, types: Sequence[str]) -> None:
        concerned = and_(_causes.secret_id == secret_id, _causes.type.in_(types))
        self._save_unsettled(concerned, request_id=request_id)

    def hand_back_causes(self, request_id: str) -> None:
        self._save_unsettled(_causes.request_id == request_id, request_id=None)

    def settle_causes_of(self, request_id: str) -> None:
        self._save_unsettled(_causes.request_id == request_id, settled_at=self._now)

    def settle_all_causes(self, secret_id: str) -> None:
        concerned = _causes.secret_id == secret_id
        self._save_unsettled(concerned, settled_at=self._now, request_id=None)

    def settle_causes_before(self, secret_id: str, version: int, request: Request) -> None:
        is_answered = or_(
            _causes.type != DomainEvent.SECRET_COMPROMISED,
            _causes.raised_at <= request.created_at,
            _causes.request_id == request.id,
        )
        concerned = and_(_causes.secret_id == secret_id, _causes.version < version, is_answered)
        self._save_unsettled(concerned, settled_at=self._now, request_id=request.id)

    def _save_unsettled(self, concerned: ColumnElement[bool], **values: object) -> None:
        self._connection.execute(
            update(t.rotation_causes)
            .where(_causes.settled_at.is_(None), concerned)
            .values(**values)
        )

    def _is_open(self) -> ColumnElement[bool]:
        """Of a cause: no request took it up, or the one that did ended some time ago."""
        came_to_nothing = exists().where(
            _requests.id == _causes.request_id, _requests.ended_at <= self._now - LONGEST_PAUSE
        )
        return and_(
            _causes.settled_at.is_(None), or_(_causes.request_id.is_(None), came_to_nothing)
        )


class SqlCheckResults:
    """The last result of each check of each thing."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def teams_of(self, check: AssetCheckName, ids: Sequence[str]) -> Mapping[str, str]:
        appenvs, secrets = t.application_environments, t.secrets
        if check is AssetCheckName.SECRET_WITHIN_POLICY:
            query = (
                select(secrets.c.id, t.applications.c.team_id)
                .join_from(secrets, appenvs)
                .join(t.applications, t.applications.c.id == appenvs.c.application_id)
                .where(secrets.c.id.in_(ids))
            )
        else:
            query = (
                select(appenvs.c.id, t.applications.c.team_id)
                .join_from(appenvs, t.applications)
                .where(appenvs.c.id.in_(ids))
            )
        return {row.id: row.team_id for row in self._connection.execute(query)}

    def moving(
        self, check: AssetCheckName, ids: Sequence[str], *, since: datetime
    ) -> Collection[str]:
        subjects, secrets = t.workflow_subjects.c, t.secrets.c
        requests = t.workflow_requests.c
        is_at_work = or_(subjects.active, requests.pending_since > since, requests.ended_at > since)
        on_subjects = join(t.workflow_subjects, t.workflow_requests)
        is_of_secret = and_(subjects.kind == SubjectKind.SECRET, subjects.subject_id == secrets.id)
        of_secrets = (
            select(secrets.id, secrets.application_environment_id)
            .select_from(outerjoin(t.secrets, on_subjects, is_of_secret))
            .where(or_(is_at_work, secrets.rotated_at > since))
            .subquery()
        )
        if check is AssetCheckName.SECRET_WITHIN_POLICY:
            query = select(of_secrets.c.id).where(of_secrets.c.id.in_(ids))
            return set(self._connection.execute(query).scalars())
        by_secret = select(of_secrets.c.application_environment_id).where(
            of_secrets.c.application_environment_id.in_(ids)
        )
        by_itself = (
            select(subjects.subject_id)
            .select_from(on_subjects)
            .where(
                subjects.kind == SubjectKind.APPLICATION_ENVIRONMENT,
                subjects.subject_id.in_(ids),
                is_at_work,
            )
        )
        return set(self._connection.execute(by_itself.union(by_secret)).scalars())

    def lock_passed(self, check: AssetCheckName, ids: Sequence[str]) -> Mapping[str, bool]:
        if not ids:
            return {}
        # A thing that was never checked counts as one that passed: good news of it is none.
        first = [Finding(id=id_, passed=True, expected="", found="") for id_ in sorted(ids)]
        statement = self._insert(check, first).on_conflict_do_nothing()
        self._connection.execute(statement)
        query = (
            select(_results.subject_id, _results.passed)
            .where(_results.check_name == check, _results.subject_id.in_(ids))
            .order_by(_results.subject_id)
            .with_for_update()
        )
        return {row.subject_id: row.passed for row in self._connection.execute(query)}

    def put(self, check: AssetCheckName, findings: Sequence[Finding]) -> None:
        if not findings:
            return
        statement = self._insert(check, findings)
        changing = ("passed", "expected", "found", "seen_at")
        self._connection.execute(
            statement.on_conflict_do_update(
                constraint=t.check_results.primary_key,
                set_={name: statement.excluded[name] for name in changing},
            )
        )

    def _insert(self, check: AssetCheckName, findings: Sequence[Finding]) -> Insert:
        return upsert(t.check_results).values(
            [
                {
                    "check_name": check,
                    "subject_id": finding.id,
                    "passed": finding.passed,
                    "expected": storable(finding.expected),
                    "found": storable(finding.found),
                    "seen_at": self._now,
                }
                for finding in findings
            ]
        )
