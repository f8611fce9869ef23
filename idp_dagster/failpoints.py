"""Every place in the workflow engine where a test may hold it still."""

from __future__ import annotations

from idp_kernel.workflows import WORKFLOWS, Step

AFTER_CLAIM = "workflow-engine.after_claim"
BEFORE_END_PHASE = "workflow-engine.before_end_phase"
"""The phase's last look has succeeded; the control plane does not know."""
AFTER_END_PHASE = "workflow-engine.after_end_phase"
"""The control plane has the request in its grace period; the run goes on."""


def before_call(step: Step) -> str:
    """The step is about to call outside."""
    return f"workflow-engine.{step}.before_call"


def after_call(step: Step) -> str:
    """The step has its answer; nobody has been told yet."""
    return f"workflow-engine.{step}.after_call"


_STEPS = dict.fromkeys(step for workflow in WORKFLOWS.values() for step in workflow.steps)
"""Each once, though several workflows have it."""

FAILPOINTS = (
    AFTER_CLAIM,
    *(place(step) for step in _STEPS for place in (before_call, after_call)),
    BEFORE_END_PHASE,
    AFTER_END_PHASE,
)
