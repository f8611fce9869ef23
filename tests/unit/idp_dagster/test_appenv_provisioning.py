"""The provisioning job on fakes: in order, repeated, failing, interrupted, waiting."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    ExecuteInProcessResult,
    InitResourceContext,
    ResourceDefinition,
    resource,
)
from dagster._core.execution.plan.active import ActiveExecution
from sqlalchemy.exc import OperationalError

from idp_dagster import catalog as catalog_module
from idp_dagster.catalog import (
    APPLICATION_ENVIRONMENT_IDS,
    APPLICATION_ENVIRONMENTS,
    SECRET_IDS,
    SECRETS,
)
from idp_dagster.jobs.appenv_provisioning import (
    application_environment_provisioning,
    application_environment_provisioning_steps,
)
from idp_dagster.resources.control_plane import kept
from idp_dagster.resources.interrupts import interrupt_run
from idp_dagster.resources.lease import Closing, LeaseKeeper
from idp_kernel.clock import SystemClock
from idp_kernel.errors import Conflict, PlatformError, ProviderRejected, Unavailable
from idp_kernel.wire.engine import RUN_INTERRUPTED, AppEnvDesiredState, Lease
from idp_kernel.wire.worker import (
    CreateSecretBindings,
    EnsureRepositories,
    GitOpsState,
    ProtectBranches,
    VerifyGitOps,
)
from idp_kernel.workflows import (
    APPLICATION_ENVIRONMENT_PROVISIONING,
    ProviderEvent,
    Step,
    WaitingReason,
)
from tests.unit.idp_dagster.fakes import (
    REVISION,
    FakeControlPlane,
    FakeWorkers,
    claim,
    desired_state,
)
from tests.unit.idp_dagster.running import QUICK, materialized, run_steps

STEPS = list(APPLICATION_ENVIRONMENT_PROVISIONING.steps)
WORKER_STEPS = STEPS[:-1]
VERIFY = Step.VERIFY_GITOPS_RECONCILIATION


def carry_out(
    control_plane: FakeControlPlane | ResourceDefinition,
    workers: FakeWorkers,
    selection: list[str] | None = None,
    **patience: float,
) -> ExecuteInProcessResult:
    """The steps on fakes, without the Launchpad's form."""
    return run_steps(
        application_environment_provisioning_steps,
        control_plane,
        workers,
        ops={VERIFY: {**QUICK, "degraded_seconds": 0.1, **patience}},
        selection=selection,
    )


def test_the_job_has_the_steps_of_its_workflow_in_order() -> None:
    job = application_environment_provisioning
    assert job.name == APPLICATION_ENVIRONMENT_PROVISIONING.phase(1).job_name
    assert [node.name for node in job.nodes_in_topological_order] == STEPS
    assert "POST /v1/applications/{id}/environments" in (job.description or "")


def test_everything_is_brought_about_and_told() -> None:
    control_plane, workers = FakeControlPlane(), FakeWorkers()
    assert carry_out(control_plane, workers).success
    assert control_plane.started == [(step, 0) for step in STEPS]
    assert control_plane.told == [(step, None) for step in WORKER_STEPS]
    assert workers.steps_called() == WORKER_STEPS
    assert control_plane.finalized is not None
    assert set(control_plane.finalized) == set(STEPS)
    assert control_plane.finalized[VERIFY].events == (ProviderEvent.GITOPS_RECONCILIATION_VERIFIED,)


def test_each_call_carries_the_key_of_its_step() -> None:
    control_plane, workers = FakeControlPlane(), FakeWorkers()
    carry_out(control_plane, workers)
    held = control_plane.claim
    assert [permit.idempotency_key for _, _, permit in workers.calls] == [
        f"{held.request_id}/{held.generation}/{step}" for step in WORKER_STEPS
    ]


