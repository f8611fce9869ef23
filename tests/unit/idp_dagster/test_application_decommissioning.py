"""The decommissioning job of an application on fakes: all its repositories, then a last look."""

from __future__ import annotations

import pytest
from dagster import ExecuteInProcessResult

from idp_dagster.jobs.application_decommissioning import (
    application_decommissioning,
    application_decommissioning_steps,
)
from idp_kernel.ids import new_id
from idp_kernel.wire.engine import ApplicationDecommissioningDesiredState
from idp_kernel.wire.worker import (
    REPOSITORIES_PER_CALL,
    ArchiveRepositories,
    VerifySecretEnded,
)
from idp_kernel.workflows import APPLICATION_DECOMMISSIONING, Step, WaitingReason
from tests.unit.idp_dagster.fakes import (
    FakeControlPlane,
    FakeWorkers,
    application_end_state,
    claim,
)
from tests.unit.idp_dagster.running import QUICK, run_steps

STEPS = list(APPLICATION_DECOMMISSIONING.steps)


@pytest.fixture
def control_plane() -> FakeControlPlane:
    return FakeControlPlane(claim(wanted=application_end_state()))


def carry_out(
    control_plane: FakeControlPlane, workers: FakeWorkers, selection: list[str] | None = None
) -> ExecuteInProcessResult:
    first = 0 if selection is None else STEPS.index(Step(selection[0].rstrip("*")))
    looking = Step.VERIFY_APPLICATION_ENDED
    ops = {str(looking): QUICK} if STEPS.index(looking) >= first else None
    steps = application_decommissioning_steps
    return run_steps(steps, control_plane, workers, ops=ops, selection=selection)


def test_the_job_says_what_starts_it_and_that_nothing_takes_it_back() -> None:
    told = application_decommissioning.description or ""
    assert "POST /v1/applications/{id}/decommission" in told
    assert "Nothing takes that back." in told


def test_its_repositories_and_those_of_its_environments_are_archived_and_looked_at(
    control_plane: FakeControlPlane,
) -> None:
    workers = FakeWorkers()
    assert carry_out(control_plane, workers).success
    assert list(dict.fromkeys(workers.steps_called())) == STEPS[:-1]
    wanted = control_plane.claim.wanted(ApplicationDecommissioningDesiredState)
    archives = [body for _, body, _ in workers.calls if isinstance(body, ArchiveRepositories)]
    assert [each.repositories for each in archives] == [wanted.repositories] * 2
    (look,) = [body for _, body, _ in workers.calls if isinstance(body, VerifySecretEnded)]
    assert look.secret == wanted.ended_secrets[0].secret
    permits = [permit for _, _, permit in workers.calls]
    assert len({id(permit) for permit in permits}) == len(permits), "each call has its own leave"
    assert control_plane.finalized is not None


def test_no_call_names_more_repositories_than_it_may() -> None:
    wanted = application_end_state()
    of_environment = wanted.repositories[-1]
    many = tuple(
        of_environment.model_copy(update={"repository_id": new_id()})
        for _ in range(REPOSITORIES_PER_CALL + 5)
    )
    control_plane = FakeControlPlane(
        claim(wanted=wanted.model_copy(update={"repositories": many, "ended_secrets": ()}))
    )
    workers = FakeWorkers()
    assert carry_out(control_plane, workers).success
    archives = [body for _, body, _ in workers.calls if isinstance(body, ArchiveRepositories)]
    assert [len(each.repositories) for each in archives] == [REPOSITORIES_PER_CALL, 5] * 2
    named = [each for body in archives[:2] for each in body.repositories]
    assert tuple(named) == many
    assert control_plane.finalized is not None
    told = control_plane.finalized[Step.ARCHIVE_APPLICATION_REPOSITORIES]
    assert len(told.items) == len(many)


def test_what_somebody_has_still_lets_the_request_wait(control_plane: FakeControlPlane) -> None:
    assert carry_out(control_plane, FakeWorkers(still_seen=10_000)).success
    assert control_plane.waits == [(WaitingReason.ENDED_STILL_SEEN, 60.0)]
    assert control_plane.finalized is None
