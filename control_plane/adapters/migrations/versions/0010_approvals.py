"""Which teams have their new applications approved first. With it come secrets that are added to
environments in use.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from control_plane.adapters.downgrades import (
    ADDITIONS,
    PROPOSALS,
    forget_additions,
    forget_fields,
    refuse_while_there_are,
)

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
    """The older version could neither approve nor reject, and would provision what is in use."""
    connection = op.get_bind()
    refuse_while_there_are(connection, PROPOSALS, ADDITIONS)
    forget_additions(connection)
    forget_fields(connection, "needsApproval", "addsSecrets")
    op.drop_column("team_policies", "requires_approval")
