"""Workflow requests with subjects, attempts, steps and lost runs on SQLAlchemy Core."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Subquery,
    and_,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy import delete as sql_delete
from sqlalchemy.dialects.postgresql import insert as upsert

from control_plane.adapters import tables as t
from control_plane.adapters.database import storable
from control_plane.adapters.limit_store import is_at_work
from control_plane.adapters.statements import CHANGED_ID, Hold, adding, changing, held, matching
from control_plane.adapters.stores import AnyRow, AnySelect, hold_of
from control_plane.application.ports import Attempt, StepRecord
from control_plane.domain.requests import (
    AttemptEnding,
    Failure,
    Request,
    SubjectKind,
    Waiting,
)
from control_plane.domain.rotation import ROUTINE
from idp_kernel.wire.engine import (
    DESIRED_STATES,
    RUN_INTERRUPTED,
    DesiredState,
    LostRun,
    StepError,
    StepResult,
)
from idp_kernel.workflows import (
    ROTATION_GRACE,
    RequestState,
    Step,
    StepState,
    WorkflowName,
)

_LOST_RUNS_PAGE = 100
_OVERDUE_PAGE = 200
_requests = t.workflow_requests.c
REQUEST_COLUMNS = tuple(each for each in _requests if each is not _requests.desired_state)
"""What a request is made of; what it was asked for is read by itself."""


@cache
def _by_id(hold: Hold) -> AnySelect:
    return held(select(*REQUEST_COLUMNS).where(_requests.id == bindparam("id")), hold)


_others = t.workflow_subjects.alias("others")
_RIVALRY = and_(
    _others.c.kind == t.workflow_subjects.c.kind,
    _others.c.subject_id == t.workflow_subjects.c.subject_id,
    _others.c.request_id != t.workflow_subjects.c.request_id,
    _others.c.active,
)
"""Of a subject and another request's: that one is active on it."""
_rivals = t.workflow_subjects.join(_others, _RIVALRY)

WAITS_FOR_ANOTHER = (
    exists().select_from(_rivals).where(t.workflow_subjects.c.request_id == _requests.id)
)
"""Of a request: another one is active on a subject of it. As one join, which PostgreSQL begins at
the few that are active.
"""
IS_ROUTINE = and_(
    _requests.workflow == WorkflowName.SECRET_ROTATION,
    tuple_(_requests.requested_by, _requests.reason).in_(ROUTINE),
)
"""Of a request: it is a rotation that waits until others have made place."""
_IS_EMERGENCY = and_(
    _requests.workflow == WorkflowName.SECRET_ROTATION,
    _requests.desired_state["emergency"].as_boolean(),
)
"""Of a request: it is a rotation that waits for nobody."""
IS_IN_GRACE = and_(
    _requests.state == RequestState.WAITING, _requests.waiting_reason == ROTATION_GRACE.reason
)
"""Of a request: it waits between its phases."""


_put_step = upsert(t.request_steps).inline()
_PUT_STEP = _put_step.on_conflict_do_update(
    constraint=t.request_steps.primary_key,
    set_={
        each: _put_step.excluded[each]
        for each in ("state", "retries", "ended_at", "error", "result")
    },
)


