"""What the database holds."""

from __future__ import annotations

from sqlalchemy import text

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
