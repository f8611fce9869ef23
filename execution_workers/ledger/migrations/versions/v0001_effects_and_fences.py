"""Effects and fences."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
SCHEMA = "ledger"


def upgrade() -> None:
    """The tables of `execution_workers.ledger.tables`, as they were at first."""
    _create_request_fences()
    _create_effects()
    op.create_index(
        "effects_live_by_item",
        "effects",
        ["item"],
        schema=SCHEMA,
        postgresql_where=sa.text("undone_at IS NULL"),
    )


def _create_request_fences() -> None:
    op.create_table(
        "request_fences",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("fence", sa.BigInteger, nullable=False, comment="the highest seen"),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        schema=SCHEMA,
    )


def _create_effects() -> None:
    op.create_table(
        "effects",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("generation", sa.Integer, primary_key=True),
        sa.Column("step", sa.Text, primary_key=True),
        sa.Column("item", sa.Text, primary_key=True),
        sa.Column(
            "wanted_digest", sa.Text, nullable=False, comment="SHA-256 of what was asked for"
        ),
        sa.Column("effect", sa.Text, nullable=False, comment="created or adopted"),
        sa.Column(
            "created_by", sa.Text, nullable=False, comment="the request in the provider's marker"
        ),
        sa.Column("provider_references", postgresql.JSONB, nullable=False),
        sa.Column("event", sa.Text, comment="told with every answer that has this effect"),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undone_at", sa.DateTime(timezone=True), comment="the request has let go of it"),
        schema=SCHEMA,
        comment="successful effects only; a failure leaves no row",
    )
