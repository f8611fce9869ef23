"""Onboarding, rotation and revocation through the whole engine; provisioning has `test_engine`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from idp_kernel.errors import Conflict, ProviderRejected
from idp_kernel.ids import new_id
from idp_kernel.wire import worker
from idp_kernel.wire.engine import RotationCause, RotationDesiredState, RunEnding
from idp_kernel.workflows import (
    APPLICATION_DECOMMISSIONING,
    APPLICATION_ENVIRONMENT_DECOMMISSIONING,
    APPLICATION_ONBOARDING,
    SECRET_REVOCATION,
    SECRET_ROTATION,
    RequestState,
    Step,
    WorkflowName,
)
from tests.integration.idp_dagster.conftest import Engine, messages, wait_for
from tests.integration.idp_dagster.stand_in import StoodInRequest

pytestmark = pytest.mark.usefixtures("fresh_record")

PHASE_1, PHASE_2 = SECRET_ROTATION.phases
ONBOARDING_PATHS = [
    worker.GIT_REPOSITORIES_VALIDATE,
    worker.GIT_REPOSITORIES,
    worker.GIT_REPOSITORIES,
    worker.GIT_REPOSITORIES_SEED,
    worker.GIT_BRANCH_PROTECTION,
]
PHASE_1_PATHS = [
    worker.SECRETS_VALIDATE,
    worker.SECRETS_ISSUE,
    worker.SECRETS_VERIFY,
    worker.SECRETS_BINDINGS_UPDATE,
    worker.SECRETS_CONSUMERS,
]


def test_an_application_is_onboarded(engine: Engine) -> None:
    request = engine.stand_in.add_request(WorkflowName.APPLICATION_ONBOARDING)
    wait_for(engine, request, RequestState.SUCCEEDED)

    assert [step for _, step, _ in request.started] == list(APPLICATION_ONBOARDING.steps)
    assert set(request.results) == set(APPLICATION_ONBOARDING.steps)
    calls = engine.stand_in.workers.calls
    assert [call.path for call in calls] == ONBOARDING_PATHS
    assert [call.key.rsplit("/", 1)[-1] for call in calls] == [*APPLICATION_ONBOARDING.steps[:5]]
    (declared,) = request.results[Step.DECLARE_APPLICATION_ENVIRONMENTS].items
    assert declared.references["environment"] == "dev"
    run = engine.wait_for_status(request.runs[0], "SUCCESS")
    assert "idp/application_environment_id" not in run["tags"]


def test_a_rotation_is_two_runs_with_none_between(engine: Engine) -> None:
    request = engine.stand_in.add_request(WorkflowName.SECRET_ROTATION)
    wait_for(engine, request, RequestState.WAITING)
    first = engine.wait_for_status(request.runs[0], "SUCCESS")
    assert first["tags"]["idp/secret_id"] == request.subject_id
    assert [step for _, step, _ in request.started] == list(PHASE_1.steps)
    assert set(request.results) == set(PHASE_1.steps)
    assert [call.path for call in engine.stand_in.workers.calls] == PHASE_1_PATHS
    engine.stand_in.wait_for(lambda: unfinished_runs(engine) == [])

    request.started.clear()
    engine.stand_in.wake(request)
    wait_for(engine, request, RequestState.SUCCEEDED)
    assert [(attempt, step) for attempt, step, _ in request.started] == [
        (2, step) for step in PHASE_2.steps
    ]
    assert set(request.results) == set(SECRET_ROTATION.steps)
    retired = engine.stand_in.workers.calls[-1]
    assert isinstance(retired.body, worker.RetireCredential)
    assert retired.body.version == 2, "what the first phase issued"
    engine.wait_for_status(request.runs[1], "SUCCESS")
    engine.stand_in.wait_for(
        lambda: [each.ending for each in request.reports] == [RunEnding.SUCCEEDED] * 2
    )


def test_a_secret_is_revoked(engine: Engine) -> None:
    request = engine.stand_in.add_request(WorkflowName.SECRET_REVOCATION)
    wait_for(engine, request, RequestState.SUCCEEDED)
    assert [step for _, step, _ in request.started] == list(SECRET_REVOCATION.steps)
    assert set(request.results) == set(SECRET_REVOCATION.steps)
    assert [call.path for call in engine.stand_in.workers.calls] == [
        worker.SECRETS_BINDINGS_REMOVE,
        worker.SECRETS_VERIFY_ENDED,
        worker.SECRETS_END,
        worker.SECRETS_VERIFY_ENDED,
    ]
    run = engine.wait_for_status(request.runs[0], "SUCCESS")
    assert run["tags"]["idp/secret_id"] == request.subject_id


def test_an_environment_is_decommissioned(engine: Engine) -> None:
    request = engine.stand_in.add_request(WorkflowName.APPLICATION_ENVIRONMENT_DECOMMISSIONING)
    wait_for(engine, request, RequestState.SUCCEEDED)
    steps = APPLICATION_ENVIRONMENT_DECOMMISSIONING.steps
    assert [step for _, step, _ in request.started] == list(steps)
    assert [call.path for call in engine.stand_in.workers.calls] == [
        worker.GIT_REPOSITORIES_ARCHIVE,
        worker.GIT_REPOSITORIES_VERIFY_ARCHIVED,
    ]
    run = engine.wait_for_status(request.runs[0], "SUCCESS")
    assert run["tags"]["idp/application_environment_id"] == request.subject_id


def test_an_application_is_decommissioned(engine: Engine) -> None:
    request = engine.stand_in.add_request(WorkflowName.APPLICATION_DECOMMISSIONING)
    wait_for(engine, request, RequestState.SUCCEEDED)
    steps = APPLICATION_DECOMMISSIONING.steps
    assert [step for _, step, _ in request.started] == list(steps)
    archive, look = engine.stand_in.workers.calls
    assert archive.path == worker.GIT_REPOSITORIES_ARCHIVE
    assert look.path == worker.GIT_REPOSITORIES_VERIFY_ARCHIVED
    assert archive.body == look.body
    engine.wait_for_status(request.runs[0], "SUCCESS")


def test_a_revocation_that_a_person_launches_is_a_request(engine: Engine) -> None:
    secret_id = new_id()
    config = {"secret_id": secret_id, "reason": "Its service was switched off."}
    run_id = engine.launch(config, SECRET_REVOCATION.phase(1).job_name)
    run = engine.wait_for_status(run_id, "SUCCESS")
    request = engine.stand_in.requests[run["tags"]["idp/request_id"]]
    assert (request.subject_id, request.workflow) == (secret_id, WorkflowName.SECRET_REVOCATION)


def test_a_finished_rotation_shows_in_the_catalog(engine: Engine) -> None:
    request = rotated(engine)
    wanted = request.wanted
    assert isinstance(wanted, RotationDesiredState)
    engine.wait_for_status(request.runs[-1], "SUCCESS")
    shown = engine.graphql(_MATERIALIZATIONS, asset="secrets", partition=request.subject_id)
    (newest,) = shown["assetOrError"]["assetMaterializations"]
    entries = {each["label"]: each for each in newest["metadataEntries"]}
    assert entries["version"]["intValue"] == 2
    assert entries["store_path"]["text"] == wanted.store_path
    assert entries["api"]["url"].endswith(f"/v1/secrets/{request.subject_id}")
    environment_id = wanted.subject.application_environment_id
    moved = engine.graphql(
        _MATERIALIZATIONS, asset="application_environments", partition=environment_id
    )
    assert len(moved["assetOrError"]["assetMaterializations"]) == 1


def test_a_failed_retirement_is_run_again_from_the_ui(engine: Engine) -> None:
    moved = ProviderRejected("Somebody moved a binding back.", code="binding_moved")
    engine.stand_in.workers.script.errors[worker.SECRETS_RETIRE] = [moved]
    request = engine.stand_in.add_request(WorkflowName.SECRET_ROTATION)
    wait_for(engine, request, RequestState.WAITING)
    engine.stand_in.wake(request)
    wait_for(engine, request, RequestState.FAILED)
    failed = engine.wait_for_status(request.runs[1], "FAILURE")
    assert "Somebody moved a binding back." in messages(failed)

    request.started.clear()
    engine.rerun(request.runs[1], "FROM_FAILURE")
    wait_for(engine, request, RequestState.SUCCEEDED)
    assert [(attempt, step) for attempt, step, _ in request.started] == [
        (3, step) for step in PHASE_2.steps
    ]


def test_the_first_phase_of_a_request_in_its_second_is_not_run_again(engine: Engine) -> None:
    request = rotated(engine)
    refused_id = engine.rerun(request.runs[0], "ALL_STEPS")
    refused = engine.wait_for_status(refused_id, "FAILURE")
    assert "The request is in phase 2." in messages(refused)
    assert refused_id not in request.runs


def test_a_rotation_that_a_person_launches_is_a_request(engine: Engine) -> None:
    secret_id = new_id()
    config = {"secret_id": secret_id, "reason": "It was shown on a screen."}
    run_id = engine.launch(config, PHASE_1.job_name)
    run = engine.wait_for_status(run_id, "SUCCESS")
    request = engine.stand_in.requests[run["tags"]["idp/request_id"]]
    assert (request.subject_id, request.workflow) == (secret_id, WorkflowName.SECRET_ROTATION)
    assert request.reasons == ["It was shown on a screen.", "rotation_grace"]


def test_a_retirement_that_a_person_launches_is_refused(engine: Engine) -> None:
    known = len(engine.stand_in.requests)
    config = {"secret_id": new_id(), "reason": "why"}
    run = engine.wait_for_status(engine.launch(config, PHASE_2.job_name), "FAILURE")
    assert "The request is in phase 1." in messages(run)
    assert len(engine.stand_in.requests) == known
    assert engine.stand_in.workers.calls == []


def test_an_incomplete_launch_says_what_its_job_needs(engine: Engine) -> None:
    run = engine.wait_for_status(engine.launch({}, "application_onboarding"), "FAILURE")
    assert "application_id: <the id" in messages(run)


def test_an_event_that_asks_for_a_rotation_gets_one_whatever_becomes_of_others(
    engine: Engine,
) -> None:
    rotations = engine.stand_in.rotations
    refused, good = (
        RotationCause(event_id=new_id(), type="secret_expiring", secret_id=new_id())
        for _ in range(2)
    )
    rotations.refused[refused.event_id] = Conflict("In grace.", code="rotation_in_grace")
    known = set(engine.stand_in.requests)
    rotations.causes = [refused, good]
    engine.stand_in.wait_for(lambda: rotations.causes == [refused])
    rotations.causes = []
    (request_id,) = set(engine.stand_in.requests) - known
    wait_for(engine, engine.stand_in.requests[request_id], RequestState.WAITING)


def test_due_rotations_are_asked_for_with_the_time_they_are_due_at(engine: Engine) -> None:
    scheduled_at = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
    config = {"scheduled_at": scheduled_at.isoformat()}
    run_id = engine.launch(config, "secret_rotation_enqueue")
    run = engine.wait_for_status(run_id, "SUCCESS")
    assert engine.stand_in.rotations.scheduled.count(scheduled_at) == 1
    assert run["tags"]["dagster/max_runtime"] == "120"


def test_the_scheduler_is_at_work(engine: Engine) -> None:
    def running() -> bool:
        daemons = engine.graphql(_DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return any(each["daemonType"] == "SCHEDULER" and each["healthy"] for each in daemons)

    engine.stand_in.wait_for(running)
    schedules = engine.graphql(_SCHEDULES, selector=_REPOSITORY)["schedulesOrError"]["results"]
    assert {each["name"]: each["scheduleState"]["status"] for each in schedules} == {
        "secret_rotation_schedule": "RUNNING",
        "application_environment_checks_schedule": "RUNNING",
        "secret_checks_schedule": "RUNNING",
    }


def rotated(engine: Engine) -> StoodInRequest:
    """A request that went through both phases."""
    request = engine.stand_in.add_request(WorkflowName.SECRET_ROTATION)
    wait_for(engine, request, RequestState.WAITING)
    engine.stand_in.wake(request)
    wait_for(engine, request, RequestState.SUCCEEDED)
    return request


def unfinished_runs(engine: Engine) -> list[str]:
    statuses = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"]
    runs = engine.graphql(_RUNS, filter={"statuses": statuses})["runsOrError"]["results"]
    return [run["runId"] for run in runs]


_REPOSITORY = {"repositoryLocationName": "idp", "repositoryName": "__repository__"}
_RUNS = """query ($filter: RunsFilter!) { runsOrError(filter: $filter) {
  ... on Runs { results { runId } } } }"""
_DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { daemonType healthy } } } }"
_SCHEDULES = """query ($selector: RepositorySelector!) {
  schedulesOrError(repositorySelector: $selector) {
    ... on Schedules { results { name scheduleState { status } } } } }"""
_MATERIALIZATIONS = """query ($asset: String!, $partition: String!) {
  assetOrError(assetKey: {path: [$asset]}) { ... on Asset {
    assetMaterializations(partitions: [$partition]) { metadataEntries { label
      ... on IntMetadataEntry { intValue } ... on TextMetadataEntry { text }
      ... on UrlMetadataEntry { url } } } } } }"""
