"""What the metrics projection tells of downstream errors and of secrets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_IN_USE = sa.text("state IN ('Active', 'Rotating')")


def upgrade() -> None:
    op.create_table(
        "projection_downstream_errors",
        sa.Column("target", sa.String(length=60), nullable=False),
        sa.Column("code", sa.String(length=60), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "target", "code", "status", name=op.f("pk_projection_downstream_errors")
        ),
    )
    for column in ("rotated_at", "expires_at"):
        op.create_index(
            f"ix_secrets_in_use_{column}",
            "secrets",
            ["sensitivity", column],
            postgresql_where=_IN_USE,
        )


def downgrade() -> None:
    for column in ("expires_at", "rotated_at"):
        op.drop_index(f"ix_secrets_in_use_{column}", table_name="secrets")
    op.drop_table("projection_downstream_errors")
