"""Which teams have their new applications approved first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from control_plane.adapters.downgrades import PROPOSALS, forget_approvals, refuse_while_there_are

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Until now no team could ask for it."""
    nobody = sa.text("false")
    op.add_column(
        "team_policies",
        sa.Column("requires_approval", sa.Boolean(), nullable=False, server_default=nobody),
    )
    op.alter_column("team_policies", "requires_approval", server_default=None)


def downgrade() -> None:
    """The older version could neither approve nor reject, nor read who needed it."""
    refuse_while_there_are(op.get_bind(), PROPOSALS)
    forget_approvals(op.get_bind())
    op.drop_column("team_policies", "requires_approval")
