"""Workflows that end things for good; no table changes, but the way back has to know them."""

from __future__ import annotations

from alembic import op

from control_plane.adapters.downgrades import (
    ENDING_WORKFLOWS,
    ENDINGS,
    forget_requests,
    refuse_while_there_are,
)

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """The states they lead to were there before."""


def downgrade() -> None:
    """Requests that have ended are forgotten; what they ended stays ended."""
    refuse_while_there_are(op.get_bind(), ENDINGS)
    for workflow in ENDING_WORKFLOWS:
        forget_requests(op.get_bind(), workflow)
