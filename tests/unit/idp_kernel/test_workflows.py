"""Names are closed sets, so no series can grow with traffic."""

from __future__ import annotations

from idp_kernel.workflows import (
    RESULT_OF_STATE,
    WORKFLOWS,
    RequestState,
    Step,
    WorkflowName,
    event_names,
    event_result,
)


def test_every_workflow_is_described_once_with_known_steps() -> None:
    assert set(WORKFLOWS) == set(WorkflowName)
    for workflow in WORKFLOWS.values():
        assert len(workflow.steps) == len(set(workflow.steps)), workflow.name
    assert {step for workflow in WORKFLOWS.values() for step in workflow.steps} == set(Step)


def test_every_end_has_a_result() -> None:
    open_states = {RequestState.PENDING, RequestState.RUNNING, RequestState.WAITING}
    assert set(RESULT_OF_STATE) == set(RequestState) - open_states


def test_only_a_failed_event_is_an_error() -> None:
    assert {name for name in event_names() if event_result(name) == "error"} == {
        workflow.failed_event for workflow in WORKFLOWS.values()
    }


def test_the_seed_s_names_are_there() -> None:
    assert {
        "workflow_appenv_provisioning_completed",
        "workflow_appenv_provisioning_failed",
        "application_created",
    } <= event_names()
