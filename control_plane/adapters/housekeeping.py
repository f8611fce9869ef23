"""Which rows of the control plane grow old, and when.

Requests with their subjects, attempts and steps are kept, and so is what they are about.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Engine, Table, delete, func, select

from control_plane.adapters import tables as t
from control_plane.adapters.database import transaction
from control_plane.domain.retention import Retention
from idp_kernel.clock import Clock
from idp_kernel.housekeeping import BATCH_ROWS, Chore

KEEP_ANSWERS_FOR: Final = timedelta(hours=24)
"""Of commands, under their idempotency keys."""
KEEP_ROTATION_RECORDS_FOR: Final = timedelta(days=30)
"""Of scheduled times that were acted on, and of causes of rotations that are settled."""


def chores(engine: Engine, clock: Clock, retention: Retention) -> list[Chore]:
    """Everything that grows with traffic and that nothing needs any more."""
    keys, ticks, causes = t.idempotency_keys.c, t.rotation_ticks.c, t.rotation_causes.c
    chore = partial(_chore, engine, clock)
    all_chores = [
        chore(t.idempotency_keys, keys.created_at, KEEP_ANSWERS_FOR),
        chore(t.used_assertions, t.used_assertions.c.expires_at, timedelta(0)),
        chore(t.rotation_ticks, ticks.acted_at, KEEP_ROTATION_RECORDS_FOR),
        chore(t.rotation_causes, causes.settled_at, KEEP_ROTATION_RECORDS_FOR),
        _events_chore(engine, clock, retention.events),
    ]
    if retention.audit is not None:
        since = t.audit_log.c.occurred_at
        all_chores.append(_journal_chore(engine, clock, t.audit_log, retention.audit, since))
    return all_chores


def _chore(
    engine: Engine, clock: Clock, table: Table, since: Column[Any], kept_for: timedelta
) -> Chore:
    keys = list(table.primary_key)

    def delete_batch() -> int:
        old = select(*keys).where(since < clock.now() - kept_for).limit(BATCH_ROWS)
        found = old.with_for_update(skip_locked=True).cte("old")
        return _deleted(engine, table, *(key == found.c[key.name] for key in keys))

    return Chore(table.name, delete_batch)


def _events_chore(engine: Engine, clock: Clock, kept_for: timedelta) -> Chore:
    """Of the events that are too old the last one stays: who has seen it has missed nothing, who
    has not may have (`events_gone`).
    """
    columns = t.outbox_events.c
    of_next = func.lead(columns.occurred_at).over(order_by=columns.sequence)
    return _journal_chore(engine, clock, t.outbox_events, kept_for, of_next)


def _journal_chore(
    engine: Engine, clock: Clock, table: Table, kept_for: timedelta, since: ColumnElement[Any]
) -> Chore:
    """Journals are written in the order of time, so the oldest have the lowest numbers."""
    columns = table.c

    def delete_batch() -> int:
        before = clock.now() - kept_for
        oldest = (
            select(columns.sequence, since.label("since"))
            .order_by(columns.sequence)
            .limit(BATCH_ROWS)
            .subquery()
        )
        # What stays is not locked: a lock is a write.
        is_old = columns.sequence.in_(select(oldest.c.sequence).where(oldest.c.since < before))
        old = select(columns.sequence).where(is_old)
        found = old.with_for_update(skip_locked=True).cte("old")
        return _deleted(engine, table, columns.sequence == found.c.sequence)

    return Chore(table.name, delete_batch)


def _deleted(engine: Engine, table: Table, *conditions: ColumnElement[bool]) -> int:
    with transaction(engine) as connection:
        return connection.execute(delete(table).where(*conditions)).rowcount
