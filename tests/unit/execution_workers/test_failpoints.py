"""The list of failpoints is complete: a test that walks it walks all there are."""

from __future__ import annotations

from execution_workers import failpoints
from execution_workers.failpoints import (
    EFFECT_STEPS,
    FAILPOINTS,
    after_provider,
    after_undo,
)
from idp_kernel.workflows import UNDOABLE_STEPS, WORKFLOWS, Step

PROBES = {
    Step.VALIDATE_APPLICATION,
    Step.VERIFY_GITOPS_RECONCILIATION,
    Step.VALIDATE_ROTATION,
    Step.VERIFY_NEW_CREDENTIAL,
    Step.CONFIRM_CONSUMERS,
    Step.RELEASE_CONSUMERS,
    Step.VERIFY_SECRETS_ENDED,
    Step.VERIFY_NOTHING_RECONCILED,
    Step.VERIFY_APPLICATION_ENDED,
    Step.VERIFY_NOTHING_LEFT,
}
OF_OTHERS_EFFECTS = {Step.STOP_UNDONE_REQUEST, Step.UNDO_EFFECTS}
"""They speak for the steps that they undo."""
OF_THE_CONTROL_PLANE = {
    Step.DECLARE_APPLICATION_ENVIRONMENTS,
    Step.FINALIZE_APPLICATION_ONBOARDING,
    Step.FINALIZE_APPLICATION_ENVIRONMENT_PROVISIONING,
    Step.FINALIZE_SECRET_ROTATION,
    Step.FINALIZE_SECRET_REVOCATION,
    Step.FINALIZE_APPLICATION_ENVIRONMENT_DECOMMISSIONING,
    Step.FINALIZE_APPLICATION_DECOMMISSIONING,
    Step.FINALIZE_COMPENSATION,
}


def test_every_step_with_an_effect_has_its_failpoint() -> None:
    steps = {step for workflow in WORKFLOWS.values() for step in workflow.steps}
    assert set(EFFECT_STEPS) == steps - PROBES - OF_THE_CONTROL_PLANE - OF_OTHERS_EFFECTS
    assert {after_provider(step) for step in EFFECT_STEPS} <= set(FAILPOINTS)


def test_every_step_but_those_of_rotations_and_endings_can_be_undone() -> None:
    assert set(EFFECT_STEPS) - UNDOABLE_STEPS == {
        Step.ISSUE_NEW_CREDENTIAL,
        Step.UPDATE_SECRET_BINDINGS,
        Step.RETIRE_OLD_CREDENTIAL,
        Step.REMOVE_SECRET_BINDINGS,
        Step.END_CREDENTIALS,
        Step.ARCHIVE_ENVIRONMENT_REPOSITORY,
        Step.ARCHIVE_APPLICATION_REPOSITORIES,
    }
    assert {after_undo(step) for step in UNDOABLE_STEPS} <= set(FAILPOINTS)


def test_every_place_is_listed() -> None:
    named = {value for value in vars(failpoints).values() if isinstance(value, str)}
    assert {each for each in named if each.startswith("execution-workers.")} <= set(FAILPOINTS)


def test_names_are_unique_and_of_this_process() -> None:
    assert len(set(FAILPOINTS)) == len(FAILPOINTS)
    assert all(name.startswith("execution-workers.") for name in FAILPOINTS)
