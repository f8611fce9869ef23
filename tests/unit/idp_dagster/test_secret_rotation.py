"""Both jobs of a rotation on fakes: in order, repeated, failing at every step, waiting."""

from __future__ import annotations

import pytest
from dagster import DagsterInstance, ExecuteInProcessResult

from idp_dagster.catalog import APPLICATION_ENVIRONMENTS, SECRETS
from idp_dagster.jobs.secret_rotation import (
    secret_rotation,
    secret_rotation_retirement,
    secret_rotation_retirement_steps,
    secret_rotation_steps,
)
from idp_kernel.errors import Conflict, PlatformError, ProviderRejected, Unavailable
from idp_kernel.wire.engine import RotationDesiredState
from idp_kernel.wire.worker import (
    ConsumersState,
    IssueCredential,
    ObserveConsumers,
    RetireCredential,
    UpdateSecretBindings,
    VerifyCredential,
)
from idp_kernel.workflows import SECRET_ROTATION, ProviderEvent, Step, WaitingReason
from tests.unit.idp_dagster.fakes import (
    REVISION,
    FakeControlPlane,
    FakeWorkers,
    claim,
    rotation_state,
)
from tests.unit.idp_dagster.running import QUICK, materialized, run_steps

PHASE_1, PHASE_2 = (list(phase.steps) for phase in SECRET_ROTATION.phases)
ISSUE, CONFIRM, FINALIZE = (
    Step.ISSUE_NEW_CREDENTIAL,
    Step.CONFIRM_CONSUMERS,
    Step.FINALIZE_SECRET_ROTATION,
)


@pytest.fixture
def control_plane() -> FakeControlPlane:
    return FakeControlPlane(claim(wanted=rotation_state()))


@pytest.fixture
def retiring(control_plane: FakeControlPlane) -> FakeControlPlane:
    """The same request in its second phase, with what the first achieved."""
    rotate(control_plane, FakeWorkers())
    return next_phase(control_plane)


def next_phase(ended: FakeControlPlane) -> FakeControlPlane:
    assert ended.ended is not None
    update = {"phase": 2, "attempt": ended.claim.attempt + 1, "outcomes": ended.ended}
    return FakeControlPlane(ended.claim.model_copy(update=update))


def rotate(
    control_plane: FakeControlPlane,
    workers: FakeWorkers,
    selection: list[str] | None = None,
    **patience: float,
) -> ExecuteInProcessResult:
    ops = {str(CONFIRM): {**QUICK, **patience}}
    return run_steps(secret_rotation_steps, control_plane, workers, ops=ops, selection=selection)


def retire(
    control_plane: FakeControlPlane,
    workers: FakeWorkers,
    selection: list[str] | None = None,
    instance: DagsterInstance | None = None,
) -> ExecuteInProcessResult:
    return run_steps(
        secret_rotation_retirement_steps,
        control_plane,
        workers,
        selection=selection,
        instance=instance,
    )


def test_the_jobs_say_what_starts_them() -> None:
    assert "POST /v1/secrets/{id}/rotation" in (secret_rotation.description or "")
    assert "only as a re-run" in (secret_rotation_retirement.description or "")


def test_the_first_phase_ends_with_all_that_it_achieved(control_plane: FakeControlPlane) -> None:
    workers = FakeWorkers()
    assert rotate(control_plane, workers).success
    assert control_plane.started == [(step, 0) for step in PHASE_1]
    assert workers.steps_called() == PHASE_1
    assert control_plane.ended is not None
    assert set(control_plane.ended) == set(PHASE_1)
    assert control_plane.ended[CONFIRM].events == (ProviderEvent.GITOPS_CONSUMERS_CONFIRMED,)
    assert control_plane.told == [(step, None) for step in PHASE_1[:-1]], "the end told the last"
    assert control_plane.finalized is None


def test_the_second_phase_retires_what_the_first_replaced(retiring: FakeControlPlane) -> None:
    workers = FakeWorkers()
    assert retire(retiring, workers).success
    (call,) = workers.calls
    body = call[1]
    assert isinstance(body, RetireCredential)
    assert body.version == 8
    assert retiring.told == [(Step.RETIRE_OLD_CREDENTIAL, None)]
    assert retiring.finalized is not None
    assert set(retiring.finalized) == {*PHASE_1, *PHASE_2}


