"""Which rows of the ledger grow old, and when."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Engine, Select, delete, exists, func, select

from execution_workers.ledger.errors import translated
from execution_workers.ledger.tables import SCHEMA, effects, request_fences
from idp_kernel.clock import Clock
from idp_kernel.housekeeping import BATCH_ROWS, Chore

_creators = request_fences.alias("creators")


def ledger_chore(engine: Engine, clock: Clock, kept_for: timedelta) -> Chore:
    """Forgets requests that have not been claimed for so long: fence and effects, both or none.

    One that lives on what another created stays as long as that other one may come back: its undo
    asks who adopted what it made.
    """

    def delete_batch() -> int:
        with translated(), engine.connect() as connection:
            rows: int = connection.execute(_forgetting(clock.now() - kept_for)).scalar_one()
            return rows

    return Chore(SCHEMA, delete_batch)


def _forgetting(before: datetime) -> Select[int]:
    """One statement, which answers how many rows went."""
    fences = request_fences.c
    lives_on_another = exists().where(
        effects.c.request_id == fences.request_id,
        effects.c.created_by != effects.c.request_id,
        effects.c.undone_at.is_(None),
        _creators.c.request_id == effects.c.created_by,
        _creators.c.raised_at >= before,
    )
    old = (
        select(fences.request_id)
        .where(fences.raised_at < before, ~lives_on_another)
        .order_by(fences.raised_at)
        .limit(BATCH_ROWS)
        .with_for_update(of=request_fences, skip_locked=True)
        .cte("old")
    )
    gone = [
        delete(table)
        .where(table.c.request_id == old.c.request_id)
        .returning(table.c.request_id)
        .cte(f"gone_{table.name}")
        for table in (effects, request_fences)
    ]
    counts = [select(func.count()).select_from(each).scalar_subquery() for each in gone]
    return select(counts[0] + counts[1])
