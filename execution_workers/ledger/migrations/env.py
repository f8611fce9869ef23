"""How Alembic reaches the ledger; the connection comes from `ledger.migrate`."""

from __future__ import annotations

from alembic import context

from execution_workers.ledger.tables import SCHEMA, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
    transactional_ddl=True,
)
context.run_migrations()
