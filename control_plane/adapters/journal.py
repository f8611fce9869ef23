"""Events, audit, counts and wake-ups of one transaction, written last and in one order.

Counters first, sorted, then the lock under which events get their sequence: two transactions can
never hold what the other waits for, and since the lock lasts until the commit is visible, a
reader who has seen an event has seen every event before it. What is notified is delivered after
that, so whoever looks then finds it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert as upsert

from control_plane.adapters import tables as t
from control_plane.adapters.database import storable
from control_plane.adapters.downstream_labels import labels_of
from control_plane.adapters.statements import adding
from control_plane.application.ports import CounterName
from control_plane.application.subjects import attributes_of
from control_plane.domain.requests import Request
from idp_kernel.ids import new_id
from idp_kernel.telemetry.traces import past_span
from idp_kernel.wire.worker import DownstreamError
from idp_kernel.workflows import WORKFLOW_SECONDS_BUCKETS, WorkflowName, WorkflowResult

OFFERS_CHANNEL: Final = "control_plane_offers"
RUN_LOST: Final = "run_lost"
"""The error of a span that its own process could not tell."""
EVENTS_CHANNEL: Final = "control_plane_events"
LOST_RUNS_CHANNEL: Final = "control_plane_lost_runs"
REQUESTS_CHANNEL: Final = "control_plane_requests"
"""Its notifications carry the id of the request that changed."""
ROTATION_CAUSES_CHANNEL: Final = "control_plane_rotation_causes"
_SEQUENCE_LOCK: Final = 0x1D90E7E7
_NOTIFY: Final = text(
    "SELECT pg_notify(channel, payload) FROM"
    " unnest(CAST(:channels AS text[]), CAST(:payloads AS text[])) AS told(channel, payload)"
)
_TAKE_SEQUENCE: Final = text(f"SELECT pg_advisory_xact_lock({_SEQUENCE_LOCK})")
_to_counters = upsert(t.projection_counters)
_ADD_TO_COUNTERS: Final = _to_counters.on_conflict_do_update(
    constraint=t.projection_counters.primary_key,
    set_={"value": t.projection_counters.c.value + _to_counters.excluded.value},
)


class SqlJournal:
    """Collects while the transaction works; `flush` writes."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._events: list[dict[str, object]] = []
        self._audit: list[dict[str, object]] = []
        self._counts: Counter[tuple[CounterName, str]] = Counter()
        self._durations: list[tuple[WorkflowName, WorkflowResult, float]] = []
        self._downstream_errors: Counter[tuple[str, str, str]] = Counter()
        self._past_spans: list[Callable[[], object]] = []
        self._wakes: set[str] = set()

    def event(
        self,
        type_: str,
        *,
        subject: str,
        actor: str,
        team_id: str | None = None,
        request_id: str | None = None,
        data: Mapping[str, str | int | bool | None] | None = None,
    ) -> str:
        event_id = new_id()
        self._events.append(
            {
                "id": event_id,
                "type": type_,
                "occurred_at": self._now,
                "team_id": team_id,
                "subject": subject,
                "request_id": request_id,
                "actor": actor,
                "data": dict(data or {}),
            }
        )
        self.count(CounterName.EVENTS, type_)
        return event_id

    def audit(self, *, actor: str, action: str, subject: str, reason: str = "") -> None:
        self._audit.append(
            {
                "occurred_at": self._now,
                "actor": actor,
                "action": action,
                "subject": subject,
                "reason": storable(reason),
            }
        )

    def count(self, counter: CounterName, label: str, by: int = 1) -> None:
        self._counts[counter, str(label)] += by

    def observe_duration(
        self, workflow: WorkflowName, result: WorkflowResult, duration: timedelta
    ) -> None:
        self._durations.append((workflow, result, duration.total_seconds()))

    def count_downstream_error(self, error: DownstreamError) -> None:
        self._downstream_errors[labels_of(error)] += 1

    def past_span(
        self,
        name: str,
        request: Request,
        since: datetime,
        *,
        span_id: str | None = None,
        under: str | None = None,
    ) -> None:
        told = partial(
            past_span,
            name,
            since=since,
            until=self._now,
            traceparent=request.traceparent,
            attributes=attributes_of(request),
            span_id=span_id,
            under=under,
            error=None if span_id is None else RUN_LOST,
        )
        self._past_spans.append(told)

    def wake_offers(self) -> None:
        self._wakes.add(OFFERS_CHANNEL)

    def wake_lost_runs(self) -> None:
        self._wakes.add(LOST_RUNS_CHANNEL)

    def wake_rotation_causes(self) -> None:
        self._wakes.add(ROTATION_CAUSES_CHANNEL)

    @contextmanager
    def undone_by_errors(self) -> Iterator[None]:
        """What the block collects is forgotten when it raises."""
        lists: tuple[list[Any], ...] = (
            self._events,
            self._audit,
            self._durations,
            self._past_spans,
        )
        lengths = [len(each) for each in lists]
        counts, errors = self._counts.copy(), self._downstream_errors.copy()
        wakes = self._wakes.copy()
        try:
            yield
        except BaseException:
            for each, length in zip(lists, lengths, strict=True):
                del each[length:]
            self._counts, self._downstream_errors, self._wakes = counts, errors, wakes
            raise

    def flush(self, *, changed_requests: Collection[str] = ()) -> None:
        """Writes everything, and tells watchers of these requests; nothing may be locked after."""
        if self._counts:
            counted = [
                {"metric": counter, "label": label, "value": by}
                for (counter, label), by in sorted(self._counts.items())
            ]
            self._connection.execute(_ADD_TO_COUNTERS, counted)
        for labels, by in sorted(self._downstream_errors.items()):
            self._add_to_downstream_errors(*labels, by)
        for workflow, result, seconds in sorted(self._durations):
            self._add_to_durations(workflow, result, seconds)
        if self._audit:
            self._connection.execute(adding(t.audit_log), self._audit)
        self._notify(changed_requests)
        if self._events:
            self._connection.execute(_TAKE_SEQUENCE)
            self._connection.execute(adding(t.outbox_events), self._events)

    def _notify(self, changed_requests: Collection[str]) -> None:
        """In one statement: on each channel once, and of each request."""
        wakes = self._wakes | ({EVENTS_CHANNEL} if self._events else set())
        told = [(channel, "") for channel in sorted(wakes)]
        told += [(REQUESTS_CHANNEL, each) for each in changed_requests]
        if told:
            channels, payloads = (list(each) for each in zip(*told, strict=True))
            self._connection.execute(_NOTIFY, {"channels": channels, "payloads": payloads})

    def tell_spans(self) -> None:
        """Exports the spans of what was committed."""
        for tell in self._past_spans:
            tell()

    def _add_to_downstream_errors(self, target: str, code: str, status: str, by: int) -> None:
        table = t.projection_downstream_errors
        statement = upsert(table).values(target=target, code=code, status=status, value=by)
        self._connection.execute(
            statement.on_conflict_do_update(
                constraint=table.primary_key, set_={"value": table.c.value + by}
            )
        )

    def _add_to_durations(
        self, workflow: WorkflowName, result: WorkflowResult, seconds: float
    ) -> None:
        table = t.projection_durations
        statement = upsert(table).values(
            workflow=workflow,
            result=result,
            bucket=bisect_left(WORKFLOW_SECONDS_BUCKETS, seconds),
            value=1,
            sum_seconds=seconds,
        )
        self._connection.execute(
            statement.on_conflict_do_update(
                constraint=table.primary_key,
                set_={
                    "value": table.c.value + 1,
                    "sum_seconds": table.c.sum_seconds + seconds,
                },
            )
        )
