"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.String(length=100), nullable=False),
        sa.Column("subject", sa.String(length=120), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_log")),
    )
    op.create_table(
        "environments",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("slug", sa.String(length=40), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environments")),
        sa.UniqueConstraint("slug", name=op.f("uq_environments_slug")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("method", sa.String(length=10), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("location", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "principal", "method", "path", "key", name=op.f("pk_idempotency_keys")
        ),
    )
    op.create_index(
        op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"], unique=False
    )
    op.create_table(
        "outbox_events",
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("type", sa.String(length=100), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("team_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("subject", sa.String(length=120), nullable=False),
        sa.Column("request_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_outbox_events")),
    )
    op.create_index(
        "ix_outbox_events_request_id_sequence",
        "outbox_events",
        ["request_id", "sequence"],
        unique=False,
    )
    op.create_index(
        "ix_outbox_events_team_id_sequence", "outbox_events", ["team_id", "sequence"], unique=False
    )
    op.create_table(
        "platform_standing",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("draining", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_platform_standing")),
    )
    op.create_table(
        "principals",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("platform_admin", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_principals")),
    )
    op.create_table(
        "projection_counters",
        sa.Column("metric", sa.String(length=60), nullable=False),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("metric", "label", name=op.f("pk_projection_counters")),
    )
    op.create_table(
        "projection_durations",
        sa.Column("workflow", sa.String(length=60), nullable=False),
        sa.Column("result", sa.String(length=20), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("sum_seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint(
            "workflow", "result", "bucket", name=op.f("pk_projection_durations")
        ),
    )
    op.create_table(
        "teams",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("slug", sa.String(length=40), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teams")),
        sa.UniqueConstraint("slug", name=op.f("uq_teams_slug")),
    )
    op.create_table(
        "used_assertions",
        sa.Column("jti", sa.String(length=100), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("jti", name=op.f("pk_used_assertions")),
    )
    op.create_index(
        op.f("ix_used_assertions_expires_at"), "used_assertions", ["expires_at"], unique=False
    )
    op.create_table(
        "applications",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("team_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("slug", sa.String(length=40), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_applications_team_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_applications")),
        sa.UniqueConstraint("team_id", "slug", name=op.f("uq_applications_team_id_slug")),
    )
    op.create_table(
        "memberships",
        sa.Column("team_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(
            ["principal"], ["principals.name"], name=op.f("fk_memberships_principal")
        ),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_memberships_team_id")),
        sa.PrimaryKeyConstraint("team_id", "principal", name=op.f("pk_memberships")),
    )
    op.create_index(op.f("ix_memberships_principal"), "memberships", ["principal"], unique=False)
    op.create_table(
        "tokens",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["principal"], ["principals.name"], name=op.f("fk_tokens_principal")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_tokens_token_hash")),
    )
    op.create_index(op.f("ix_tokens_principal"), "tokens", ["principal"], unique=False)
    op.create_table(
        "application_environments",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("application_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("environment_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("revision", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["application_id"],
            ["applications.id"],
            name=op.f("fk_application_environments_application_id"),
        ),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_application_environments_environment_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_application_environments")),
        sa.UniqueConstraint(
            "application_id",
            "environment_id",
            name=op.f("uq_application_environments_application_id_environment_id"),
        ),
    )
    op.create_table(
        "deployment_repositories",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("application_environment_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("owner", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(
            ["application_environment_id"],
            ["application_environments.id"],
            name=op.f("fk_deployment_repositories_application_environment_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployment_repositories")),
        sa.UniqueConstraint(
            "application_environment_id",
            name=op.f("uq_deployment_repositories_application_environment_id"),
        ),
        sa.UniqueConstraint("owner", "name", name=op.f("uq_deployment_repositories_owner_name")),
    )
    op.create_table(
        "secrets",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("application_environment_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("purpose", sa.String(length=40), nullable=False),
        sa.Column("sensitivity", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("store_path", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["application_environment_id"],
            ["application_environments.id"],
            name=op.f("fk_secrets_application_environment_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secrets")),
        sa.UniqueConstraint(
            "application_environment_id",
            "name",
            name=op.f("uq_secrets_application_environment_id_name"),
        ),
    )
    op.create_table(
        "workflow_requests",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("workflow", sa.String(length=60), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("team_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("application_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("application_environment_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("traceparent", sa.String(length=60), nullable=True),
        sa.Column("desired_state", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("phase", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("used_attempts", sa.Integer(), nullable=False),
        sa.Column("setbacks", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("waiting_reason", sa.String(length=60), nullable=True),
        sa.Column("waiting_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("waiting_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("waited_seconds", sa.Float(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("offers", sa.Integer(), nullable=False),
        sa.Column("offer_again_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pending_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_step_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "error", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.ForeignKeyConstraint(
            ["application_environment_id"],
            ["application_environments.id"],
            name=op.f("fk_workflow_requests_application_environment_id"),
        ),
        sa.ForeignKeyConstraint(
            ["application_id"],
            ["applications.id"],
            name=op.f("fk_workflow_requests_application_id"),
        ),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_workflow_requests_team_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workflow_requests")),
    )
    op.create_index(
        "ix_workflow_requests_application_environment_id",
        "workflow_requests",
        ["application_environment_id"],
        unique=False,
    )
    op.create_index(
        "ix_workflow_requests_open",
        "workflow_requests",
        ["state", "created_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('pending', 'running', 'waiting')"),
    )
    op.create_index(
        "ix_workflow_requests_team_id_id", "workflow_requests", ["team_id", "id"], unique=False
    )
    op.create_table(
        "lost_runs",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("lost_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["workflow_requests.id"], name=op.f("fk_lost_runs_request_id")
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_lost_runs")),
    )
    op.create_index(op.f("ix_lost_runs_request_id"), "lost_runs", ["request_id"], unique=False)
    op.create_table(
        "request_attempts",
        sa.Column("request_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("phase", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ending", sa.String(length=20), nullable=True),
        sa.ForeignKeyConstraint(
            ["request_id"], ["workflow_requests.id"], name=op.f("fk_request_attempts_request_id")
        ),
        sa.PrimaryKeyConstraint("request_id", "attempt", name=op.f("pk_request_attempts")),
        sa.UniqueConstraint("run_id", name=op.f("uq_request_attempts_run_id")),
    )
    op.create_table(
        "request_steps",
        sa.Column("request_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(length=80), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "error", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "result", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.ForeignKeyConstraint(
            ["request_id"], ["workflow_requests.id"], name=op.f("fk_request_steps_request_id")
        ),
        sa.PrimaryKeyConstraint("request_id", "attempt", "step", name=op.f("pk_request_steps")),
    )
    op.create_table(
        "secret_bindings",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("secret_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("application_environment_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(
            ["application_environment_id"],
            ["application_environments.id"],
            name=op.f("fk_secret_bindings_application_environment_id"),
        ),
        sa.ForeignKeyConstraint(
            ["secret_id"], ["secrets.id"], name=op.f("fk_secret_bindings_secret_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secret_bindings")),
        sa.UniqueConstraint(
            "secret_id",
            "application_environment_id",
            name=op.f("uq_secret_bindings_secret_id_application_environment_id"),
        ),
    )
    op.create_index(
        "ix_secret_bindings_application_environment_id",
        "secret_bindings",
        ["application_environment_id"],
        unique=False,
    )
    op.create_table(
        "workflow_subjects",
        sa.Column("request_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("subject_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["workflow_requests.id"], name=op.f("fk_workflow_subjects_request_id")
        ),
        sa.PrimaryKeyConstraint(
            "request_id", "kind", "subject_id", name=op.f("pk_workflow_subjects")
        ),
    )
    op.create_index(
        "uq_workflow_subjects_active",
        "workflow_subjects",
        ["kind", "subject_id"],
        unique=True,
        postgresql_where=sa.text("active"),
    )


def downgrade() -> None:
    op.drop_index(
        "uq_workflow_subjects_active",
        table_name="workflow_subjects",
        postgresql_where=sa.text("active"),
    )
    op.drop_table("workflow_subjects")
    op.drop_index("ix_secret_bindings_application_environment_id", table_name="secret_bindings")
    op.drop_table("secret_bindings")
    op.drop_table("request_steps")
    op.drop_table("request_attempts")
    op.drop_index(op.f("ix_lost_runs_request_id"), table_name="lost_runs")
    op.drop_table("lost_runs")
    op.drop_index("ix_workflow_requests_team_id_id", table_name="workflow_requests")
    op.drop_index(
        "ix_workflow_requests_open",
        table_name="workflow_requests",
        postgresql_where=sa.text("state IN ('pending', 'running', 'waiting')"),
    )
    op.drop_index("ix_workflow_requests_application_environment_id", table_name="workflow_requests")
    op.drop_table("workflow_requests")
    op.drop_table("secrets")
    op.drop_table("deployment_repositories")
    op.drop_table("application_environments")
    op.drop_index(op.f("ix_tokens_principal"), table_name="tokens")
    op.drop_table("tokens")
    op.drop_index(op.f("ix_memberships_principal"), table_name="memberships")
    op.drop_table("memberships")
    op.drop_table("applications")
    op.drop_index(op.f("ix_used_assertions_expires_at"), table_name="used_assertions")
    op.drop_table("used_assertions")
    op.drop_table("teams")
    op.drop_table("projection_durations")
    op.drop_table("projection_counters")
    op.drop_table("principals")
    op.drop_table("platform_standing")
    op.drop_index("ix_outbox_events_team_id_sequence", table_name="outbox_events")
    op.drop_index("ix_outbox_events_request_id_sequence", table_name="outbox_events")
    op.drop_table("outbox_events")
    op.drop_index(op.f("ix_idempotency_keys_created_at"), table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_table("environments")
    op.drop_table("audit_log")
