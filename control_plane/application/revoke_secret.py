"""A secret is revoked because somebody asks for its end."""

from __future__ import annotations

from control_plane.application.ports import Work
from control_plane.application.workflows.flow import Initiator
from control_plane.application.workflows.registry import flow_named
from control_plane.domain.requests import Request
from idp_kernel.workflows import WorkflowName


def revoke_secret(work: Work, initiator: Initiator, secret_id: str) -> Request:
    """The pending revocation; the secret is Suspended until it is Revoked.

    Raises as `SecretRevocation.launch` does.
    """
    return flow_named(WorkflowName.SECRET_REVOCATION).launch(work, initiator, secret_id)
