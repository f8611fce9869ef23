"""When secrets are rotated and why, and what checks found last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from control_plane.adapters.downgrades import ROTATIONS, refuse_while_there_are

revision = "0003"
down_revision = "0002"

_SECRET_COLUMNS = (
    ("rotation_interval_seconds", sa.Integer()),
    ("rotation_grace_seconds", sa.Integer()),
    ("rotation_window", postgresql.JSONB(none_as_null=True, astext_type=sa.Text())),
    ("expires_at", sa.DateTime(timezone=True)),
    ("rotated_at", sa.DateTime(timezone=True)),
    ("next_rotation_at", sa.DateTime(timezone=True)),
    ("expiry_told_of_version", sa.Integer()),
)


def upgrade() -> None:
    op.add_column("secrets", sa.Column("created_at", sa.DateTime(timezone=True)))
    for name, type_ in _SECRET_COLUMNS:
        op.add_column("secrets", sa.Column(name, type_))
    op.add_column("secret_bindings", sa.Column("version", sa.Integer()))
    _date_what_is_there()
    op.alter_column("secrets", "created_at", nullable=False)
    active = sa.text("state = 'Active'")
    for column in ("next_rotation_at", "expires_at"):
        op.create_index(f"ix_secrets_{column}", "secrets", [column], postgresql_where=active)
    _create_rotation_tables()
    op.create_table(
        "check_results",
        sa.Column("check_name", sa.String(length=60), nullable=False),
        sa.Column("subject_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("expected", sa.Text(), nullable=False),
        sa.Column("found", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("check_name", "subject_id", name=op.f("pk_check_results")),
    )


def _date_what_is_there() -> None:
    """Nobody noted when a secret was made: it is as old as its environment, and rotated so."""
    op.execute(
        "UPDATE secrets SET created_at = application_environments.created_at"
        " FROM application_environments"
        " WHERE application_environments.id = secrets.application_environment_id"
    )
    op.execute(
        "UPDATE secrets SET rotated_at = created_at, next_rotation_at = created_at"
        " + CASE sensitivity WHEN 'high' THEN interval '30 days'"
        " WHEN 'medium' THEN interval '90 days' ELSE interval '180 days' END"
        " WHERE version IS NOT NULL"
    )
    op.execute(
        "UPDATE secret_bindings SET version = secrets.version"
        " FROM secrets WHERE secrets.id = secret_bindings.secret_id"
    )


def _create_rotation_tables() -> None:
    op.create_table(
        "rotation_ticks",
        sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("enqueued", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("put_off", sa.Integer(), nullable=False),
        sa.Column("acted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("scheduled_at", name=op.f("pk_rotation_ticks")),
    )
    op.create_index(op.f("ix_rotation_ticks_acted_at"), "rotation_ticks", ["acted_at"])
    op.create_table(
        "rotation_causes",
        sa.Column("event_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("type", sa.String(length=100), nullable=False),
        sa.Column("secret_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("request_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.ForeignKeyConstraint(
            ["secret_id"], ["secrets.id"], name=op.f("fk_rotation_causes_secret_id")
        ),
        sa.ForeignKeyConstraint(
            ["request_id"], ["workflow_requests.id"], name=op.f("fk_rotation_causes_request_id")
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_rotation_causes")),
    )
    op.create_index(op.f("ix_rotation_causes_secret_id"), "rotation_causes", ["secret_id"])
    op.create_index(
        "ix_rotation_causes_open",
        "rotation_causes",
        ["event_id"],
        postgresql_where=sa.text("settled_at IS NULL"),
    )


def downgrade() -> None:
    refuse_while_there_are(op.get_bind(), ROTATIONS)
    op.drop_table("check_results")
    op.drop_table("rotation_causes")
    op.drop_table("rotation_ticks")
    for column in ("expires_at", "next_rotation_at"):
        op.drop_index(f"ix_secrets_{column}", table_name="secrets")
    op.drop_column("secret_bindings", "version")
    for name, _ in reversed(_SECRET_COLUMNS):
        op.drop_column("secrets", name)
    op.drop_column("secrets", "created_at")
