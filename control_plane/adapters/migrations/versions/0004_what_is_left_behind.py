"""What a request leaves behind that ended without success."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("workflow_requests", sa.Column("left_behind", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("workflow_requests", "left_behind")
