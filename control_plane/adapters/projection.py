"""The metrics projection as it stands, read in one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter

from sqlalchemy import ColumnElement, Connection, Engine, and_, func, select

from control_plane.adapters import tables as t
from control_plane.adapters.database import snapshot
from control_plane.adapters.stores import AnyRow
from control_plane.application.ports import CounterName
from control_plane.domain.managed_secrets import SecretState
from control_plane.domain.requests import ACTIVE_STATES
from idp_kernel.wire.metrics import (
    DownstreamErrorsTotal,
    EventsTotal,
    LapsedLease,
    LeaseLossesTotal,
    MetricsProjection,
    OldestPending,
    OpenRequests,
    RetriesTotal,
    RunDuration,
    SecretsStanding,
    WaitingRequests,
)
from idp_kernel.wire.worker import SecretSensitivity
from idp_kernel.workflows import (
    WORKFLOW_SECONDS_BUCKETS,
    WORKFLOWS,
    RequestState,
    WorkflowName,
    WorkflowResult,
    event_names,
    event_result,
)

_requests = t.workflow_requests.c
_managed = t.secrets.c
_IN_USE = _managed.state.in_((SecretState.ACTIVE, SecretState.ROTATING))


def read_projection(engine: Engine, now: datetime) -> MetricsProjection:
    """Counts from the projection's tables, gauges from the open requests; zero where none is."""
    with snapshot(engine) as connection:
        retries = _counter(connection, CounterName.RETRIES)
        losses = _counter(connection, CounterName.LEASE_LOSSES)
        return MetricsProjection(
            taken_at=now,
            retries=tuple(
                RetriesTotal(workflow=name, value=retries.get(name, 0)) for name in WORKFLOWS
            ),
            events=_events(connection),
            durations=_durations(connection),
            open_requests=_open_requests(connection),
            oldest_pending=_oldest_pending(connection, now),
            lapsed_leases=_lapsed_leases(connection, now),
            waiting=_waiting(connection),
            lease_losses=tuple(
                LeaseLossesTotal(workflow=name, value=losses.get(name, 0)) for name in WORKFLOWS
            ),
            downstream_errors=_downstream_errors(connection),
            secrets=tuple(_secrets(connection, each, now) for each in SecretSensitivity),
        )


def _counter(connection: Connection, counter: CounterName) -> dict[str, int]:
    columns = t.projection_counters.c
    query = select(columns.label, columns.value).where(columns.metric == counter)
    return {row.label: row.value for row in connection.execute(query)}


def _events(connection: Connection) -> tuple[EventsTotal, ...]:
    counts = _counter(connection, CounterName.EVENTS)
    return tuple(
        EventsTotal(event=name, result=event_result(name), value=counts.get(name, 0))
        for name in sorted(event_names())
    )


def _downstream_errors(connection: Connection) -> tuple[DownstreamErrorsTotal, ...]:
    table = t.projection_downstream_errors
    query = select(table).order_by(table.c.target, table.c.code, table.c.status)
    return tuple(
        DownstreamErrorsTotal(target=row.target, code=row.code, status=row.status, value=row.value)
        for row in connection.execute(query)
    )


def _durations(connection: Connection) -> tuple[RunDuration, ...]:
    """Of every workflow and result: what begins at 1 is an increase that Prometheus misses."""
    table = t.projection_durations
    query = select(table).order_by(table.c.workflow, table.c.result, table.c.bucket)
    groups = groupby(connection.execute(query), key=attrgetter("workflow", "result"))
    counted = {labels: list(rows) for labels, rows in groups}
    return tuple(
        _duration(workflow, result, counted.get((workflow, result), []))
        for workflow in WORKFLOWS
        for result in WorkflowResult
    )


def _duration(
    workflow: WorkflowName, result: WorkflowResult, rows: Sequence[AnyRow]
) -> RunDuration:
    counts = [0] * (len(WORKFLOW_SECONDS_BUCKETS) + 1)
    for row in rows:
        counts[row.bucket] = row.value
    return RunDuration(
        workflow=workflow,
        result=result,
        bucket_counts=tuple(counts),
        sum_seconds=sum(row.sum_seconds for row in rows),
    )


def _open_requests(connection: Connection) -> tuple[OpenRequests, ...]:
    query = (
        select(_requests.workflow, _requests.state, func.count().label("value"))
        .where(_requests.state.in_(ACTIVE_STATES))
        .group_by(_requests.workflow, _requests.state)
    )
    counts = {(row.workflow, row.state): row.value for row in connection.execute(query)}
    return tuple(
        OpenRequests(workflow=name, state=state, value=counts.get((name, state), 0))
        for name in WORKFLOWS
        for state in sorted(ACTIVE_STATES)
    )


def _oldest_pending(connection: Connection, now: datetime) -> tuple[OldestPending, ...]:
    ages = _ages(connection, RequestState.PENDING, _requests.pending_since, now)
    return tuple(OldestPending(workflow=name, age_seconds=age) for name, age in ages.items())


def _lapsed_leases(connection: Connection, now: datetime) -> tuple[LapsedLease, ...]:
    ages = _ages(connection, RequestState.RUNNING, _requests.lease_expires_at, now)
    return tuple(LapsedLease(workflow=name, age_seconds=age) for name, age in ages.items())


def _ages(
    connection: Connection, state: RequestState, since: ColumnElement[datetime], now: datetime
) -> dict[WorkflowName, float]:
    """In seconds, of the first moment among the requests in that state; 0 if it is yet to come."""
    query = (
        select(_requests.workflow, func.min(since).label("first"))
        .where(_requests.state == state)
        .group_by(_requests.workflow)
    )
    first = {row.workflow: row.first for row in connection.execute(query)}
    return {name: max(0.0, (now - first.get(name, now)).total_seconds()) for name in WORKFLOWS}


def _waiting(connection: Connection) -> tuple[WaitingRequests, ...]:
    query = (
        select(_requests.workflow, _requests.waiting_reason, func.count().label("value"))
        .where(_requests.state == RequestState.WAITING)
        .group_by(_requests.workflow, _requests.waiting_reason)
        .order_by(_requests.workflow, _requests.waiting_reason)
    )
    return tuple(
        WaitingRequests(
            workflow=WorkflowName(row.workflow), reason=row.waiting_reason, value=row.value
        )
        for row in connection.execute(query)
    )


def _secrets(
    connection: Connection, sensitivity: SecretSensitivity, now: datetime
) -> SecretsStanding:
    """Each is the first entry of an index, however many secrets there are; overdue ones are few."""
    of_it = and_(_managed.sensitivity == sensitivity, _IN_USE)
    oldest = connection.execute(select(func.min(_managed.rotated_at)).where(of_it))
    next_end = connection.execute(select(func.min(_managed.expires_at)).where(of_it))
    overdue = select(func.count()).where(
        _managed.sensitivity == sensitivity,
        _managed.state == SecretState.ACTIVE,
        _managed.next_rotation_at <= now,
    )
    rotated_at, expires_at = oldest.scalar_one(), next_end.scalar_one()
    return SecretsStanding(
        sensitivity=sensitivity,
        oldest_age_seconds=_seconds(rotated_at, now),
        next_expiry_seconds=_seconds(now, expires_at),
        overdue=connection.execute(overdue).scalar_one(),
    )


def _seconds(since: datetime | None, until: datetime | None) -> float | None:
    return None if since is None or until is None else (until - since).total_seconds()