def test_later_steps_use_what_earlier_ones_achieved() -> None:
    control_plane, workers = FakeControlPlane(), FakeWorkers()
    carry_out(control_plane, workers)
    bodies = {step: body for step, body, _ in workers.calls}
    protection, bindings, look = (
        bodies[Step.APPLY_BRANCH_PROTECTION],
        bodies[Step.CREATE_SECRET_BINDINGS],
        bodies[VERIFY],
    )
    assert isinstance(protection, ProtectBranches)
    assert protection.required_approvals == 2
    assert isinstance(bindings, CreateSecretBindings)
    wanted = control_plane.claim.wanted(AppEnvDesiredState)
    (binding,) = bindings.bindings
    assert (binding.store_path, binding.version) == ("payments/app-key", 7)
    assert binding.binding_id == wanted.binding_ids[wanted.secrets[0].secret_id]
    assert isinstance(look, VerifyGitOps)
    assert look.revision == REVISION
    assert look.bindings == bindings.bindings


@pytest.mark.parametrize("adds_secrets", [False, True])
def test_what_is_added_says_that_the_environment_is_in_use(*, adds_secrets: bool) -> None:
    wanted = desired_state().model_copy(update={"adds_secrets": adds_secrets})
    workers = FakeWorkers()
    carry_out(FakeControlPlane(claim(wanted=wanted)), workers)
    told = [
        body.is_in_use
        for _, body, _ in workers.calls
        if isinstance(body, EnsureRepositories | ProtectBranches)
    ]
    assert told == [adds_secrets, adds_secrets]


def test_the_catalog_shows_what_was_provisioned() -> None:
    control_plane = FakeControlPlane()
    with DagsterInstance.ephemeral() as instance:
        run = run_steps(
            application_environment_provisioning_steps,
            control_plane,
            FakeWorkers(),
            instance=instance,
        )
        wanted = control_plane.claim.wanted(AppEnvDesiredState)
        environment_id, secret_id = (
            wanted.subject.application_environment_id,
            wanted.secrets[0].secret_id,
        )
        assert instance.get_dynamic_partitions(str(APPLICATION_ENVIRONMENT_IDS.name)) == [
            environment_id
        ]
        assert instance.get_dynamic_partitions(str(SECRET_IDS.name)) == [secret_id]
    shown = materialized(run)
    request_url = f"http://api/v1/workflow-requests/{control_plane.claim.request_id}"
    assert shown[APPLICATION_ENVIRONMENTS, environment_id] == {
        "team": "payments",
        "repository": "http://forge/it",
        "revision": REVISION,
        "api": f"http://api/v1/application-environments/{environment_id}",
        "request": request_url,
        "request_id": control_plane.claim.request_id,
    }
    assert shown[SECRETS, secret_id] == {
        "team": "payments",
        "store_path": "payments/app-key",
        "version": 7,
        "api": f"http://api/v1/secrets/{secret_id}",
        "request": request_url,
        "request_id": control_plane.claim.request_id,
    }


def test_the_catalog_shows_nothing_that_was_not_finalized() -> None:
    control_plane = FakeControlPlane()
    control_plane.errors[STEPS[-1]] = [Conflict("It is another's.", code="claim_lost")]
    run = carry_out(control_plane, FakeWorkers())
    assert not run.success
    assert materialized(run) == {}


def test_a_hiccup_of_the_catalog_is_sat_out(monkeypatch: pytest.MonkeyPatch) -> None:
    control_plane = FakeControlPlane()
    run = carry_out_with_catalog_away(control_plane, monkeypatch, times=1)
    assert run.success
    assert {asset for asset, _ in materialized(run)} == {APPLICATION_ENVIRONMENTS, SECRETS}


def test_a_catalog_that_stays_away_hides_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    control_plane = FakeControlPlane()
    run = carry_out_with_catalog_away(control_plane, monkeypatch, times=99)
    assert control_plane.finalized is not None
    assert control_plane.started == [(step, 0) for step in STEPS], "no step is tried again"
    (failed,) = [event for event in run.all_events if event.is_step_failure]
    message = str(failed.step_failure_data.user_failure_data)
    assert "The request succeeded" in message
    assert "The next check of the asset brings the catalog up to date." in message


def carry_out_with_catalog_away(
    control_plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch, *, times: int
) -> ExecuteInProcessResult:
    monkeypatch.setattr(catalog_module, "RECORD_LONGEST_WAIT_SECONDS", 0.01)
    with DagsterInstance.ephemeral() as instance:
        away = iter([OperationalError("insert", {}, Exception("gone"))] * times)
        add = instance.add_dynamic_partitions

        def add_when_back(name: str, keys: Sequence[str]) -> None:
            if (error := next(away, None)) is not None:
                raise error
            add(name, keys)

        monkeypatch.setattr(instance, "add_dynamic_partitions", add_when_back)
        return run_steps(
            application_environment_provisioning_steps,
            control_plane,
            FakeWorkers(),
            instance=instance,
        )


