"""How much a team may have and have at work at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "team_limits",
        sa.Column("team_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("max_applications", sa.Integer(), nullable=True),
        sa.Column("max_application_environments", sa.Integer(), nullable=True),
        sa.Column("max_active_requests", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("team_id", name="pk_team_limits"),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name="fk_team_limits_team_id"),
    )


def downgrade() -> None:
    op.drop_table("team_limits")
