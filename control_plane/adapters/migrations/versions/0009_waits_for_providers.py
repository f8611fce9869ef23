"""How long a request has waited for providers, and what was seen before it waited last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Of waits before, nothing is known."""
    for column, nothing in (
        (sa.Column("provider_waited_seconds", sa.Float(), nullable=False), "0"),
        (sa.Column("last_seen", sa.Text(), nullable=False), ""),
    ):
        column.server_default = sa.DefaultClause(sa.text(f"'{nothing}'"))
        op.add_column("workflow_requests", column)
        op.alter_column("workflow_requests", column.name, server_default=None)


def downgrade() -> None:
    for name in ("last_seen", "provider_waited_seconds"):
        op.drop_column("workflow_requests", name)
