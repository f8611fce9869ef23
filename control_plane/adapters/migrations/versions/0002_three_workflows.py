"""Repositories of applications, secrets with issuers, and requests about either."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from control_plane.adapters.downgrades import (
    ONBOARDINGS,
    OTHER_ISSUERS,
    ROTATIONS,
    refuse_while_there_are,
)

revision = "0002"
down_revision = "0001"

_OLD, _NEW = "deployment_repositories", "appenv_repositories"
_CONSTRAINTS = (
    "pk_{}",
    "fk_{}_application_environment_id",
    "uq_{}_application_environment_id",
    "uq_{}_owner_name",
)


def upgrade() -> None:
    _rename(_OLD, _NEW)
    op.add_column(
        "secrets",
        sa.Column("issuer", sa.String(length=20), server_default="openbao", nullable=False),
    )
    op.add_column("workflow_requests", sa.Column("secret_id", sa.Uuid(as_uuid=False)))
    op.create_foreign_key(
        op.f("fk_workflow_requests_secret_id"),
        "workflow_requests",
        "secrets",
        ["secret_id"],
        ["id"],
    )
    _create_application_repositories()
    _create_gitops_integrations()
    op.create_index("ix_workflow_requests_application_id", "workflow_requests", ["application_id"])
    op.create_index("ix_workflow_requests_secret_id", "workflow_requests", ["secret_id"])


def downgrade() -> None:
    refuse_while_there_are(op.get_bind(), ROTATIONS, ONBOARDINGS, OTHER_ISSUERS)
    op.drop_index("ix_workflow_requests_secret_id", table_name="workflow_requests")
    op.drop_index("ix_workflow_requests_application_id", table_name="workflow_requests")
    op.drop_table("gitops_integrations")
    op.drop_table("application_repositories")
    op.drop_column("workflow_requests", "secret_id")
    op.drop_column("secrets", "issuer")
    _rename(_NEW, _OLD)


def _create_application_repositories() -> None:
    op.create_table(
        "application_repositories",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("application_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("owner", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(
            ["application_id"],
            ["applications.id"],
            name=op.f("fk_application_repositories_application_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_application_repositories")),
        sa.UniqueConstraint(
            "application_id", "kind", name=op.f("uq_application_repositories_application_id_kind")
        ),
        sa.UniqueConstraint("owner", "name", name=op.f("uq_application_repositories_owner_name")),
    )


def _create_gitops_integrations() -> None:
    op.create_table(
        "gitops_integrations",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("application_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("repository_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(
            ["application_id"],
            ["applications.id"],
            name=op.f("fk_gitops_integrations_application_id"),
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["application_repositories.id"],
            name=op.f("fk_gitops_integrations_repository_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gitops_integrations")),
        sa.UniqueConstraint("application_id", name=op.f("uq_gitops_integrations_application_id")),
    )


def _rename(old: str, new: str) -> None:
    op.rename_table(old, new)
    for name in _CONSTRAINTS:
        op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT {name.format(old)} TO {name.format(new)}")
