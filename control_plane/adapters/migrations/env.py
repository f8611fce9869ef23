"""Alembic's entry: runs migrations on the connection that `schema.upgrade` gives."""

from __future__ import annotations

from alembic import context

from control_plane.adapters.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