class SqlRequests:
    """Workflow requests."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now
        self.changed: set[str] = set()
        """Ids of those of which something that is shown was written."""

    def add(
        self,
        request: Request,
        desired_state: DesiredState,
        subjects: Sequence[tuple[SubjectKind, str]],
    ) -> None:
        self.changed.add(request.id)
        self._connection.execute(
            adding(t.workflow_requests),
            {
                **_fixed_values(request),
                **_changing_values(request),
                "desired_state": desired_state.model_dump(mode="json"),
            },
        )
        self._connection.execute(
            adding(t.workflow_subjects),
            [
                {"request_id": request.id, "kind": kind, "subject_id": id_, "active": True}
                for kind, id_ in subjects
            ],
        )

    def by_id(self, request_id: str, *, lock: bool = False) -> Request | None:
        row = self._connection.execute(_by_id(hold_of(lock=lock)), {"id": request_id}).one_or_none()
        return None if row is None else request_of(row)

    def save(self, request: Request) -> None:
        self.changed.add(request.id)
        self.save_unshown(request)

    def save_unshown(self, request: Request) -> None:
        values = {**_changing_values(request), CHANGED_ID: request.id}
        self._connection.execute(changing(t.workflow_requests), values)

    def desired_state(self, request: Request) -> DesiredState:
        query = select(_requests.desired_state).where(_requests.id == request.id)
        document = self._connection.execute(query).scalar_one()
        return DESIRED_STATES[request.workflow].model_validate(document)

    def set_desired_state(self, request: Request, desired_state: DesiredState) -> None:
        frozen = desired_state.model_dump(mode="json")
        self._connection.execute(
            update(t.workflow_requests)
            .where(_requests.id == request.id)
            .values(desired_state=frozen)
        )

    def latest(self, workflow: WorkflowName, application_id: str) -> Request | None:
        newest = (_requests.created_at.desc(), _requests.id.desc())
        return self._foremost(workflow, application_id, newest)

    def first(self, workflow: WorkflowName, application_id: str) -> Request | None:
        return self._foremost(workflow, application_id, (_requests.created_at, _requests.id))

    def _foremost(
        self,
        workflow: WorkflowName,
        application_id: str,
        order: tuple[ColumnElement[Any], ColumnElement[Any]],
    ) -> Request | None:
        query = (
            select(*REQUEST_COLUMNS)
            .where(_requests.workflow == workflow, _requests.application_id == application_id)
            .order_by(*order)
            .limit(1)
        )
        row = self._connection.execute(query).one_or_none()
        return None if row is None else request_of(row)

    def active_on(self, kind: SubjectKind, subject_id: str) -> str | None:
        subjects = t.workflow_subjects.c
        query = select(subjects.request_id).where(
            subjects.kind == kind, subjects.subject_id == subject_id, subjects.active
        )
        return self._connection.execute(query).scalar_one_or_none()

    def waiting_on(self, kind: SubjectKind, subject_id: str) -> str | None:
        query = self._requests_on(kind, subject_id).where(
            _requests.state == RequestState.WAITING, ~t.workflow_subjects.c.active
        )
        return self._connection.execute(query.limit(1)).scalar_one_or_none()

    def newest_on(
        self, kind: SubjectKind, subject_id: str, *, but: Collection[WorkflowName]
    ) -> str | None:
        query = (
            self._requests_on(kind, subject_id)
            .where(_requests.workflow.not_in(but))
            .order_by(_requests.created_at.desc(), _requests.id.desc())
        )
        return self._connection.execute(query.limit(1)).scalar_one_or_none()

    def last_begun_on(self, kind: SubjectKind, subject_id: str) -> Request | None:
        query = self._begun_on(kind, subject_id).order_by(
            _requests.started_at.desc(), _requests.id.desc()
        )
        row = self._connection.execute(query.limit(1)).one_or_none()
        return None if row is None else request_of(row)

    def begun_on(self, kind: SubjectKind, subject_id: str, *, since: datetime) -> Sequence[Request]:
        query = (
            self._begun_on(kind, subject_id)
            .where(_requests.created_at > since)
            .order_by(_requests.created_at.desc(), _requests.id.desc())
        )
        return [request_of(row) for row in self._connection.execute(query)]

    def succeeded_on(
        self, kind: SubjectKind, subject_id: str, workflow: WorkflowName
    ) -> Sequence[Request]:
        query = (
            select(*REQUEST_COLUMNS)
            .where(
                _requests.id.in_(self._requests_on(kind, subject_id)),
                _requests.workflow == workflow,
                _requests.state == RequestState.SUCCEEDED,
            )
            .order_by(_requests.ended_at.desc(), _requests.id.desc())
        )
        return [request_of(row) for row in self._connection.execute(query)]

    def _begun_on(self, kind: SubjectKind, subject_id: str) -> Select[Any]:
        """Those of which a run began, undos left out."""
        return select(*REQUEST_COLUMNS).where(
            _requests.id.in_(self._requests_on(kind, subject_id)),
            _requests.workflow != WorkflowName.COMPENSATION,
            _requests.fence > 0,
        )

    @staticmethod
    def _requests_on(kind: SubjectKind, subject_id: str) -> Select[Any]:
        """Ids of the requests on that subject."""
        subjects = t.workflow_subjects.c
        return (
            select(_requests.id)
            .join_from(t.workflow_requests, t.workflow_subjects)
            .where(subjects.kind == kind, subjects.subject_id == subject_id)
        )

    def subjects(self, request_id: str) -> Sequence[tuple[SubjectKind, str]]:
        query = select(t.workflow_subjects).where(t.workflow_subjects.c.request_id == request_id)
        rows = self._connection.execute(query)
        return [(SubjectKind(row.kind), row.subject_id) for row in rows]

    def set_subjects_active(self, request_id: str, *, active: bool) -> None:
        self._connection.execute(
            update(t.workflow_subjects)
            .where(t.workflow_subjects.c.request_id == request_id)
            .values(active=active)
        )

    def has_rival(self, request_id: str) -> bool:
        own = t.workflow_subjects.c.request_id
        query = select(own).select_from(_rivals).where(own == request_id)
        return self._connection.execute(query.limit(1)).first() is not None

    def lock_offerable(
        self, *, lost_after: datetime, limit: int, default_per_team: int | None
    ) -> Sequence[Request]:
        may_be_offered = and_(
            _requests.state == RequestState.PENDING,
            or_(_requests.offer_again_at.is_(None), _requests.offer_again_at <= self._now),
            or_(_requests.not_before.is_(None), _requests.not_before <= self._now),
            _requests.deadline_at > self._now,
            ~exists().where(
                t.lost_runs.c.request_id == _requests.id, t.lost_runs.c.lost_at > lost_after
            ),
        )
        with_place, turn = with_places(may_be_offered, default_per_team)
        query = (
            with_place.order_by(_IS_EMERGENCY.desc(), turn, _requests.created_at, _requests.id)
            .limit(limit)
            .with_for_update(of=t.workflow_requests, skip_locked=True, key_share=True)
        )
        return [request_of(row) for row in self._connection.execute(query)]

    def any_in(self, states: Collection[RequestState]) -> bool:
        query = select(exists().where(_requests.state.in_(states)))
        return self._connection.execute(query).scalar_one()

    def overdue(self, *, with_leases: bool) -> Sequence[str]:
        open_states = (RequestState.PENDING, RequestState.RUNNING)
        conditions = [
            and_(_requests.state.in_(open_states), _requests.deadline_at <= self._now),
            and_(
                _requests.state == RequestState.WAITING,
                _requests.waiting_until <= self._now,
                ~WAITS_FOR_ANOTHER,
                ~and_(IS_ROUTINE, IS_IN_GRACE),
            ),
        ]
        if with_leases:
            conditions.append(
                and_(
                    _requests.state == RequestState.RUNNING,
                    _requests.lease_expires_at <= self._now,
                )
            )
        query = (
            select(_requests.id)
            .where(or_(*conditions))
            .order_by(_requests.deadline_at, _requests.id)
            .limit(_OVERDUE_PAGE)
        )
        return list(self._connection.execute(query).scalars())

    def put_attempt(self, request: Request) -> None:
        self.changed.add(request.id)
        statement = upsert(t.request_attempts).values(
            request_id=request.id,
            attempt=request.attempt,
            run_id=request.run_id,
            phase=request.phase,
            fence=request.fence,
            claimed_at=self._now,
        )
        self._connection.execute(
            statement.on_conflict_do_update(
                constraint=t.request_attempts.primary_key,
                set_={"fence": statement.excluded.fence},
            )
        )

    def end_attempt(self, request: Request, ending: AttemptEnding, cause: str) -> None:
        self.changed.add(request.id)
        self._connection.execute(
            update(t.request_attempts)
            .where(
                t.request_attempts.c.request_id == request.id,
                t.request_attempts.c.attempt == request.attempt,
            )
            .values(ended_at=self._now, ending=ending, cause=storable(cause) or None)
        )

    def attempt_of_run(self, run_id: str) -> Attempt | None:
        attempts = t.request_attempts.c
        query = select(t.request_attempts).where(attempts.run_id == run_id)
        row = self._connection.execute(query).one_or_none()
        if row is None:
            return None
        ending = None if row.ending is None else AttemptEnding(row.ending)
        return Attempt(row.request_id, row.attempt, run_id, row.claimed_at, ending)

    def step(self, request_id: str, attempt: int, step: Step) -> StepRecord | None:
        named = {"request_id": request_id, "attempt": attempt, "step": step}
        query = matching(t.request_steps, *named)
        row = self._connection.execute(query, named).one_or_none()
        return None if row is None else step_of(row)

    def steps_of_attempt(self, request: Request) -> Mapping[Step, StepRecord]:
        named = {"request_id": request.id, "attempt": request.attempt}
        rows = self._connection.execute(matching(t.request_steps, *named), named)
        return {record.step: record for record in map(step_of, rows)}

    def save_step(self, record: StepRecord) -> None:
        self.changed.add(record.request_id)
        error, result = record.error, record.result
        self._connection.execute(
            _PUT_STEP,
            {
                "request_id": record.request_id,
                "attempt": record.attempt,
                "step": record.step,
                "generation": record.generation,
                "started_at": record.started_at,
                "state": record.state,
                "retries": record.retries,
                "ended_at": record.ended_at,
                "error": None if error is None else error.model_dump(mode="json"),
                "result": None if result is None else result.model_dump(mode="json"),
            },
        )

    def open_steps(self, request: Request) -> Sequence[StepRecord]:
        query = self._steps_of(request).where(t.request_steps.c.ended_at.is_(None))
        return [step_of(row) for row in self._connection.execute(query)]

    def was_interrupted(self, request: Request) -> bool:
        code = t.request_steps.c.error["code"].astext
        query = self._steps_of(request).where(code == RUN_INTERRUPTED)
        return self._connection.execute(query.limit(1)).first() is not None

    @staticmethod
    def _steps_of(request: Request) -> AnySelect:
        """Of the current attempt."""
        steps = t.request_steps.c
        return select(t.request_steps).where(
            steps.request_id == request.id, steps.attempt == request.attempt
        )

    def interrupt_open_steps(self, request: Request) -> None:
        self.changed.add(request.id)
        steps = t.request_steps.c
        self._connection.execute(
            update(t.request_steps)
            .where(
                steps.request_id == request.id,
                steps.attempt == request.attempt,
                steps.ended_at.is_(None),
            )
            .values(state=StepState.INTERRUPTED, ended_at=self._now)
        )

    def results(self, request: Request) -> Mapping[Step, StepResult]:
        steps = t.request_steps.c
        query = (
            select(steps.step, steps.result)
            .where(
                steps.request_id == request.id,
                steps.generation == request.generation,
                steps.state == StepState.SUCCEEDED,
            )
            .order_by(steps.attempt)
        )
        rows = self._connection.execute(query)
        return {Step(row.step): StepResult.model_validate(row.result) for row in rows}

    def recorded_steps(self, request_id: str) -> Sequence[StepRecord]:
        query = (
            select(t.request_steps)
            .where(t.request_steps.c.request_id == request_id)
            .order_by(t.request_steps.c.attempt)
        )
        return [step_of(row) for row in self._connection.execute(query)]

    def undone_by(self, request_id: str) -> str | None:
        query = (
            select(_requests.id)
            .where(_requests.undoes == request_id, _requests.state == RequestState.SUCCEEDED)
            .order_by(_requests.ended_at.desc(), _requests.id.desc())
        )
        return self._connection.execute(query.limit(1)).scalar_one_or_none()

    def neighbour_steps(self, request_id: str) -> Sequence[StepRecord]:
        own, others, steps = t.workflow_subjects.c, _others.c, t.request_steps.c
        neighbours = (
            select(others.request_id)
            .join(
                t.workflow_subjects,
                and_(own.kind == others.kind, own.subject_id == others.subject_id),
            )
            .where(own.request_id == request_id, others.request_id != request_id)
        )
        query = (
            select(t.request_steps)
            .where(steps.request_id.in_(neighbours))
            .order_by(steps.request_id, steps.attempt)
        )
        return [step_of(row) for row in self._connection.execute(query)]

    def add_lost_run(self, run: LostRun) -> None:
        row = {**run.model_dump(by_alias=False), "lost_at": self._now}
        self._connection.execute(upsert(t.lost_runs).values(row).on_conflict_do_nothing())

    def confirm_lost_run(self, run_id: str) -> bool:
        statement = sql_delete(t.lost_runs).where(t.lost_runs.c.run_id == run_id)
        return self._connection.execute(statement).rowcount == 1

    def lost_runs(self) -> Sequence[LostRun]:
        query = select(t.lost_runs).order_by(t.lost_runs.c.lost_at).limit(_LOST_RUNS_PAGE)
        return [
            LostRun(
                run_id=row.run_id, request_id=row.request_id, attempt=row.attempt, cause=row.cause
            )
            for row in self._connection.execute(query)
        ]


def with_places(
    among: ColumnElement[bool], default_per_team: int | None
) -> tuple[AnySelect, ColumnElement[int]]:
    """Those among pending requests for which their team has a place at work, the oldest first to
    have one, or which need none; and which turn each has among its team's.
    """
    by_age = (_requests.created_at, _requests.id)
    turn = func.row_number().over(partition_by=_requests.team_id, order_by=by_age)
    needs_none = or_(_requests.offers > 0, _IS_EMERGENCY)
    next_place = func.row_number().over(
        partition_by=(_requests.team_id, needs_none), order_by=by_age
    )
    in_turn = (
        select(_requests.id, turn.label("turn"), next_place.label("next_place"))
        .where(among)
        .subquery()
    )
    limits, at_work = t.team_limits, _at_work_by_team()
    most = func.coalesce(limits.c.max_active_requests, literal(default_per_team, Integer))
    places = most - func.coalesce(at_work.c.at_work, 0)
    # The condition stands in both: the outer one is looked at again once the row is locked.
    query: AnySelect = (
        select(*REQUEST_COLUMNS)
        .join(in_turn, in_turn.c.id == _requests.id)
        .outerjoin(limits, limits.c.team_id == _requests.team_id)
        .outerjoin(at_work, at_work.c.team_id == _requests.team_id)
        .where(among, or_(needs_none, most.is_(None), in_turn.c.next_place <= places))
    )
    return query, in_turn.c.turn


def _at_work_by_team() -> Subquery:
    """How many requests of each team are at work, of those that have any."""
    requests = t.workflow_requests.alias("at_work")
    counted = select(requests.c.team_id, func.count().label("at_work"))
    return counted.where(is_at_work(requests)).group_by(requests.c.team_id).subquery()


def _fixed_values(request: Request) -> dict[str, Any]:
    return {
        "id": request.id,
        "workflow": request.workflow,
        "version": request.version,
        "team_id": request.team_id,
        "application_id": request.application_id,
        "application_environment_id": request.application_environment_id,
        "secret_id": request.secret_id,
        "requested_by": request.requested_by,
        "reason": request.reason,
        "traceparent": request.traceparent,
        "created_at": request.created_at,
        "undoes": request.undoes,
    }


def _changing_values(request: Request) -> dict[str, Any]:
    waiting, error = request.waiting, request.error
    return {
        "state": request.state,
        "phase": request.phase,
        "attempt": request.attempt,
        "generation": request.generation,
        "fence": request.fence,
        "used_attempts": request.used_attempts,
        "setbacks": request.setbacks,
        "run_id": request.run_id,
        "lease_expires_at": request.lease_expires_at,
        "cancel_requested": request.cancel_requested,
        "waiting_reason": waiting.reason if waiting else None,
        "waiting_since": waiting.since if waiting else None,
        "waiting_until": waiting.until if waiting else None,
        "waited_seconds": request.waited.total_seconds(),
        "provider_waited_seconds": request.provider_waited.total_seconds(),
        "last_seen": storable(request.last_seen),
        "not_before": request.not_before,
        "offers": request.offers,
        "offer_again_at": request.offer_again_at,
        "started_at": request.started_at,
        "pending_since": request.pending_since,
        "deadline_at": request.deadline_at,
        "first_step_at": request.first_step_at,
        "ended_at": request.ended_at,
        "error": _failure_document(error) if error else None,
        "left_behind": request.left_behind,
    }


def _failure_document(error: Failure) -> dict[str, object]:
    return {"code": error.code, "message": error.message, "retryable": error.retryable}


def request_of(row: AnyRow) -> Request:
    """The request a row of `workflow_requests` holds."""
    waits = row.waiting_reason is not None
    return Request(
        id=row.id,
        workflow=WorkflowName(row.workflow),
        version=row.version,
        team_id=row.team_id,
        application_id=row.application_id,
        application_environment_id=row.application_environment_id,
        secret_id=row.secret_id,
        requested_by=row.requested_by,
        reason=row.reason,
        traceparent=row.traceparent,
        created_at=row.created_at,
        started_at=row.started_at,
        pending_since=row.pending_since,
        deadline_at=row.deadline_at,
        state=RequestState(row.state),
        phase=row.phase,
        attempt=row.attempt,
        generation=row.generation,
        fence=row.fence,
        used_attempts=row.used_attempts,
        setbacks=row.setbacks,
        run_id=row.run_id,
        lease_expires_at=row.lease_expires_at,
        cancel_requested=row.cancel_requested,
        waiting=Waiting(row.waiting_reason, row.waiting_since, row.waiting_until)
        if waits
        else None,
        waited=timedelta(seconds=row.waited_seconds),
        provider_waited=timedelta(seconds=row.provider_waited_seconds),
        last_seen=row.last_seen,
        not_before=row.not_before,
        offers=row.offers,
        offer_again_at=row.offer_again_at,
        first_step_at=row.first_step_at,
        ended_at=row.ended_at,
        error=Failure(**row.error) if row.error else None,
        left_behind=row.left_behind,
        undoes=row.undoes,
    )


def step_of(row: AnyRow) -> StepRecord:
    """The step a row of `request_steps` holds."""
    return StepRecord(
        request_id=row.request_id,
        attempt=row.attempt,
        step=Step(row.step),
        generation=row.generation,
        state=StepState(row.state),
        retries=row.retries,
        started_at=row.started_at,
        ended_at=row.ended_at,
        error=StepError.model_validate(row.error) if row.error else None,
        result=StepResult.model_validate(row.result) if row.result is not None else None,
    )
