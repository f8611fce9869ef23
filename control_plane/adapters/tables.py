"""Every table of the control plane. The migrations make the same; a test compares the two.

No table holds a secret value: tokens as hashes, secrets as references. Journals (events, audit,
projections) have no foreign keys, so writing them never waits for a row that a command locked.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from idp_kernel.tokens import JTI_MAX_LENGTH

METADATA: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _id(name: str = "id", *, primary_key: bool = True) -> Column[str]:
    return Column(name, Uuid(as_uuid=False), primary_key=primary_key, nullable=False)


def _reference(name: str, target: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Uuid(as_uuid=False), ForeignKey(target), nullable=nullable)


def _moment(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Text, nullable=nullable)


# ── who ──────────────────────────────────────────────────────────────────────────────────────

principals = Table(
    "principals",
    METADATA,
    Column("name", String(80), primary_key=True),
    Column("platform_admin", Boolean, nullable=False),
    _moment("created_at"),
)

tokens = Table(
    "tokens",
    METADATA,
    _id(),
    Column("principal", String(80), ForeignKey("principals.name"), nullable=False, index=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    _moment("created_at"),
    _moment("expires_at"),
    _moment("revoked_at", nullable=True),
    _moment("last_used_at", nullable=True),
)

used_assertions = Table(
    "used_assertions",
    METADATA,
    Column("jti", String(JTI_MAX_LENGTH), primary_key=True),
    Column("expires_at", DateTime(timezone=True), nullable=False, index=True),
)

teams = Table(
    "teams",
    METADATA,
    _id(),
    Column("slug", String(40), nullable=False, unique=True),
    _text("display_name"),
    Column("state", String(20), nullable=False),
    _moment("created_at"),
)

memberships = Table(
    "memberships",
    METADATA,
    _reference("team_id", "teams.id"),
    Column("principal", String(80), ForeignKey("principals.name"), nullable=False, index=True),
    Column("role", String(20), nullable=False),
    PrimaryKeyConstraint("team_id", "principal"),
)

team_limits = Table(
    "team_limits",
    METADATA,
    Column("team_id", Uuid(as_uuid=False), ForeignKey("teams.id"), primary_key=True),
    Column("max_applications", Integer, nullable=True),
    Column("max_application_environments", Integer, nullable=True),
    Column("max_active_requests", Integer, nullable=True),
)

team_policies = Table(
    "team_policies",
    METADATA,
    Column("team_id", Uuid(as_uuid=False), ForeignKey("teams.id"), primary_key=True),
    Column("undo_on_failure", Boolean, nullable=False),
    Column("requires_approval", Boolean, nullable=False),
)

# ── what ─────────────────────────────────────────────────────────────────────────────────────

environments = Table(
    "environments",
    METADATA,
    _id(),
    Column("slug", String(40), nullable=False, unique=True),
    _text("description"),
    Column("state", String(20), nullable=False),
    _moment("created_at"),
)

applications = Table(
    "applications",
    METADATA,
    _id(),
    _reference("team_id", "teams.id"),
    Column("slug", String(40), nullable=False),
    _text("description"),
    Column("state", String(20), nullable=False),
    _moment("created_at"),
    UniqueConstraint("team_id", "slug"),
)

application_repositories = Table(
    "application_repositories",
    METADATA,
    _id(),
    _reference("application_id", "applications.id"),
    Column("kind", String(20), nullable=False),
    Column("owner", String(40), nullable=False),
    Column("name", String(100), nullable=False),
    _text("url", nullable=True),
    Column("state", String(20), nullable=False),
    UniqueConstraint("application_id", "kind"),
    UniqueConstraint("owner", "name"),
)

gitops_integrations = Table(
    "gitops_integrations",
    METADATA,
    _id(),
    Column(
        "application_id",
        Uuid(as_uuid=False),
        ForeignKey("applications.id"),
        nullable=False,
        unique=True,
    ),
    _reference("repository_id", "application_repositories.id"),
    Column("state", String(20), nullable=False),
)

application_environments = Table(
    "application_environments",
    METADATA,
    _id(),
    _reference("application_id", "applications.id"),
    _reference("environment_id", "environments.id"),
    Column("state", String(20), nullable=False),
    Column("revision", String(40), nullable=True),
    _moment("created_at"),
    UniqueConstraint("application_id", "environment_id"),
)

appenv_repositories = Table(
    "appenv_repositories",
    METADATA,
    _id(),
    Column(
        "application_environment_id",
        Uuid(as_uuid=False),
        ForeignKey("application_environments.id"),
        nullable=False,
        unique=True,
    ),
    Column("owner", String(40), nullable=False),
    Column("name", String(100), nullable=False),
    _text("url", nullable=True),
    Column("state", String(20), nullable=False),
    UniqueConstraint("owner", "name"),
)

secrets = Table(
    "secrets",
    METADATA,
    _id(),
    _reference("application_environment_id", "application_environments.id"),
    Column("name", String(40), nullable=False),
    Column("purpose", String(40), nullable=False),
    Column("sensitivity", String(20), nullable=False),
    Column("issuer", String(20), nullable=False, server_default="openbao"),
    Column("state", String(20), nullable=False),
    _text("store_path", nullable=True),
    Column("version", Integer, nullable=True),
    _moment("created_at"),
    Column("rotation_interval_seconds", Integer, nullable=True),
    Column("rotation_grace_seconds", Integer, nullable=True),
    Column("rotation_window", JSONB(none_as_null=True), nullable=True),
    _moment("expires_at", nullable=True),
    _moment("rotated_at", nullable=True),
    _moment("next_rotation_at", nullable=True),
    Column("expiry_told_of_version", Integer, nullable=True),
    UniqueConstraint("application_environment_id", "name"),
    Index(
        "ix_secrets_next_rotation_at",
        "next_rotation_at",
        postgresql_where=text("state = 'Active'"),
    ),
    Index(
        "ix_secrets_expires_at",
        "expires_at",
        postgresql_where=text("state = 'Active'"),
    ),
    Index(
        "ix_secrets_in_use_rotated_at",
        "sensitivity",
        "rotated_at",
        postgresql_where=text("state IN ('Active', 'Rotating')"),
    ),
    Index(
        "ix_secrets_in_use_expires_at",
        "sensitivity",
        "expires_at",
        postgresql_where=text("state IN ('Active', 'Rotating')"),
    ),
)

secret_bindings = Table(
    "secret_bindings",
    METADATA,
    _id(),
    _reference("secret_id", "secrets.id"),
    _reference("application_environment_id", "application_environments.id"),
    Column("state", String(20), nullable=False),
    Column("version", Integer, nullable=True),
    UniqueConstraint("secret_id", "application_environment_id"),
    Index("ix_secret_bindings_application_environment_id", "application_environment_id"),
)

# ── workflow requests ────────────────────────────────────────────────────────────────────────

workflow_requests = Table(
    "workflow_requests",
    METADATA,
    _id(),
    Column("workflow", String(60), nullable=False),
    Column("version", Integer, nullable=False),
    _reference("team_id", "teams.id"),
    _reference("application_id", "applications.id"),
    _reference("application_environment_id", "application_environments.id", nullable=True),
    _reference("secret_id", "secrets.id", nullable=True),
    _text("requested_by"),
    _text("reason"),
    Column("traceparent", String(60), nullable=True),
    Column("desired_state", JSONB, nullable=False),
    Column("state", String(20), nullable=False),
    Column("phase", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("used_attempts", Integer, nullable=False),
    Column("setbacks", Integer, nullable=False),
    Column("run_id", String(64), nullable=True),
    _moment("lease_expires_at", nullable=True),
    Column("cancel_requested", Boolean, nullable=False),
    Column("waiting_reason", String(60), nullable=True),
    _moment("waiting_since", nullable=True),
    _moment("waiting_until", nullable=True),
    Column("waited_seconds", Float, nullable=False),
    Column("provider_waited_seconds", Float, nullable=False),
    Column("last_seen", Text, nullable=False),
    _moment("not_before", nullable=True),
    Column("offers", Integer, nullable=False),
    _moment("offer_again_at", nullable=True),
    _moment("created_at"),
    _moment("started_at"),
    _moment("pending_since"),
    _moment("deadline_at"),
    _moment("first_step_at", nullable=True),
    _moment("ended_at", nullable=True),
    Column("error", JSONB(none_as_null=True), nullable=True),
    _text("left_behind", nullable=True),
    _reference("undoes", "workflow_requests.id", nullable=True),
    Index("ix_workflow_requests_undoes", "undoes", postgresql_where=text("undoes IS NOT NULL")),
    Index("ix_workflow_requests_team_id_id", "team_id", "id"),
    Index("ix_workflow_requests_application_id", "application_id"),
    Index("ix_workflow_requests_application_environment_id", "application_environment_id"),
    Index("ix_workflow_requests_secret_id", "secret_id"),
    Index(
        "ix_workflow_requests_open",
        "state",
        "created_at",
        postgresql_where=text("state IN ('pending', 'running', 'waiting')"),
    ),
)

workflow_subjects = Table(
    "workflow_subjects",
    METADATA,
    _reference("request_id", "workflow_requests.id"),
    Column("kind", String(40), nullable=False),
    _id("subject_id", primary_key=False),
    Column("active", Boolean, nullable=False),
    PrimaryKeyConstraint("request_id", "kind", "subject_id"),
    Index("ix_workflow_subjects_kind_subject_id", "kind", "subject_id"),
    Index(
        "uq_workflow_subjects_active",
        "kind",
        "subject_id",
        unique=True,
        postgresql_where=text("active"),
    ),
)

request_attempts = Table(
    "request_attempts",
    METADATA,
    _reference("request_id", "workflow_requests.id"),
    Column("attempt", Integer, nullable=False),
    Column("run_id", String(64), nullable=False, unique=True),
    Column("phase", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    _moment("claimed_at"),
    _moment("ended_at", nullable=True),
    Column("ending", String(20), nullable=True),
    _text("cause", nullable=True),
    PrimaryKeyConstraint("request_id", "attempt"),
)

request_steps = Table(
    "request_steps",
    METADATA,
    _reference("request_id", "workflow_requests.id"),
    Column("attempt", Integer, nullable=False),
    Column("step", String(80), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("retries", Integer, nullable=False),
    _moment("started_at"),
    _moment("ended_at", nullable=True),
    Column("error", JSONB(none_as_null=True), nullable=True),
    Column("result", JSONB(none_as_null=True), nullable=True),
    PrimaryKeyConstraint("request_id", "attempt", "step"),
)

lost_runs = Table(
    "lost_runs",
    METADATA,
    Column("run_id", String(64), primary_key=True),
    Column(
        "request_id",
        Uuid(as_uuid=False),
        ForeignKey("workflow_requests.id"),
        nullable=False,
        index=True,
    ),
    Column("attempt", Integer, nullable=False),
    _text("cause"),
    _moment("lost_at"),
)

rotation_ticks = Table(
    "rotation_ticks",
    METADATA,
    Column("scheduled_at", DateTime(timezone=True), primary_key=True),
    Column("enqueued", JSONB, nullable=False),
    Column("put_off", Integer, nullable=False),
    Column("acted_at", DateTime(timezone=True), nullable=False, index=True),
)

rotation_causes = Table(
    "rotation_causes",
    METADATA,
    _id("event_id"),
    Column("type", String(100), nullable=False),
    Column("secret_id", Uuid(as_uuid=False), ForeignKey("secrets.id"), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    _moment("raised_at"),
    _moment("settled_at", nullable=True),
    _reference("request_id", "workflow_requests.id", nullable=True),
    Index(
        "ix_rotation_causes_open",
        "event_id",
        postgresql_where=text("settled_at IS NULL"),
    ),
)

check_results = Table(
    "check_results",
    METADATA,
    Column("check_name", String(60), nullable=False),
    _id("subject_id", primary_key=False),
    Column("passed", Boolean, nullable=False),
    _text("expected"),
    _text("found"),
    _moment("seen_at"),
    PrimaryKeyConstraint("check_name", "subject_id"),
)

platform_standing = Table(
    "platform_standing",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("draining", Boolean, nullable=False),
)

# ── journals ─────────────────────────────────────────────────────────────────────────────────

outbox_events = Table(
    "outbox_events",
    METADATA,
    Column("sequence", BigInteger, Identity(always=True), primary_key=True),
    _id(primary_key=False),
    Column("type", String(100), nullable=False),
    _moment("occurred_at"),
    Column("team_id", Uuid(as_uuid=False), nullable=True),
    Column("subject", String(120), nullable=False),
    Column("request_id", Uuid(as_uuid=False), nullable=True),
    _text("actor"),
    Column("data", JSONB, nullable=False),
    Index("ix_outbox_events_team_id_sequence", "team_id", "sequence"),
    Index("ix_outbox_events_request_id_sequence", "request_id", "sequence"),
)

audit_log = Table(
    "audit_log",
    METADATA,
    Column("sequence", BigInteger, Identity(always=True), primary_key=True),
    _moment("occurred_at"),
    _text("actor"),
    Column("action", String(100), nullable=False),
    Column("subject", String(120), nullable=False),
    _text("reason"),
)

idempotency_keys = Table(
    "idempotency_keys",
    METADATA,
    Column("principal", String(80), nullable=False),
    Column("method", String(10), nullable=False),
    _text("path"),
    Column("key", String(200), nullable=False),
    Column("body_hash", LargeBinary, nullable=False),
    Column("status", Integer, nullable=True),
    _text("body", nullable=True),
    _text("location", nullable=True),
    Column("created_at", DateTime(timezone=True), nullable=False, index=True),
    PrimaryKeyConstraint("principal", "method", "path", "key"),
)

projection_counters = Table(
    "projection_counters",
    METADATA,
    Column("metric", String(60), nullable=False),
    Column("label", String(100), nullable=False),
    Column("value", BigInteger, nullable=False),
    PrimaryKeyConstraint("metric", "label"),
)

projection_downstream_errors = Table(
    "projection_downstream_errors",
    METADATA,
    Column("target", String(60), nullable=False),
    Column("code", String(60), nullable=False),
    Column("status", String(20), nullable=False),
    Column("value", BigInteger, nullable=False),
    PrimaryKeyConstraint("target", "code", "status"),
)

projection_durations = Table(
    "projection_durations",
    METADATA,
    Column("workflow", String(60), nullable=False),
    Column("result", String(20), nullable=False),
    Column("bucket", Integer, nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("sum_seconds", Float, nullable=False),
    PrimaryKeyConstraint("workflow", "result", "bucket"),
)