@pytest.mark.parametrize("step", WORKER_STEPS)
def test_a_passing_outage_of_a_step_is_sat_out(step: Step) -> None:
    control_plane = FakeControlPlane()
    away: list[PlatformError | BaseException] = [
        Unavailable("forge away", code="forge_away", details={"target": "forge"})
    ]
    workers = FakeWorkers(errors={step: away})
    assert carry_out(control_plane, workers).success
    assert [retry for started, retry in control_plane.started if started is step] == [0, 1]
    assert control_plane.told == [(each, None) for each in WORKER_STEPS]
    assert [(met.target, met.code) for met in control_plane.downstream] == [("forge", "forge_away")]


@pytest.mark.parametrize("step", WORKER_STEPS)
def test_a_refusal_ends_the_run_at_its_step(step: Step) -> None:
    control_plane = FakeControlPlane()
    workers = FakeWorkers(errors={step: [ProviderRejected("No.", code="quota_used_up")]})
    assert not carry_out(control_plane, workers).success
    assert workers.steps_called() == WORKER_STEPS[: WORKER_STEPS.index(step) + 1]
    told_step, told = control_plane.told[-1]
    assert told_step is step
    assert told is not None
    assert (told.code, told.retryable) == ("quota_used_up", False)
    assert control_plane.finalized is None


def test_a_lasting_outage_is_told_as_one_that_may_pass() -> None:
    control_plane = FakeControlPlane()
    away: list[PlatformError | BaseException] = [Unavailable("away") for _ in range(9)]
    workers = FakeWorkers(errors={Step.PROVISION_SECRETS: away})
    assert not carry_out(control_plane, workers).success
    assert len(workers.calls) == 2 + 5
    _, told = control_plane.told[-1]
    assert told is not None
    assert told.retryable


def test_a_rerun_from_failure_finds_the_outcomes_of_the_steps_it_skips() -> None:
    first, workers = FakeControlPlane(), FakeWorkers()
    carry_out(first, workers)
    assert first.finalized is not None
    earlier = {step: first.finalized[step] for step in STEPS[:4]}
    second = FakeControlPlane(first.claim.model_copy(update={"outcomes": earlier, "attempt": 2}))
    assert carry_out(second, FakeWorkers(), [f"{VERIFY}*"]).success
    assert second.started == [(step, 0) for step in STEPS[4:]]
    assert second.finalized is not None
    assert set(second.finalized) == set(STEPS)


def test_what_no_hook_could_tell_finalize_tells() -> None:
    control_plane = FakeControlPlane()
    control_plane.cannot_be_told = True
    assert carry_out(control_plane, FakeWorkers()).success
    assert control_plane.told == []
    assert control_plane.finalized is not None
    assert set(control_plane.finalized) == set(STEPS)


def test_slow_reconciliation_sends_the_request_to_wait_and_ends_the_run_well() -> None:
    control_plane = FakeControlPlane()
    workers = FakeWorkers(verdicts=[GitOpsState.PROGRESSING] * 1000)
    assert carry_out(control_plane, workers, wait_seconds=30).success
    assert control_plane.waits == [(WaitingReason.GITOPS_RECONCILIATION_SLOW, 30)]
    assert control_plane.seen == ["ExternalSecret/app-key: no such key."]
    assert control_plane.finalized is None
    assert control_plane.started[-1] == (VERIFY, 0)
    assert control_plane.told == [(step, None) for step in STEPS[:4]]


def test_a_look_is_taken_until_the_agent_is_done() -> None:
    workers = FakeWorkers(verdicts=[GitOpsState.PROGRESSING, GitOpsState.DEGRADED] * 2)
    control_plane = FakeControlPlane()
    run = carry_out(control_plane, workers, longest_seconds=60, degraded_seconds=60)
    assert run.success
    assert workers.steps_called().count(VERIFY) == 5