def test_later_steps_use_what_earlier_ones_achieved(control_plane: FakeControlPlane) -> None:
    workers = FakeWorkers()
    rotate(control_plane, workers)
    wanted = control_plane.claim.wanted(RotationDesiredState)
    bodies = {step: body for step, body, _ in workers.calls}
    verify, move, look = (
        bodies[Step.VERIFY_NEW_CREDENTIAL],
        bodies[Step.UPDATE_SECRET_BINDINGS],
        bodies[CONFIRM],
    )
    assert isinstance(verify, VerifyCredential)
    assert verify.version == 8
    assert isinstance(move, UpdateSecretBindings)
    assert (move.version, move.replaces_version, move.bindings) == (8, 7, wanted.bindings)
    assert isinstance(look, ObserveConsumers)
    assert look.revisions == {wanted.bindings[0].binding_id: REVISION}


@pytest.mark.parametrize("emergency", [False, True])
def test_the_worker_knows_of_an_emergency(*, emergency: bool) -> None:
    control_plane = FakeControlPlane(claim(wanted=rotation_state(emergency=emergency)))
    workers = FakeWorkers()
    rotate(control_plane, workers)
    issued = [body for _, body, _ in workers.calls if isinstance(body, IssueCredential)]
    assert [body.emergency for body in issued] == [emergency] * 2
    looks = [body for _, body, _ in workers.calls if isinstance(body, ObserveConsumers)]
    assert [body.emergency for body in looks] == [emergency]


def test_a_secret_that_cannot_be_rotated_is_left_alone(control_plane: FakeControlPlane) -> None:
    workers = FakeWorkers(refuted=True)
    assert not rotate(control_plane, workers).success
    assert workers.steps_called() == [Step.VALIDATE_ROTATION]
    _, told = control_plane.told[-1]
    assert told is not None
    assert (told.code, told.retryable) == ("rotation_not_valid", False)
    assert "expected nobody's, found another's" in told.message


def test_a_credential_that_does_not_work_moves_no_binding(control_plane: FakeControlPlane) -> None:
    workers = FakeWorkers(works=False)
    assert not rotate(control_plane, workers).success
    assert workers.steps_called() == PHASE_1[:3]
    _, told = control_plane.told[-1]
    assert told is not None
    assert (told.code, told.retryable) == ("new_credential_refused", False)
    assert "Login failed." in told.message


def test_consumers_that_nobody_can_know_end_the_phase(control_plane: FakeControlPlane) -> None:
    workers = FakeWorkers(consumers_seen=[ConsumersState.UNKNOWN])
    assert rotate(control_plane, workers).success
    assert control_plane.ended is not None
    assert control_plane.waits == []


def test_a_look_is_taken_until_the_consumers_are_there(control_plane: FakeControlPlane) -> None:
    workers = FakeWorkers(consumers_seen=[ConsumersState.PENDING] * 3)
    assert rotate(control_plane, workers, longest_seconds=60).success
    assert workers.steps_called().count(CONFIRM) == 4
    assert control_plane.ended is not None


def test_slow_consumers_send_the_request_to_wait_in_this_phase(
    control_plane: FakeControlPlane,
) -> None:
    workers = FakeWorkers(consumers_seen=[ConsumersState.PENDING] * 1000)
    assert rotate(control_plane, workers, wait_seconds=30).success
    assert control_plane.waits == [(WaitingReason.CONSUMERS_NOT_CONFIRMED, 30)]
    assert control_plane.ended is None
    assert CONFIRM not in control_plane.outcomes
    assert control_plane.told == [(step, None) for step in PHASE_1[:-1]]


@pytest.mark.parametrize("step", PHASE_1)
def test_a_passing_outage_in_the_first_phase_is_sat_out(
    step: Step, control_plane: FakeControlPlane
) -> None:
    workers = FakeWorkers(errors={step: [away()]})
    assert rotate(control_plane, workers).success
    assert [retry for started, retry in control_plane.started if started is step] == [0, 1]
    assert [met.target for met in control_plane.downstream] == ["store"]


