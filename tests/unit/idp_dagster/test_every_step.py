"""What holds for each step of onboarding, of its undo, and of what ends for good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from _pytest.mark.structures import ParameterSet
from dagster import ExecuteInProcessResult

from idp_kernel.errors import Conflict, PlatformError, ProviderRejected, Unavailable
from idp_kernel.wire.engine import DesiredState
from idp_kernel.workflows import Step, WaitingReason
from tests.unit.idp_dagster import (
    test_appenv_decommissioning,
    test_application_decommissioning,
    test_compensation,
    test_onboarding,
    test_secret_revocation,
)
from tests.unit.idp_dagster.fakes import (
    FakeControlPlane,
    FakeWorkers,
    application_end_state,
    claim,
    compensation_state,
    decommissioning_state,
    onboarding_state,
    revocation_state,
)

CarryOut = Callable[[FakeControlPlane, FakeWorkers, list[str] | None], ExecuteInProcessResult]


@dataclass(frozen=True)
class Case:
    """One step of a workflow, with what carries the workflow out."""

    step: Step
    steps: list[Step]
    calls_workers: bool
    wanted: DesiredState
    carry_out: CarryOut

    def run(
        self, control_plane: FakeControlPlane, workers: FakeWorkers, *selection: str
    ) -> ExecuteInProcessResult:
        return self.carry_out(control_plane, workers, list(selection) or None)

    def fail(
        self, error: PlatformError, control_plane: FakeControlPlane, workers: FakeWorkers
    ) -> None:
        """The step's next call, whomever it calls, is answered with the error."""
        errors = workers.errors if self.calls_workers else control_plane.errors
        errors[self.step] = [error]


HOLDS_UP_NOTHING = {Step.RELEASE_CONSUMERS}
"""It goes on whoever is away; `test_secret_revocation` has it."""


def _cases(
    steps: list[Step], of_workers: int, wanted: DesiredState, carry_out: CarryOut
) -> list[ParameterSet]:
    return [
        pytest.param(Case(step, steps, number < of_workers, wanted, carry_out), id=step)
        for number, step in enumerate(steps)
        if step not in HOLDS_UP_NOTHING
    ]


CASES = [
    *_cases(test_onboarding.STEPS, 5, onboarding_state(), test_onboarding.carry_out),
    *_cases(test_secret_revocation.STEPS, 4, revocation_state(), test_secret_revocation.carry_out),
    *_cases(
        test_appenv_decommissioning.STEPS,
        5,
        decommissioning_state(),
        test_appenv_decommissioning.carry_out,
    ),
    *_cases(
        test_application_decommissioning.STEPS,
        2,
        application_end_state(),
        test_application_decommissioning.carry_out,
    ),
    *_cases(test_compensation.STEPS, 3, compensation_state(), test_compensation.carry_out),
]
every_step = pytest.mark.parametrize("case", CASES)


@pytest.fixture
def control_plane(case: Case) -> FakeControlPlane:
    return FakeControlPlane(claim(wanted=case.wanted))


@every_step
def test_a_passing_outage_is_sat_out(case: Case, control_plane: FakeControlPlane) -> None:
    workers = FakeWorkers()
    case.fail(Unavailable("away", details={"target": "forge"}), control_plane, workers)
    assert case.run(control_plane, workers).success
    assert [retry for started, retry in control_plane.started if started is case.step] == [0, 1]
    assert [met.target for met in control_plane.downstream] == ["forge"]


@every_step
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("circuit_open", WaitingReason.CIRCUIT_OPEN),
        ("forge_rate_limited", WaitingReason.PROVIDER_PAUSED),
        ("pull_request_open", WaitingReason.PULL_REQUEST_OPEN),
    ],
)
def test_a_provider_that_is_to_be_left_alone_is_awaited_without_a_run(
    case: Case, control_plane: FakeControlPlane, code: str, reason: WaitingReason
) -> None:
    workers = FakeWorkers()
    alone = Unavailable("No.", code=code, details={"target": "forge"}, retry_after_seconds=17)
    case.fail(alone, control_plane, workers)
    assert case.run(control_plane, workers).success
    assert control_plane.waits == [(reason, 17)]
    until = case.steps[: case.steps.index(case.step) + 1]
    assert [started for started, _ in control_plane.started] == until
    assert case.step not in {told for told, _ in control_plane.told}
    assert control_plane.finalized is None


@every_step
def test_what_has_waited_long_enough_fails_with_what_the_provider_said(
    case: Case, control_plane: FakeControlPlane
) -> None:
    workers = FakeWorkers()
    said = "forge did not read repository: it was not asked. See whether it runs."
    alone = Unavailable(
        said, code="circuit_open", details={"target": "forge"}, retry_after_seconds=17
    )
    case.fail(alone, control_plane, workers)
    control_plane.refuses_wait = Conflict("It has waited.", code="waited_too_long")
    assert not case.run(control_plane, workers).success
    told_step, told = control_plane.told[-1]
    assert told_step is case.step
    assert told is not None
    assert (told.code, told.retryable) == ("waited_too_long", False)
    assert told.message == f"{said} It has waited."


@every_step
def test_a_refusal_ends_the_run_there(case: Case, control_plane: FakeControlPlane) -> None:
    workers = FakeWorkers()
    case.fail(ProviderRejected("No.", code="quota_used_up"), control_plane, workers)
    assert not case.run(control_plane, workers).success
    until = case.steps[: case.steps.index(case.step) + 1]
    assert [started for started, _ in control_plane.started] == until
    told_step, told = control_plane.told[-1]
    assert told_step is case.step
    assert told is not None
    assert (told.code, told.retryable) == ("quota_used_up", False)
    assert control_plane.finalized is None


@every_step
def test_a_rerun_from_there_ends_as_well(case: Case, control_plane: FakeControlPlane) -> None:
    case.run(control_plane, FakeWorkers())
    assert control_plane.finalized is not None
    done = case.steps[: case.steps.index(case.step)]
    earlier = {each: control_plane.finalized[each] for each in done}
    again = FakeControlPlane(control_plane.claim.model_copy(update={"outcomes": earlier}))
    assert case.run(again, FakeWorkers(), f"{case.step}*").success
    assert again.finalized is not None
    assert set(again.finalized) == set(case.steps)
