"""How long a request has waited for providers, and what was seen before it waited last.

The way back has to know the workflow that ends applications, too.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from control_plane.adapters.downgrades import (
    APPLICATION_END,
    APPLICATION_ENDS,
    forget_requests,
    refuse_while_there_are,
)

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
    """Ended requests of a workflow that came with this version are forgotten."""
    refuse_while_there_are(op.get_bind(), APPLICATION_ENDS)
    forget_requests(op.get_bind(), APPLICATION_END)
    for name in ("last_seen", "provider_waited_seconds"):
        op.drop_column("workflow_requests", name)
