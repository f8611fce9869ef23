"""The onboarding job on fakes: in order, repeated, failing at every step."""

from __future__ import annotations

import pytest
from dagster import ExecuteInProcessResult

from idp_dagster.jobs.onboarding import application_onboarding, application_onboarding_steps
from idp_kernel.errors import Conflict
from idp_kernel.wire.engine import OnboardingDesiredState
from idp_kernel.wire.worker import EnsureRepositories, ProtectBranches, SeedRepositories
from idp_kernel.workflows import APPLICATION_ONBOARDING, Step, WaitingReason
from tests.unit.idp_dagster.fakes import FakeControlPlane, FakeWorkers, claim, onboarding_state
from tests.unit.idp_dagster.running import run_steps

STEPS = list(APPLICATION_ONBOARDING.steps)
WORKER_STEPS = STEPS[:5]


@pytest.fixture
def control_plane() -> FakeControlPlane:
    return FakeControlPlane(claim(wanted=onboarding_state()))


def carry_out(
    control_plane: FakeControlPlane, workers: FakeWorkers, selection: list[str] | None = None
) -> ExecuteInProcessResult:
    return run_steps(application_onboarding_steps, control_plane, workers, selection=selection)


def test_the_job_says_what_starts_it() -> None:
    assert "POST /v1/applications" in (application_onboarding.description or "")


def test_everything_is_brought_about_and_told(control_plane: FakeControlPlane) -> None:
    workers = FakeWorkers()
    assert carry_out(control_plane, workers).success
    assert control_plane.started == [(step, 0) for step in STEPS]
    assert control_plane.told == [(step, None) for step in STEPS[:-1]]
    assert workers.steps_called() == WORKER_STEPS
    assert control_plane.finalized is not None
    assert set(control_plane.finalized) == set(STEPS)


def test_each_step_works_on_the_repositories_that_are_its_own(
    control_plane: FakeControlPlane,
) -> None:
    workers = FakeWorkers()
    carry_out(control_plane, workers)
    wanted = control_plane.claim.wanted(OnboardingDesiredState)
    bodies = {step: body for step, body, _ in workers.calls}
    created = [bodies[Step.CREATE_CODE_REPOSITORY], bodies[Step.CREATE_DEPLOYMENT_REPOSITORY]]
    for body, repository in zip(created, wanted.repositories, strict=True):
        assert isinstance(body, EnsureRepositories)
        assert body.repositories == (repository,)
    seeded, protected = bodies[Step.SEED_REPOSITORIES], bodies[Step.APPLY_REPOSITORY_PROTECTION]
    assert isinstance(seeded, SeedRepositories)
    assert (seeded.repositories, seeded.description) == (wanted.repositories, "Takes the money.")
    assert isinstance(protected, ProtectBranches)
    assert (protected.repositories, protected.required_approvals) == (wanted.repositories, 1)


def test_the_declared_environments_are_told_with_their_ids(control_plane: FakeControlPlane) -> None:
    carry_out(control_plane, FakeWorkers())
    assert control_plane.finalized is not None
    declared = control_plane.finalized[Step.DECLARE_APPLICATION_ENVIRONMENTS].items
    assert {
        str(item.references["environment"]): item.references["applicationEnvironmentId"]
        for item in declared
    } == control_plane.declared


def test_a_name_that_is_another_s_is_refused_before_anything_is_made(
    control_plane: FakeControlPlane,
) -> None:
    workers = FakeWorkers(refuted=True)
    assert not carry_out(control_plane, workers).success
    assert workers.steps_called() == [Step.VALIDATE_APPLICATION]
    step, told = control_plane.told[-1]
    assert step is Step.VALIDATE_APPLICATION
    assert told is not None
    assert (told.code, told.retryable) == ("application_not_valid", False)
    assert "expected nobody's, found another's" in told.message


def test_a_claim_that_was_lost_finalizes_nothing(control_plane: FakeControlPlane) -> None:
    control_plane.errors[STEPS[-1]] = [Conflict("It is another's.", code="claim_lost")]
    assert not carry_out(control_plane, FakeWorkers()).success
    assert control_plane.finalized is None


def test_nothing_is_made_while_the_application_is_to_be_approved() -> None:
    proposed = onboarding_state().model_copy(update={"needs_approval": True})
    control_plane, workers = FakeControlPlane(claim(wanted=proposed)), FakeWorkers()
    control_plane.is_proposed = True
    assert carry_out(control_plane, workers).success
    assert control_plane.waits == [(WaitingReason.APPROVAL_PENDING, 0)]
    assert [step for step, _ in control_plane.started] == STEPS[:1]
    assert (workers.calls, control_plane.told, control_plane.finalized) == ([], [], None)

    control_plane, workers = FakeControlPlane(claim(wanted=proposed)), FakeWorkers()
    assert carry_out(control_plane, workers).success
    assert workers.steps_called() == WORKER_STEPS
    assert control_plane.finalized is not None


def test_an_approval_that_nobody_gave_ends_it() -> None:
    proposed = onboarding_state().model_copy(update={"needs_approval": True})
    control_plane, workers = FakeControlPlane(claim(wanted=proposed)), FakeWorkers()
    control_plane.errors[STEPS[0]] = [Conflict("It has waited.", code="approval_not_given")]
    assert not carry_out(control_plane, workers).success
    (told,) = [error for _, error in control_plane.told if error is not None]
    assert (told.code, told.retryable, workers.calls) == ("approval_not_given", False, [])
