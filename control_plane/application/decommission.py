"""Applications and their environments end because somebody asks for it."""

from __future__ import annotations

from control_plane.application.ports import Work
from control_plane.application.workflows.flow import Initiator
from control_plane.application.workflows.registry import flow_named
from control_plane.domain.requests import Request
from idp_kernel.workflows import WorkflowName


def decommission_environment(work: Work, initiator: Initiator, id_: str) -> Request:
    """The pending decommissioning of an application environment, which is Decommissioning until it
    is Retired.

    Raises as `AppEnvDecommissioning.launch` does.
    """
    flow = flow_named(WorkflowName.APPLICATION_ENVIRONMENT_DECOMMISSIONING)
    return flow.launch(work, initiator, id_)


def decommission_application(work: Work, initiator: Initiator, id_: str) -> Request:
    """The pending decommissioning of an application, which is Decommissioning until it is Archived.

    Raises as `ApplicationDecommissioning.launch` does.
    """
    return flow_named(WorkflowName.APPLICATION_DECOMMISSIONING).launch(work, initiator, id_)