@pytest.mark.parametrize("step", PHASE_2)
def test_a_passing_outage_in_the_second_phase_is_sat_out(
    step: Step, retiring: FakeControlPlane
) -> None:
    workers = FakeWorkers()
    fail_second_phase(step, away(), retiring, workers)
    assert retire(retiring, workers).success
    assert [retry for started, retry in retiring.started if started is step] == [0, 1]


@pytest.mark.parametrize("step", PHASE_1)
def test_a_refusal_in_the_first_phase_ends_the_run_there(
    step: Step, control_plane: FakeControlPlane
) -> None:
    workers = FakeWorkers(errors={step: [ProviderRejected("No.", code="refused")]})
    assert not rotate(control_plane, workers).success
    assert workers.steps_called() == PHASE_1[: PHASE_1.index(step) + 1]
    told_step, told = control_plane.told[-1]
    assert told_step is step
    assert told is not None
    assert (told.code, told.retryable) == ("refused", False)
    assert control_plane.ended is None


@pytest.mark.parametrize("step", PHASE_2)
def test_a_refusal_in_the_second_phase_ends_the_run_there(
    step: Step, retiring: FakeControlPlane
) -> None:
    workers = FakeWorkers()
    fail_second_phase(step, ProviderRejected("No.", code="refused"), retiring, workers)
    assert not retire(retiring, workers).success
    told_step, told = retiring.told[-1]
    assert told_step is step
    assert told is not None
    assert told.code == "refused"
    assert retiring.finalized is None


def test_a_phase_whose_end_is_refused_has_not_ended(control_plane: FakeControlPlane) -> None:
    control_plane.errors[CONFIRM] = [Conflict("Something is missing.", code="outcomes_missing")]
    assert not rotate(control_plane, FakeWorkers()).success
    step, told = control_plane.told[-1]
    assert step is CONFIRM
    assert told is not None
    assert told.code == "outcomes_missing"


@pytest.mark.parametrize("step", PHASE_1)
def test_a_rerun_of_the_first_phase_from_any_step_ends_it(
    step: Step, control_plane: FakeControlPlane
) -> None:
    rotate(control_plane, FakeWorkers())
    assert control_plane.ended is not None
    earlier = {each: control_plane.ended[each] for each in PHASE_1[: PHASE_1.index(step)]}
    again = FakeControlPlane(control_plane.claim.model_copy(update={"outcomes": earlier}))
    assert rotate(again, FakeWorkers(), [f"{step}*"]).success
    assert again.ended is not None
    assert set(again.ended) == set(PHASE_1)


def test_a_rerun_of_the_second_phase_from_its_last_step_ends_it(retiring: FakeControlPlane) -> None:
    retire(retiring, FakeWorkers())
    assert retiring.finalized is not None
    earlier = {step: result for step, result in retiring.finalized.items() if step is not FINALIZE}
    again = FakeControlPlane(retiring.claim.model_copy(update={"outcomes": earlier}))
    assert retire(again, FakeWorkers(), [str(FINALIZE)]).success
    assert again.finalized is not None
    assert set(again.finalized) == {*PHASE_1, *PHASE_2}


def test_the_catalog_shows_the_new_version_and_where_it_is_bound(
    retiring: FakeControlPlane,
) -> None:
    wanted = retiring.claim.wanted(RotationDesiredState)
    shown = materialized(retire(retiring, FakeWorkers()))
    secret = shown[SECRETS, wanted.secret.secret_id]
    assert (secret["store_path"], secret["version"]) == ("payments/app-key", 8)
    assert secret["api"] == f"http://api/v1/secrets/{wanted.secret.secret_id}"
    environment = shown[APPLICATION_ENVIRONMENTS, wanted.subject.application_environment_id]
    assert environment["revision"] == REVISION
    assert environment["repository"] == f"payments/{wanted.bindings[0].repository.name}"


def away() -> Unavailable:
    return Unavailable("away", code="store_away", details={"target": "store"})


def fail_second_phase(
    step: Step, error: PlatformError, control_plane: FakeControlPlane, workers: FakeWorkers
) -> None:
    """The step's next call, whomever it calls, is answered with the error."""
    if step is FINALIZE:
        control_plane.errors[step] = [error]
    else:
        workers.errors[step] = [error]
