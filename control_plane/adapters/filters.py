"""What lists are narrowed by, once for all of them; `None` does not narrow."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select

from control_plane.application.queries import Period, Slice, VisibleTeams

Query = Select[tuple[Any, ...]]


def equal(query: Query, *wanted: tuple[ColumnElement[Any], object | None]) -> Query:
    """Rows whose columns have these values."""
    given = [column == value for column, value in wanted if value is not None]
    return query.where(*given)


def beginning(query: Query, column: ColumnElement[str], prefix: str | None) -> Query:
    """Rows whose column begins with the prefix."""
    return query if prefix is None else query.where(column.startswith(prefix, autoescape=True))


def within(query: Query, column: ColumnElement[Any], period: Period) -> Query:
    """Rows whose moment is after the period's begin and before its end."""
    if period.after is not None:
        query = query.where(column > period.after)
    if period.before is not None:
        query = query.where(column < period.before)
    return query


def visible_to(query: Query, team_id: ColumnElement[str], visible: VisibleTeams) -> Query:
    """Rows of the teams one may see."""
    return query if visible is None else query.where(team_id.in_(visible))


def after(query: Query, column: ColumnElement[Any], part: Slice) -> Query:
    """A part of the rows, by the column."""
    if part.after is not None:
        query = query.where(column > part.after)
    return query.order_by(column).limit(part.limit)
