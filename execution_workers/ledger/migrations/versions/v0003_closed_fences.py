"""Runs that are over may change nothing more, though no newer one has begun."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
SCHEMA = "ledger"


def upgrade() -> None:
    """Fences that were raised before are open."""
    op.add_column(
        "request_fences",
        sa.Column(
            "is_closed",
            sa.Boolean,
            nullable=False,
            server_default=sa.false(),
            comment="the run of this fence is over: its calls are refused, too",
        ),
        schema=SCHEMA,
    )
