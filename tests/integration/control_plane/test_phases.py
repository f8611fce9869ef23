"""A workflow of two phases with a wait between that keeps nothing from others."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from control_plane.application.ports import Work
from control_plane.application.workflows.flow import Initiator, Results
from control_plane.application.workflows.registry import FLOWS
from control_plane.domain.requests import Request, SubjectKind
from control_plane.failpoints import END_PHASE_AFTER_COMMIT, END_PHASE_BEFORE_COMMIT
from idp_kernel.ids import new_id
from idp_kernel.wire.engine import RotationDesiredState
from idp_kernel.wire.worker import AppEnvSubject, SecretWanted
from idp_kernel.workflows import SECRET_ROTATION, WorkflowName
from tests.fixtures.stack import FreshDatabase, PostgresServer
from tests.integration.control_plane.conftest import Platform, new_database
from tests.integration.control_plane.engine_run import EngineRun, claimed, launch, offers, report
from tests.integration.control_plane.held import arm

GRACE = timedelta(seconds=6)
FIRST, SECOND = (phase.steps for phase in SECRET_ROTATION.phases)


class TwoPhases:
    """A flow that moves nothing: what is tested here is the machine that all flows share."""

    subject = SubjectKind.SECRET

    def lock(self, work: Work, request: Request) -> None:
        work.application_environments.secrets(str(request.application_environment_id), lock=True)

    def check_rules(self, work: Work, request: Request) -> None: ...

    def give_up(self, work: Work, request: Request) -> None: ...

    def left_behind(self, _work: Work, _request: Request) -> str | None:
        return None

    def restart(self, work: Work, request: Request) -> None: ...

    def end_phase(self, work: Work, _request: Request, _results: Results) -> datetime:
        return work.now + GRACE

    def finalize(self, work: Work, request: Request, results: Results) -> None: ...

    def launch(self, work: Work, initiator: Initiator, subject_id: str) -> Request:
        raise AssertionError("no test here launches by hand")


@pytest.fixture(scope="module")
def migrated(postgres_server: PostgresServer) -> FreshDatabase:
    """A database of its own, since no other test could go on with the requests made here."""
    return new_database(postgres_server)


@pytest.fixture(autouse=True)
def two_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FLOWS, WorkflowName.SECRET_ROTATION, TwoPhases())


def start(platform: Platform, done: Any) -> str:
    """The id of a request on the one secret of an environment."""
    secret = platform.environment_of(done["id"])["secrets"][0]
    environment = platform.environment_of(done["id"])
    with platform.services.begin() as work:
        request = Request.new(
            id_=new_id(),
            workflow=WorkflowName.SECRET_ROTATION,
            team_id=work.requests.by_id(done["id"]).team_id,  # type: ignore[union-attr]
            application_id=done["applicationId"],
            application_environment_id=environment["id"],
            secret_id=secret["id"],
            requested_by="ada",
            reason="",
            traceparent=None,
            now=work.now,
        )
        names = {key: environment[key] for key in ("team", "application", "environment")}
        wanted = {key: secret[key] for key in ("name", "purpose", "sensitivity", "issuer")}
        desired = RotationDesiredState(
            subject=AppEnvSubject(application_environment_id=environment["id"], **names),
            secret=SecretWanted(secret_id=secret["id"], **wanted),
            store_path=secret["storePath"],
            bindings=(),
            grace_seconds=int(GRACE.total_seconds()),
            emergency=False,
        )
        work.requests.add(request, desired, [(SubjectKind.SECRET, secret["id"])])
    return request.id


@pytest.fixture
def provisioned(platform: Platform) -> Any:
    """The request that made an environment."""
    run = claimed(platform, platform.provision(platform.new_subject()))
    run.do_all()
    run.finalize()
    return platform.request(run.request_id)


def test_a_phase_ends_in_a_wait_and_the_next_is_a_run_of_its_own(
    platform: Platform, provisioned: Any
) -> None:
    platform.clock.stand_still()
    request_id = start(platform, provisioned)
    offer = offers(platform)[request_id]
    assert (offer["phase"], offer["secretId"]) == (1, platform.request(request_id)["secretId"])
    run = claimed(platform, request_id)
    run.start(FIRST[0])
    for _ in range(2):
        assert run.end_phase().json()["state"] == "waiting"
    waiting = platform.request(request_id)
    assert (waiting["phase"], waiting["waitingReason"]) == (2, "rotation_grace")
    assert waiting["waitingUntil"] is not None
    assert [step["step"] for step in waiting["steps"]] == list(FIRST)
    assert waiting["plannedSteps"] == [*FIRST, *SECOND]
    platform.sweep_after(GRACE.total_seconds() - 2)
    assert platform.request(request_id)["state"] == "waiting"
    platform.sweep_after(3)
    assert run.end_phase().json()["state"] == "pending"
    assert run.end(FIRST[-1]) == "pending"
    assert report(platform, run, "succeeded") == {"accepted": False, "state": "pending"}
    assert offers(platform)[request_id]["phase"] == 2
    retiring = claimed(platform, request_id, attempt=2)
    assert retiring.claim["phase"] == 2
    assert set(retiring.claim["outcomes"]) == set(FIRST)
    assert retiring.claim["desiredState"]["graceSeconds"] == GRACE.total_seconds()
    assert retiring.say("finalize", outcomes={}).json()["code"] == "outcomes_missing"
    done = retiring.say("finalize", outcomes={SECOND[0]: {}})
    assert done.json()["state"] == "succeeded"
    events = platform.events(requestId=request_id)
    assert events == ["workflow_secret_rotation_completed"]


def test_events_of_a_run_are_about_the_subject_of_its_request(
    platform: Platform, provisioned: Any
) -> None:
    request_id = start(platform, provisioned)
    run = claimed(platform, request_id)
    run.end(FIRST[1], result={"events": ["credential_issuer_credential_issued"]})
    (event,) = platform.admin.seen("/v1/events", requestId=request_id)["items"]
    assert event["subject"] == f"secret/{platform.request(request_id)['secretId']}"


def test_a_phase_is_ended_in_its_own_way_only(platform: Platform, provisioned: Any) -> None:
    run = claimed(platform, start(platform, provisioned))
    early = run.say("finalize", outcomes={step: {} for step in (*FIRST, *SECOND)})
    assert (early.status_code, early.json()["code"]) == (409, "wrong_phase")
    missing = run.say("end-phase", outcomes={FIRST[0]: {}})
    assert (missing.status_code, missing.json()["code"]) == (422, "outcomes_missing")
    assert missing.json()["missing"] == list(FIRST[1:-1])
    stranger = run.say("end-phase", outcomes={"seed_repositories": {}})
    assert stranger.status_code == 404
    assert platform.request(run.request_id)["steps"] == []
    run.end_phase()
    platform.sweep_after(GRACE.total_seconds() + 1)
    retiring = claimed(platform, run.request_id, attempt=2)
    late = retiring.say("end-phase", outcomes={step: {} for step in (*FIRST, *SECOND)})
    assert (late.status_code, late.json()["code"]) == (409, "wrong_phase")


def test_a_wait_that_keeps_nothing_is_over_only_when_its_subjects_are_free(
    platform: Platform, provisioned: Any
) -> None:
    waiting_id = start(platform, provisioned)
    claimed(platform, waiting_id).end_phase()
    other_id = start(platform, provisioned)
    other = claimed(platform, other_id)
    platform.sweep_after(GRACE.total_seconds() + 1)
    assert platform.request(waiting_id)["state"] == "waiting"
    assert other.fail(FIRST[0], retryable=False) == "failed"
    platform.sweep_after(1)
    assert platform.request(waiting_id)["state"] == "pending"
    with pytest.raises(Exception, match="at work"):
        start(platform, provisioned)


def test_a_job_of_another_phase_is_refused(platform: Platform, provisioned: Any) -> None:
    run = claimed(platform, start(platform, provisioned))
    run.fail(FIRST[0], retryable=False)
    for workflow, phase in (("SecretRotation", 2), ("ApplicationEnvironmentProvisioning", 1)):
        wrong = launch(platform, workflow=workflow, phase=phase, parentRunId=run.run_id)
        assert (wrong.status_code, wrong.json()["code"]) == (409, "wrong_phase")
    right = launch(platform, workflow="SecretRotation", parentRunId=run.run_id)
    assert (right.status_code, right.json()["attempt"]) == (200, 2)
    again = EngineRun(platform, right.json())
    again.end_phase()
    platform.admin.ok(f"/v1/workflow-requests/{run.request_id}/cancel", {})
    wrong = launch(platform, workflow="SecretRotation", parentRunId=again.run_id)
    assert (wrong.status_code, wrong.json()["code"]) == (409, "wrong_phase")
    right = launch(platform, workflow="SecretRotation", phase=2, parentRunId=again.run_id)
    assert (right.status_code, right.json()["phase"]) == (200, 2)


@pytest.mark.parametrize(
    ("name", "seen_meanwhile"),
    [(END_PHASE_BEFORE_COMMIT, "running"), (END_PHASE_AFTER_COMMIT, "waiting")],
)
def test_the_end_of_a_phase_can_be_held_on_both_sides_of_its_commit(
    platform: Platform, provisioned: Any, failpoints: Path, name: str, seen_meanwhile: str
) -> None:
    run = claimed(platform, start(platform, provisioned))
    held = arm(failpoints, name)
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(run.end_phase().status_code))
    thread.start()
    held.wait()
    assert platform.request(run.request_id)["state"] == seen_meanwhile
    held.let_go()
    thread.join()
    assert answers == [200]
    assert platform.request(run.request_id)["state"] == "waiting"
