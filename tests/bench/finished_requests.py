"""Finished requests in any number, as copies of one that was carried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

COPIED_AT_ONCE = 50_000

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True)
class Copied:
    """A table whose rows belong to a request or a run, and what a copy has of its own."""

    table: str
    id_column: str
    """Names the one it belongs to."""
    own_columns: tuple[str, ...] = ()
    """Unique over all of them."""
    made_columns: tuple[str, ...] = ()
    """Filled in by the database."""
    renamed_columns: tuple[str, ...] = ()
    """Texts that hold ids of the original."""
    schema: str = "public"


CONTROL_PLANE = tuple(
    Copied(schema="control_plane", **each)
    for each in (
        {"table": "workflow_requests", "id_column": "id"},
        {"table": "workflow_subjects", "id_column": "request_id"},
        {"table": "request_attempts", "id_column": "request_id", "own_columns": ("run_id",)},
        {"table": "request_steps", "id_column": "request_id"},
        {
            "table": "outbox_events",
            "id_column": "request_id",
            "own_columns": ("id",),
            "made_columns": ("sequence",),
        },
    )
)
"""In the order in which their rows can be written."""
RUNS = (
    Copied("runs", "run_id", made_columns=("id",), renamed_columns=("run_body",)),
    Copied("run_tags", "run_id", made_columns=("id",), renamed_columns=("value",)),
)
RUN_EVENTS = (Copied("event_logs", "run_id", made_columns=("id",), renamed_columns=("event",)),)
"""Dagster's, of which a run has dozens."""


def copy_rows(
    connection: Connection,
    tables: tuple[Copied, ...],
    original: str,
    number: int,
    *further_ids: str,
) -> None:
    """Adds copies of all rows that belong to `original`, younger ones last; in their texts they
    have their own id in place of that and of `further_ids`.
    """
    for made in range(0, number, COPIED_AT_ONCE):
        with connection.transaction():
            connection.execute("CREATE TEMPORARY TABLE copies (id uuid) ON COMMIT DROP")
            connection.execute(
                "INSERT INTO copies SELECT uuidv7() FROM generate_series(1, %s)",
                (min(COPIED_AT_ONCE, number - made),),
            )
            for each in tables:
                statement = _Statement(each, (original, *further_ids))
                connection.execute(statement.composed(_columns(connection, each)), (original,))
    connection.execute("ANALYZE")


def _columns(connection: Connection, copied: Copied) -> dict[str, str]:
    """Name and type of each that is copied."""
    rows = connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
        (copied.schema, copied.table),
    )
    return {str(name): str(kind) for name, kind in rows if name not in copied.made_columns}


@dataclass(frozen=True)
class _Statement:
    copied: Copied
    known_ids: tuple[str, ...]

    def composed(self, columns: Mapping[str, str]) -> sql.Composed:
        return sql.SQL(
            "INSERT INTO {table} ({columns}) SELECT {values} FROM copies"
            " CROSS JOIN {table} AS original WHERE original.{id} = %s"
        ).format(
            table=sql.Identifier(self.copied.schema, self.copied.table),
            columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
            values=sql.SQL(", ").join(self._value(*each) for each in columns.items()),
            id=sql.Identifier(self.copied.id_column),
        )

    def _value(self, name: str, kind: str) -> sql.Composable:
        of_its_own = sql.SQL("copies.id" if kind == "uuid" else "copies.id::text")
        if name == self.copied.id_column:
            return of_its_own
        if name in self.copied.own_columns:
            return sql.SQL("uuidv7()") if kind == "uuid" else of_its_own
        value: sql.Composable = sql.SQL("original.{}").format(sql.Identifier(name))
        if name in self.copied.renamed_columns:
            for known in self.known_ids:
                value = sql.SQL("replace({}, {}, copies.id::text)").format(
                    value, sql.Literal(known)
                )
        return value
