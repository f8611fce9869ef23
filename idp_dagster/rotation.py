"""What the later steps of a rotation take from the outcomes of its earlier ones."""

from __future__ import annotations

from idp_dagster.ports import ControlPlane
from idp_kernel.wire.engine import RotationDesiredState
from idp_kernel.workflows import Step


def credential_version(control_plane: ControlPlane) -> int:
    """The version that `issue_new_credential` wrote."""
    return _issued(control_plane, "version")


def replaced_version(control_plane: ControlPlane) -> int:
    """The version that the bindings pinned before."""
    return _issued(control_plane, "replacesVersion")


def moved_revisions(control_plane: ControlPlane) -> dict[str, str]:
    """Binding id to the commit by which `update_secret_bindings` moved it."""
    moved = control_plane.outcomes[Step.UPDATE_SECRET_BINDINGS]
    return {
        binding.binding_id: str(moved.reference(f"binding/{binding.binding_id}", "revision"))
        for binding in control_plane.claim.wanted(RotationDesiredState).bindings
    }


def _issued(control_plane: ControlPlane, key: str) -> int:
    secret_id = control_plane.claim.wanted(RotationDesiredState).secret.secret_id
    issued = control_plane.outcomes[Step.ISSUE_NEW_CREDENTIAL]
    return int(issued.reference(f"credential/{secret_id}", key))
