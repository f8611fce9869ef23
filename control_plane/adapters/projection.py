"""The metrics projection as it stands, read in one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Connection, Engine, func, select, text

from control_plane.adapters import tables as t
from control_plane.adapters.database import transaction
from control_plane.adapters.stores import AnyRow
from control_plane.application.ports import CounterName
from control_plane.domain.requests import ACTIVE_STATES
from idp_kernel.wire.metrics import (
    EventsTotal,
    LeaseLossesTotal,
    MetricsProjection,
    OldestPending,
    OpenRequests,
    RetriesTotal,
    RunDuration,
    WaitingRequests,
)
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


def read_projection(engine: Engine, now: datetime) -> MetricsProjection:
    """Counts from the projection's tables, gauges from the open requests; zero where none is."""
    with transaction(engine) as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
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
            waiting=_waiting(connection),
            lease_losses=tuple(
                LeaseLossesTotal(workflow=name, value=losses.get(name, 0)) for name in WORKFLOWS
            ),
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


def _durations(connection: Connection) -> tuple[RunDuration, ...]:
    table = t.projection_durations
    query = select(table).order_by(table.c.workflow, table.c.result, table.c.bucket)
    groups = groupby(connection.execute(query), key=attrgetter("workflow", "result"))
    return tuple(_duration(*labels, list(rows)) for labels, rows in groups)


def _duration(workflow: str, result: str, rows: Sequence[AnyRow]) -> RunDuration:
    counts = [0] * (len(WORKFLOW_SECONDS_BUCKETS) + 1)
    for row in rows:
        counts[row.bucket] = row.value
    return RunDuration(
        workflow=WorkflowName(workflow),
        result=WorkflowResult(result),
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
    query = (
        select(_requests.workflow, func.min(_requests.pending_since).label("oldest"))
        .where(_requests.state == RequestState.PENDING)
        .group_by(_requests.workflow)
    )
    oldest = {row.workflow: row.oldest for row in connection.execute(query)}
    return tuple(
        OldestPending(
            workflow=name, age_seconds=max(0.0, (now - oldest.get(name, now)).total_seconds())
        )
        for name in WORKFLOWS
    )


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
