"""Statements that are made once: to put one together takes longer than to send it."""

from __future__ import annotations

from enum import Enum, auto
from functools import cache
from typing import Any

from sqlalchemy import Insert, Select, Table, Update, bindparam, insert, select, update

CHANGED_ID = "changed_id"
"""The parameter that says which row `changing` is about."""


class Hold(Enum):
    """What a read keeps others from until the transaction ends."""

    NOTHING = auto()
    DELETION_AND_CHANGE = auto()
    """Several may hold a row so."""
    ANY_OTHER_HOLD = auto()
    """But rows that refer to it may be added."""


def held(query: Select[Any], hold: Hold) -> Select[Any]:
    """The query, holding its rows."""
    match hold:
        case Hold.NOTHING:
            return query
        case Hold.DELETION_AND_CHANGE:
            return query.with_for_update(read=True)
        case Hold.ANY_OTHER_HOLD:
            return query.with_for_update(key_share=True)


@cache
def matching(table: Table, *columns: str, hold: Hold = Hold.NOTHING) -> Select[Any]:
    """The rows with these values, whose parameters are named as the columns."""
    conditions = (table.c[each] == bindparam(each) for each in columns)
    return held(select(table).where(*conditions), hold)


@cache
def adding(table: Table) -> Insert:
    """A row of the parameters; nothing comes back of it."""
    return insert(table).inline()


@cache
def changing(table: Table) -> Update:
    """The row of `CHANGED_ID` gets the other parameters."""
    return update(table).where(table.c.id == bindparam(CHANGED_ID))
