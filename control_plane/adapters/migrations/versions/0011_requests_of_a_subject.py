"""What was ever asked for a subject, and who holds it, is found without reading every request's
subjects.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"

NAME, TABLE = "ix_workflow_subjects_kind_subject_id", "workflow_subjects"


def upgrade() -> None:
    """An index more."""
    op.create_index(NAME, TABLE, ["kind", "subject_id"])


def downgrade() -> None:
    """The older version looks without it."""
    op.drop_index(NAME, TABLE)
