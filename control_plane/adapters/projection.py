"""The metrics projection as it stands, read in one snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Connection, Engine, and_, case, func, or_, select

from control_plane.adapters import tables as t
from control_plane.adapters.database import snapshot
from control_plane.adapters.request_store import with_places
from control_plane.adapters.stores import AnyRow, policy_of
from control_plane.adapters.work import SqlStanding
from control_plane.application.ports import CounterName
from control_plane.domain.limits import TeamLimits
from control_plane.domain.managed_secrets import SecretState
from control_plane.domain.requests import ACTIVE_STATES
from control_plane.domain.rotation import LONGEST_PAUSE
from idp_kernel.wire.metrics import (
    DownstreamErrorsTotal,
    EventsTotal,
    LapsedLease,
    LeaseLossesTotal,
    MetricsProjection,
    OldestPending,
    OpenRequests,
    ProviderWait,
    RetriesTotal,
    RunDuration,
    SecretsStanding,
    WaitingRequests,
)
from idp_kernel.wire.worker import SecretSensitivity
from idp_kernel.workflows import (
    PROVIDER_WAITS,
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


def read_projection(engine: Engine, now: datetime, default_limits: TeamLimits) -> MetricsProjection:
    """Counts from the projection's tables, gauges from the open requests; zero where none is."""
    with snapshot(engine) as connection:
        retries = _counter(connection, CounterName.RETRIES)
        losses = _counter(connection, CounterName.LEASE_LOSSES)
        overdue = _overdue(connection, now)
        return MetricsProjection(
            taken_at=now,
            retries=tuple(
                RetriesTotal(workflow=name, value=retries.get(name, 0)) for name in WORKFLOWS
            ),
            events=_events(connection),
            durations=_durations(connection),
            open_requests=_open_requests(connection),
            oldest_pending=_oldest_pending(connection, now, default_limits),
            lapsed_leases=_lapsed_leases(connection, now),
            waiting=_waiting(connection),
            provider_waits=_provider_waits(connection, now),
            lease_losses=tuple(
                LeaseLossesTotal(workflow=name, value=losses.get(name, 0)) for name in WORKFLOWS
            ),
            downstream_errors=_downstream_errors(connection),
            secrets=tuple(
                _secrets(connection, each, now, overdue[each]) for each in SecretSensitivity
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


def _oldest_pending(
    connection: Connection, now: datetime, default_limits: TeamLimits
) -> tuple[OldestPending, ...]:
    """Of those that may have a run: none while the platform drains, nor beyond a team's limit."""
    may_begin = and_(
        _requests.state == RequestState.PENDING,
        or_(_requests.not_before.is_(None), _requests.not_before <= now),
    )
    with_place, _ = with_places(may_begin, default_limits.max_active_requests)
    query = with_place.with_only_columns(
        _requests.workflow, func.min(_requests.pending_since).label("first")
    ).group_by(_requests.workflow)
    drains = SqlStanding(connection).is_draining()
    ages = _ages(() if drains else connection.execute(query), now)
    return tuple(OldestPending(workflow=name, age_seconds=age) for name, age in ages.items())


def _lapsed_leases(connection: Connection, now: datetime) -> tuple[LapsedLease, ...]:
    query = (
        select(_requests.workflow, func.min(_requests.lease_expires_at).label("first"))
        .where(_requests.state == RequestState.RUNNING)
        .group_by(_requests.workflow)
    )
    ages = _ages(connection.execute(query), now)
    return tuple(LapsedLease(workflow=name, age_seconds=age) for name, age in ages.items())


def _ages(rows: Iterable[AnyRow], now: datetime) -> dict[WorkflowName, float]:
    """In seconds, of each workflow's first moment; 0 if there is none or it is yet to come."""
    first = {row.workflow: row.first for row in rows}
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


def _provider_waits(connection: Connection, now: datetime) -> tuple[ProviderWait, ...]:
    """Between two waits the earlier ones count, since the run may come to the same end."""
    waits_now = case(
        (
            _requests.waiting_reason.in_(PROVIDER_WAITS),
            func.extract("epoch", now - _requests.waiting_since),
        ),
        else_=0.0,
    )
    query = (
        select(
            _requests.workflow,
            func.max(_requests.provider_waited_seconds + waits_now).label("seconds"),
        )
        .where(_requests.state.in_(ACTIVE_STATES))
        .group_by(_requests.workflow)
    )
    seconds = {row.workflow: float(row.seconds) for row in connection.execute(query)}
    return tuple(
        ProviderWait(workflow=name, age_seconds=seconds.get(name, 0.0)) for name in WORKFLOWS
    )


def _overdue(connection: Connection, now: datetime) -> Counter[str]:
    """Secrets in use that are older than their policy lets them get, by sensitivity.

    Such a secret's rotation is due, was put off after a failure, or is at work: an index and the
    open requests lead to these, however many secrets there are.
    """
    due_or_put_off = select(t.secrets).where(
        _managed.state == SecretState.ACTIVE, _managed.next_rotation_at <= now + LONGEST_PAUSE
    )
    rotations = select(_requests.secret_id).where(
        _requests.workflow == WorkflowName.SECRET_ROTATION, _requests.state.in_(ACTIVE_STATES)
    )
    at_work = select(t.secrets).where(
        _managed.state == SecretState.ROTATING, _managed.id.in_(rotations)
    )
    return Counter(
        row.sensitivity
        for query in (due_or_put_off, at_work)
        for row in connection.execute(query)
        if now - row.rotated_at > policy_of(row).in_force(row.sensitivity).longest_age
    )


def _secrets(
    connection: Connection, sensitivity: SecretSensitivity, now: datetime, overdue: int
) -> SecretsStanding:
    """Age and end are each the first entry of an index, however many secrets there are."""
    of_it = and_(_managed.sensitivity == sensitivity, _IN_USE)
    oldest = connection.execute(select(func.min(_managed.rotated_at)).where(of_it))
    next_end = connection.execute(select(func.min(_managed.expires_at)).where(of_it))
    rotated_at, expires_at = oldest.scalar_one(), next_end.scalar_one()
    return SecretsStanding(
        sensitivity=sensitivity,
        oldest_age_seconds=_seconds(rotated_at, now),
        next_expiry_seconds=_seconds(now, expires_at),
        overdue=overdue,
    )


def _seconds(since: datetime | None, until: datetime | None) -> float | None:
    return None if since is None or until is None else (until - since).total_seconds()
