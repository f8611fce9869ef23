"""Tells the control plane how each step ended. Hooks tell; they repair nothing.

They run in the run's process once a step has ended for good, never for a retry and never after a
kill. A hook that raises fails nothing: finalize sends what it did not tell.
"""

from __future__ import annotations

from dagster import HookContext, failure_hook, success_hook

from idp_dagster.policies import step_error
from idp_kernel.workflows import Step

_NEEDS = {"control_plane"}


@success_hook(required_resource_keys=_NEEDS)
def tell_step_succeeded(context: HookContext) -> None:
    """Posts what the step achieved."""
    context.resources.control_plane.tell(Step(context.op.name), None)


@failure_hook(required_resource_keys=_NEEDS)
def tell_step_failed(context: HookContext) -> None:
    """Posts why the step failed."""
    context.resources.control_plane.tell(Step(context.op.name), step_error(context.op_exception))
