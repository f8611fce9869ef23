"""Brings the schema up to date, and tells whether it is."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, select, text

from control_plane.adapters.database import transaction
from idp_kernel.errors import Unavailable

MIGRATIONS: Final = Path(__file__).with_name("migrations")
MIGRATION_LOCK: Final = 0x1D9A1E3B


def upgrade(engine: Engine) -> None:
    """Applies what is missing, in one transaction; of several processes one migrates."""
    with transaction(engine) as connection:
        # Whoever comes second waits for the first, however long its migrations take.
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        command.upgrade(_config(connection), "head")


def check_migrated(engine: Engine) -> None:
    """Raises `Unavailable` while the database is away or not at the newest migration."""
    with transaction(engine) as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    wanted = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    if found != wanted:
        raise Unavailable(
            f"The database is at migration {found}, and {wanted} is needed;"
            " run `python -m control_plane.bootstrap`.",
            code="not_migrated",
        )


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
