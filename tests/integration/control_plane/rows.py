"""What the database holds."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, text

from control_plane.adapters.tables import METADATA
from tests.integration.control_plane.conftest import Platform


def counts(platform: Platform) -> dict[str, int]:
    """How many rows each table has."""
    with platform.engine.connect() as connection:
        return {
            name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()  # noqa: S608 - our own tables
            for name in METADATA.tables
        }


def everything_stored(platform: Platform) -> str:
    """Every row of every table as text."""
    rows: list[str] = []
    with platform.engine.connect() as connection:
        for name in METADATA.tables:
            query = text(f"SELECT t::text FROM {name} t")  # noqa: S608 - our own tables
            rows.extend(connection.execute(query).scalars())
    return "\n".join(rows)


def multiply(
    connection: Connection, table: str, number: int, where: str, changed: Mapping[str, str]
) -> None:
    """Adds so many copies of each of these rows, numbered `n`, with other values where SQL is given
    for a column. What the database numbers itself it numbers anew.
    """
    named = connection.execute(
        text(
            "SELECT column_name FROM information_schema.columns WHERE table_name = :table"
            " AND identity_generation IS NULL ORDER BY ordinal_position"
        ),
        {"table": table},
    )
    values = {name: changed.get(name, name) for name in named.scalars()}
    connection.execute(
        text(
            f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())}"  # noqa: S608 - our own tables
            f" FROM {table}, generate_series(1, {number}) n WHERE {where}"
        )
    )
