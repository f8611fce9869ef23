"""Brings the schema `ledger` to what this version of the code needs."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, func, inspect, select
from sqlalchemy.schema import CreateSchema

from execution_workers.ledger.tables import SCHEMA

_ONE_AT_A_TIME = 0x6C65646765720000
"""Key of the lock that keeps two bootstraps apart: the name of the schema in ASCII."""


def migrate(database_url: str) -> None:
    """All migrations that are missing, in one transaction. Repeating it changes nothing."""
    engine = create_engine(database_url)
    try:
        with engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
            _ensure_schema(connection)
            _upgrade(connection)
    finally:
        engine.dispose()


def _ensure_schema(connection: Connection) -> None:
    """Only looked for where the role may not create one, as in the embedded default."""
    if not inspect(connection).has_schema(SCHEMA):
        connection.execute(CreateSchema(SCHEMA))


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
