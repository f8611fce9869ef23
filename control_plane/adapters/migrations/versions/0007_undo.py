"""Which request an undo takes back, which teams have failures undone, why attempts ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from control_plane.adapters.downgrades import UNDOS, forget_requests, refuse_while_there_are

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("workflow_requests", sa.Column("undoes", sa.Uuid(as_uuid=False), nullable=True))
    op.create_foreign_key(
        "fk_workflow_requests_undoes", "workflow_requests", "workflow_requests", ["undoes"], ["id"]
    )
    op.create_index(
        "ix_workflow_requests_undoes",
        "workflow_requests",
        ["undoes"],
        postgresql_where=sa.text("undoes IS NOT NULL"),
    )
    op.create_table(
        "team_policies",
        sa.Column("team_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("undo_on_failure", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("team_id", name="pk_team_policies"),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name="fk_team_policies_team_id"),
    )
    op.add_column("request_attempts", sa.Column("cause", sa.Text(), nullable=True))


def downgrade() -> None:
    """Undos that have ended are forgotten: the older version knows no such workflow."""
    refuse_while_there_are(op.get_bind(), UNDOS)
    forget_requests(op.get_bind(), "Compensation")
    op.drop_column("request_attempts", "cause")
    op.drop_table("team_policies")
    op.drop_index("ix_workflow_requests_undoes", table_name="workflow_requests")
    op.drop_constraint("fk_workflow_requests_undoes", "workflow_requests")
    op.drop_column("workflow_requests", "undoes")
