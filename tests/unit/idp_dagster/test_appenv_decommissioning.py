"""The decommissioning job of an environment on fakes: its secrets, then its repository."""

from __future__ import annotations

import pytest
from dagster import ExecuteInProcessResult

from idp_dagster.jobs.appenv_decommissioning import (
    application_environment_decommissioning,
    application_environment_decommissioning_steps,
)
from idp_kernel.pull_requests import pull_request_open
from idp_kernel.wire.engine import AppEnvDecommissioningDesiredState
from idp_kernel.wire.worker import ArchiveRepositories
from idp_kernel.workflows import (
    APPLICATION_ENVIRONMENT_DECOMMISSIONING,
    ProviderEvent,
    Step,
    WaitingReason,
)
from tests.unit.idp_dagster.fakes import (
    FakeControlPlane,
    FakeWorkers,
    claim,
    decommissioning_state,
)
from tests.unit.idp_dagster.running import QUICK, run_steps

STEPS = list(APPLICATION_ENVIRONMENT_DECOMMISSIONING.steps)
LOOKING = (Step.RELEASE_CONSUMERS, Step.VERIFY_NOTHING_RECONCILED)


@pytest.fixture
def control_plane() -> FakeControlPlane:
    return FakeControlPlane(claim(wanted=decommissioning_state()))


def carry_out(
    control_plane: FakeControlPlane, workers: FakeWorkers, selection: list[str] | None = None
) -> ExecuteInProcessResult:
    first = 0 if selection is None else STEPS.index(Step(selection[0].rstrip("*")))
    ops = {str(step): QUICK for step in LOOKING if STEPS.index(step) >= first} or None
    steps = application_environment_decommissioning_steps
    return run_steps(steps, control_plane, workers, ops=ops, selection=selection)


def test_the_job_says_what_starts_it_and_that_nothing_takes_it_back() -> None:
    told = application_environment_decommissioning.description or ""
    assert "POST /v1/application-environments/{id}/decommission" in told
    assert "Nothing takes that back." in told


def test_secrets_end_before_the_repository_is_archived(control_plane: FakeControlPlane) -> None:
    workers = FakeWorkers()
    assert carry_out(control_plane, workers).success
    assert list(dict.fromkeys(workers.steps_called())) == STEPS[:-1]
    wanted = control_plane.claim.wanted(AppEnvDecommissioningDesiredState)
    archives = [body for _, body, _ in workers.calls if isinstance(body, ArchiveRepositories)]
    assert [each.repositories for each in archives] == [(wanted.repository,)] * 2
    assert control_plane.finalized is not None
    archived = control_plane.finalized[Step.ARCHIVE_ENVIRONMENT_REPOSITORY]
    assert archived.events == (ProviderEvent.GIT_REPOSITORY_ARCHIVED,)


def test_who_does_not_merge_holds_up_the_end_of_an_environment(
    control_plane: FakeControlPlane,
) -> None:
    """Unlike that of a secret that is revoked: nobody has it who must not."""
    wait = pull_request_open("It waits.", ["https://forge.test/1"], 30)
    workers = FakeWorkers(errors={Step.REMOVE_SECRET_BINDINGS: [wait]})
    assert carry_out(control_plane, workers).success
    assert workers.steps_called() == [Step.REMOVE_SECRET_BINDINGS]
    assert control_plane.seen == ["It waits."]


def test_one_without_secrets_has_a_repository_still() -> None:
    wanted = decommissioning_state().model_copy(update={"secrets": ()})
    control_plane, workers = FakeControlPlane(claim(wanted=wanted)), FakeWorkers()
    assert carry_out(control_plane, workers).success
    assert Step.ARCHIVE_ENVIRONMENT_REPOSITORY in workers.steps_called()
    assert control_plane.finalized is not None


def test_what_the_agent_keeps_lets_the_request_wait(control_plane: FakeControlPlane) -> None:
    assert carry_out(control_plane, FakeWorkers(still_seen=10_000)).success
    assert control_plane.waits == [(WaitingReason.ENDED_STILL_SEEN, 60.0)]
    assert all(control_plane.seen)
    assert control_plane.finalized is None
