"""Every workflow that can be asked for, by name."""

from __future__ import annotations

from control_plane.application.workflows.appenv_decommissioning import AppEnvDecommissioning
from control_plane.application.workflows.appenv_provisioning import AppEnvProvisioning
from control_plane.application.workflows.application_decommissioning import (
    ApplicationDecommissioning,
)
from control_plane.application.workflows.application_onboarding import ApplicationOnboarding
from control_plane.application.workflows.compensation import Compensation
from control_plane.application.workflows.flow import Flow, UndoableFlow
from control_plane.application.workflows.secret_revocation import SecretRevocation
from control_plane.application.workflows.secret_rotation import SecretRotation
from control_plane.domain.requests import Request
from idp_kernel.errors import InvariantBroken
from idp_kernel.workflows import WorkflowName

_UNDOABLE: dict[WorkflowName, UndoableFlow] = {
    WorkflowName.APPLICATION_ONBOARDING: ApplicationOnboarding(),
    WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING: AppEnvProvisioning(),
}
COMPENSATION = Compensation(_UNDOABLE)
"""The flow that takes back what the others made."""
FLOWS: dict[WorkflowName, Flow] = {
    **_UNDOABLE,
    WorkflowName.APPLICATION_ENVIRONMENT_DECOMMISSIONING: AppEnvDecommissioning(),
    WorkflowName.SECRET_ROTATION: SecretRotation(),
    WorkflowName.SECRET_REVOCATION: SecretRevocation(),
    WorkflowName.APPLICATION_DECOMMISSIONING: ApplicationDecommissioning(),
    WorkflowName.COMPENSATION: COMPENSATION,
}


def flow_of(request: Request) -> Flow:
    """What the request's workflow does to the domain."""
    return flow_named(request.workflow)


def flow_named(name: WorkflowName) -> Flow:
    flow = FLOWS.get(name)
    if flow is None:
        raise InvariantBroken(f"{name} is not among the workflows that can be asked for")
    return flow
