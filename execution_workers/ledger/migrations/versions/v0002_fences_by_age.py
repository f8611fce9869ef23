"""Finds the requests that have been still for longest."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
SCHEMA = "ledger"


def upgrade() -> None:
    """The index that housekeeping reads."""
    op.create_index("request_fences_by_age", "request_fences", ["raised_at"], schema=SCHEMA)
