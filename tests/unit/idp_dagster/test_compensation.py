"""The compensation job on fakes: newest first, repeated, failing at every step."""

from __future__ import annotations

import pytest
from dagster import ExecuteInProcessResult

from idp_dagster.jobs.compensation import compensation, compensation_steps
from idp_dagster.resources.workers import UNDO_PATHS
from idp_dagster.undo import undo_body
from idp_kernel.wire.engine import (
    AppEnvDesiredState,
    CompensationDesiredState,
    UndoneDesiredState,
)
from idp_kernel.wire.worker import (
    CreateSecretBindings,
    EnsureRepositories,
    ProtectBranches,
    VerifyUndone,
)
from idp_kernel.workflows import COMPENSATION, UNDOABLE_STEPS, Step, WaitingReason
from tests.unit.idp_dagster.fakes import (
    FakeControlPlane,
    FakeWorkers,
    claim,
    compensation_state,
    desired_state,
    onboarding_state,
)
from tests.unit.idp_dagster.running import QUICK, run_steps

STEPS = list(COMPENSATION.steps)


@pytest.fixture
def control_plane() -> FakeControlPlane:
    return FakeControlPlane(claim(wanted=compensation_state()))


def carry_out(
    control_plane: FakeControlPlane,
    workers: FakeWorkers,
    selection: list[str] | None = None,
    **patience: float,
) -> ExecuteInProcessResult:
    is_looking = selection is None or STEPS[3] not in (each.rstrip("*") for each in selection)
    ops = {str(Step.VERIFY_NOTHING_LEFT): {**QUICK, **patience}} if is_looking else None
    return run_steps(compensation_steps, control_plane, workers, ops=ops, selection=selection)


def test_the_job_says_what_starts_it() -> None:
    assert "POST /v1/workflow-requests/{id}/undo" in (compensation.description or "")


@pytest.mark.parametrize("undone", [desired_state(), onboarding_state()], ids=["env", "app"])
def test_every_step_is_taken_back_newest_first_in_the_other_s_name(
    undone: UndoneDesiredState,
) -> None:
    wanted = compensation_state(undone)
    control_plane, workers = FakeControlPlane(claim(wanted=wanted)), FakeWorkers()
    assert carry_out(control_plane, workers).success
    assert [step for step, _, _ in workers.undone] == [each.step for each in wanted.steps]
    for step, body, permit in workers.undone:
        assert body == undo_body(wanted, step)
        assert permit.run_token == "undo-token"
        assert permit.idempotency_key == f"{wanted.undone_request_id}/5/{step}/undo"
    assert workers.steps_called()[0] is Step.STOP_UNDONE_REQUEST
    assert control_plane.finalized is not None
    assert set(control_plane.finalized) == set(STEPS)


def test_bindings_are_undone_with_the_versions_they_were_made_with(
    control_plane: FakeControlPlane,
) -> None:
    workers = FakeWorkers()
    carry_out(control_plane, workers)
    bodies = {step: body for step, body, _ in workers.undone}
    bound = bodies[Step.CREATE_SECRET_BINDINGS]
    assert isinstance(bound, CreateSecretBindings)
    assert [(each.store_path, each.version) for each in bound.bindings] == [("payments/app-key", 7)]


def test_the_undo_of_what_was_added_says_that_the_environment_is_in_use() -> None:
    adding = desired_state().model_copy(update={"adds_secrets": True})
    for undone in (desired_state(), adding):
        wanted = compensation_state(undone)
        repository = undo_body(wanted, Step.MATERIALIZE_REPOSITORIES)
        protection = undo_body(wanted, Step.APPLY_BRANCH_PROTECTION)
        assert isinstance(repository, EnsureRepositories)
        assert isinstance(protection, ProtectBranches)
        assert repository.is_in_use is protection.is_in_use is undone.adds_secrets


def test_every_step_with_an_undo_has_its_body_and_address() -> None:
    of_both = (compensation_state(desired_state()), compensation_state(onboarding_state()))
    known = {each.step for wanted in of_both for each in wanted.steps}
    assert known == set(UNDO_PATHS) == UNDOABLE_STEPS


def test_what_was_kept_is_not_looked_for(control_plane: FakeControlPlane) -> None:
    wanted = control_plane.claim.wanted(CompensationDesiredState)
    assert isinstance(wanted.undone, AppEnvDesiredState)
    repository = wanted.undone.repository
    workers = FakeWorkers(kept={f"repository/{repository.repository_id}"})
    assert carry_out(control_plane, workers).success
    body = next(body for _, body, _ in workers.calls if isinstance(body, VerifyUndone))
    assert body.repositories == ()
    assert body.secrets == wanted.undone.secrets


def test_it_looks_until_the_providers_have_it_no_more(control_plane: FakeControlPlane) -> None:
    workers = FakeWorkers(still_seen=3)
    assert carry_out(control_plane, workers, longest_seconds=60).success
    assert workers.steps_called().count(Step.VERIFY_NOTHING_LEFT) == 4


def test_what_is_seen_for_long_lets_the_request_wait(control_plane: FakeControlPlane) -> None:
    assert carry_out(control_plane, FakeWorkers(still_seen=10_000)).success
    assert control_plane.waits == [(WaitingReason.UNDONE_STILL_SEEN, 60.0)]
    assert control_plane.finalized is None