def test_lasting_degradation_fails_with_what_was_seen() -> None:
    control_plane = FakeControlPlane()
    workers = FakeWorkers(verdicts=[GitOpsState.DEGRADED] * 1000)
    assert not carry_out(control_plane, workers, longest_seconds=5).success
    _, told = control_plane.told[-1]
    assert told is not None
    assert (told.code, told.retryable) == ("gitops_degraded", False)
    assert "ExternalSecret/app-key: no such key." in told.message


@pytest.mark.parametrize("step", WORKER_STEPS)
def test_an_interrupt_in_a_step_ends_the_run_there(step: Step) -> None:
    def interrupt(_: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    control_plane, workers = FakeControlPlane(), FakeWorkers(before={step: interrupt})
    assert not carry_out(control_plane, workers).success
    assert workers.steps_called().count(step) == 1
    assert workers.steps_called()[-1] is step
    _, told = control_plane.told[-1]
    assert told is not None
    assert told.code == RUN_INTERRUPTED


def test_an_interrupt_in_a_retry_wait_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent from within the wait. In the moments between an error and its wait Dagster makes a retry
    of an interrupt, which a run's closed lease refuses.
    """
    wait = ActiveExecution.sleep_til_ready

    def interrupted_wait(execution: ActiveExecution) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        wait(execution)

    monkeypatch.setattr(ActiveExecution, "sleep_til_ready", interrupted_wait)
    step = Step.PROVISION_SECRETS
    control_plane, workers = FakeControlPlane(), FakeWorkers(errors={step: [Unavailable("away")]})
    assert not carry_out(control_plane, workers).success
    assert workers.steps_called()[-1] is step
    assert workers.steps_called().count(step) == 1
    assert control_plane.finalized is None


Drain = Callable[[str], None]


def keeping_lease(closing: Closing, closed: threading.Event, drain: Drain) -> ResourceDefinition:
    """A control plane whose lease is kept as a run keeps it, and closes when `closed` is set."""

    def renew(_token: str) -> Lease:
        if closed.is_set() and closing is Closing.CLAIM_LOST:
            raise Conflict("not yours", code="claim_lost")
        return Lease(
            run_token="run-token-renewed",
            lease_expires_at=datetime.now(UTC) + timedelta(seconds=60),
            cancel_requested=closed.is_set() and closing is Closing.CANCEL_REQUESTED,
        )

    @resource
    def control_plane(_: InitResourceContext) -> Iterator[FakeControlPlane]:
        fake = FakeControlPlane(claim(heartbeat_seconds=0.02))
        lease = LeaseKeeper(
            fake.claim,
            renew=renew,
            is_terminated=lambda: closed.is_set() and closing is Closing.TERMINATED,
            on_closing=lambda _: interrupt_run(),
            clock=SystemClock(),
        )
        with kept(lease, drain):
            yield fake

    return control_plane


def cancelled_in(step: Step, closing: Closing, drain: Drain) -> ExecuteInProcessResult:
    closed = threading.Event()

    def close(_: int) -> None:
        closed.set()
        time.sleep(5)

    workers = FakeWorkers(before={step: close})
    result = carry_out(keeping_lease(closing, closed, drain), workers)
    assert workers.steps_called()[-1] is step
    return result


@pytest.mark.parametrize("closing", [Closing.CANCEL_REQUESTED, Closing.TERMINATED])
def test_a_cancelled_run_ends_once_the_workers_are_through_with_it(closing: Closing) -> None:
    tokens: list[str] = []
    result = cancelled_in(Step.PROVISION_SECRETS, closing, tokens.append)
    assert not result.success
    assert tokens == ["run-token-renewed"]


def test_a_run_that_lost_its_claim_leaves_the_fence_to_its_successor() -> None:
    tokens: list[str] = []
    assert not cancelled_in(Step.PROVISION_SECRETS, Closing.CLAIM_LOST, tokens.append).success
    assert tokens == []


def test_workers_that_do_not_get_through_hide_no_cancel() -> None:
    def away(_token: str) -> None:
        raise Unavailable("still busy")

    result = cancelled_in(Step.PROVISION_SECRETS, Closing.CANCEL_REQUESTED, away)
    assert result.dagster_run.status is DagsterRunStatus.FAILURE
    failed = [event.step_key for event in result.all_events if event.is_step_failure]
    assert failed == [Step.PROVISION_SECRETS]
