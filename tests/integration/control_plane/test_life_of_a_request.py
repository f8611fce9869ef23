"""The life of a request over HTTP, from the command to the end, on real PostgreSQL."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event, text
from structlog.testing import capture_logs

from control_plane.adapters.database import transaction
from control_plane.adapters.queries import SqlQueries
from control_plane.settings import ControlPlaneSettings
from idp_kernel.downstream import OTHER
from idp_kernel.errors import Unavailable
from idp_kernel.ids import new_id
from idp_kernel.services import ServiceName
from idp_kernel.telemetry.subjects import WORKFLOW_REQUEST_ID
from idp_kernel.wire.engine import CANCEL_REQUESTED, METRICS_PROJECTION, RUN_INTERRUPTED
from idp_kernel.workflows import Step
from tests.integration.control_plane.conftest import Platform, eventually, somebody_waits_for_a_lock
from tests.integration.control_plane.engine_run import (
    REVISION,
    STEPS,
    EngineRun,
    ask_claim,
    claimed,
    launch,
    offers,
    report,
)

ENVIRONMENT_EVENTS = [
    "application_environment_provisioning_requested",
    "git_repository_created",
    "git_branch_protection_applied",
    "secret_store_secret_written",
    "git_secret_bindings_committed",
    "gitops_reconciliation_verified",
    "workflow_appenv_provisioning_completed",
]


PROVISIONING = "ApplicationEnvironmentProvisioning"


def step_states(platform: Platform, request_id: str) -> list[str]:
    return [step["state"] for step in platform.request(request_id)["steps"]]


def test_a_command_becomes_an_active_environment(platform: Platform) -> None:
    subject = platform.new_subject()
    answer = platform.admin.post(
        f"/v1/applications/{subject.application_id}/environments",
        {"environment": subject.environment, "secrets": [{"name": "app-key"}, {"name": "db-key"}]},
    )
    assert answer.status_code == 202
    request_id = answer.json()["requestId"]
    assert answer.headers["Location"] == f"/v1/workflow-requests/{request_id}"
    environment = platform.environment_of(request_id)
    assert environment["state"] == "Provisioning"
    assert environment["activeRequestId"] == request_id
    assert {each["state"] for each in environment["secrets"]} == {"Provisioning"}

    offer = offers(platform)[request_id]
    assert offer["attempt"] == 1
    run = claimed(platform, request_id)
    assert run.claim["desiredState"]["subject"]["team"] == subject.team
    assert run.claim["desiredState"]["repository"]["name"] == environment["repositoryName"]
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"

    request = platform.request(request_id)
    assert request["state"] == "succeeded"
    assert [step["step"] for step in request["steps"]] == list(STEPS)
    assert {step["state"] for step in request["steps"]} == {"succeeded"}
    (attempt,) = request["attempts"]
    assert (attempt["runId"], attempt["ending"]) == (run.run_id, "succeeded")
    environment = platform.environment_of(request_id)
    assert environment["state"] == "Active"
    assert environment["revision"] == REVISION
    assert environment["repositoryUrl"] == "http://forge/r.git"
    assert environment["activeRequestId"] is None
    assert {
        (each["name"], each["state"], each["storePath"], each["version"], each["bindingState"])
        for each in environment["secrets"]
    } == {
        ("app-key", "Active", "kv/app-key", 3, "Active"),
        ("db-key", "Active", "kv/db-key", 3, "Active"),
    }
    assert platform.events(requestId=request_id) == ENVIRONMENT_EVENTS


def test_finalize_fills_in_what_no_hook_told_and_repeats_change_nothing(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    run.start(STEPS[0])
    run.end(STEPS[0])
    run.start(STEPS[1])
    before = platform.request(request_id)
    assert [step["state"] for step in before["steps"]] == ["succeeded", "running"]
    for _ in range(2):
        assert run.finalize().json()["state"] == "succeeded"
    assert run.end(STEPS[2]) == "succeeded"
    assert run.start(STEPS[2], retry_number=4) == "succeeded"
    request = platform.request(request_id)
    assert [step["state"] for step in request["steps"]] == ["succeeded"] * len(STEPS)
    assert platform.events(requestId=request_id) == ENVIRONMENT_EVENTS


def test_finalize_is_refused_while_a_step_has_no_outcome(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    refused = run.say("finalize", outcomes={})
    assert refused.status_code == 422
    assert refused.json()["code"] == "outcomes_missing"
    assert platform.request(request_id)["state"] == "running"
    assert platform.request(request_id)["steps"] == []
    nowhere = run.say("finalize", outcomes={step: {} for step in STEPS[:-1]})
    assert nowhere.json()["code"] == "outcomes_missing"
    assert platform.environment_of(request_id)["state"] == "Provisioning"


def test_an_outcome_that_cannot_be_retried_fails_the_request(platform: Platform) -> None:
    subject = platform.new_subject()
    request_id = platform.provision(subject)
    run = claimed(platform, request_id)
    run.start(STEPS[0])
    assert run.fail(STEPS[0], retryable=False) == "failed"
    assert run.fail(STEPS[0], retryable=False) == "failed"
    request = platform.request(request_id)
    assert request["error"]["code"] == "boom"
    assert "it broke" in request["error"]["message"]
    environment = platform.environment_of(request_id)
    assert environment["state"] == "Declared"
    assert {each["bindingState"] for each in environment["secrets"]} == {"Declared"}
    assert report(platform, run, "failed") == {"accepted": False, "state": "failed"}
    ending = platform.admin.seen(
        "/v1/events", requestId=request_id, type="workflow_appenv_provisioning_failed"
    )
    (event,) = ending["items"]
    assert event["data"]["reason"] == "boom"
    assert "it broke" in event["data"]["message"]
    assert run.say("lease").json()["code"] == "claim_lost"


def test_a_failed_provisioning_can_be_asked_for_again(platform: Platform) -> None:
    subject = platform.new_subject()
    first = platform.provision(subject)
    claimed(platform, first).fail(STEPS[0], retryable=False)
    second = platform.provision(subject, "app-key", "more-key")
    assert second != first
    run = claimed(platform, second)
    run.do_all()
    run.finalize()
    environment = platform.environment_of(second)
    assert environment["state"] == "Active"
    assert environment["id"] == platform.request(first)["applicationEnvironmentId"]
    assert [each["name"] for each in environment["secrets"]] == ["app-key", "more-key"]
    again = platform.admin.post(
        f"/v1/applications/{subject.application_id}/environments",
        {"environment": subject.environment},
    )
    assert again.status_code == 409
    assert again.json()["code"] == "move_refused"
    assert (again.json()["current"], again.json()["wanted"]) == ("Active", "Provisioning")


def test_a_transient_failure_pauses_and_then_offers_the_next_attempt(platform: Platform) -> None:
    platform.clock.stand_still()
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    run.do_all(STEPS[:2])
    assert run.fail(STEPS[2], retryable=True) == "pending"
    assert request_id not in offers(platform)
    platform.clock.advance(1.1)
    assert offers(platform)[request_id]["attempt"] == 2
    again = claimed(platform, request_id, attempt=2)
    assert set(again.claim["outcomes"]) == set(STEPS[:2])
    assert again.claim["fence"] == run.claim["fence"] + 1
    again.do_all()
    again.finalize()
    assert platform.events(requestId=request_id) == ENVIRONMENT_EVENTS
    endings = [each["ending"] for each in platform.request(request_id)["attempts"]]
    assert endings == ["failed", "succeeded"]


def test_attempts_are_used_up_in_the_end_and_a_retry_renews_them(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    most = ControlPlaneSettings.model_fields["max_attempts"].default
    for attempt in range(1, most + 1):
        run = claimed(platform, request_id, attempt=attempt)
        state = run.fail(STEPS[0], retryable=True)
        assert state == ("failed" if attempt == most else "pending")
    assert f"All {most} attempts" in platform.request(request_id)["error"]["message"]
    answer = platform.admin.post(
        f"/v1/workflow-requests/{request_id}/retry", {"reason": "forge is back"}
    )
    assert answer.status_code == 202
    assert platform.environment_of(request_id)["state"] == "Provisioning"
    run = claimed(platform, request_id, attempt=most + 1)
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    refused = platform.admin.post(f"/v1/workflow-requests/{request_id}/retry", {})
    assert refused.json()["code"] == "move_refused"


def test_a_step_more_gives_all_attempts_back_and_a_replayed_one_none(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    most = ControlPlaneSettings.model_fields["max_attempts"].default
    for attempt in range(1, most):
        run = claimed(platform, request_id, attempt=attempt)
        assert run.fail(STEPS[0], retryable=True) == "pending"
    run = claimed(platform, request_id, attempt=most)
    run.do_all(STEPS[:1])
    for attempt in range(most, 2 * most):
        assert run.fail(STEPS[1], retryable=True) == (
            "failed" if attempt == 2 * most - 1 else "pending"
        )
        if attempt < 2 * most - 1:
            run = claimed(platform, request_id, attempt=attempt + 1)
            run.do_all(STEPS[:1])
    assert f"All {most} attempts since" in platform.request(request_id)["error"]["message"]


def test_a_second_command_is_told_the_id_of_the_first(platform: Platform) -> None:
    subject = platform.new_subject()
    request_id = platform.provision(subject)
    before = platform.environment_of(request_id)
    refused = platform.admin.post(
        f"/v1/applications/{subject.application_id}/environments",
        {"environment": subject.environment, "secrets": [{"name": "other"}]},
    )
    assert refused.status_code == 409
    assert refused.json()["code"] == "workflow_active"
    assert refused.json()["activeRequestId"] == request_id
    assert platform.environment_of(request_id) == before


def test_a_lost_lease_releases_the_request_once_the_run_is_known_to_be_dead(
    platform: Platform,
) -> None:
    platform.clock.stand_still()
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    run.do_all(STEPS[:1])
    run.start(STEPS[1])
    run.start(STEPS[1], retry_number=1)
    platform.sweep_after(12)
    assert platform.request(request_id)["state"] == "running"
    assert run.say("lease").status_code == 200
    platform.sweep_after(12)
    assert platform.request(request_id)["state"] == "running"
    platform.sweep_after(4)
    assert platform.request(request_id)["state"] == "pending"
    assert request_id not in offers(platform)
    lost = platform.engine_service.seen("/internal/lost-runs")["runs"]
    assert run.run_id in [each["runId"] for each in lost]
    assert report(platform, run, "failed") == {"accepted": False, "state": "pending"}
    assert offers(platform)[request_id]["attempt"] == 2
    assert run.run_id not in [
        each["runId"] for each in platform.engine_service.seen("/internal/lost-runs")["runs"]
    ]
    (attempt,) = platform.request(request_id)["attempts"]
    assert attempt["ending"] == "lost"
    assert step_states(platform, request_id) == ["succeeded", "interrupted"]
    interrupted = platform.request(request_id)["steps"][1]
    assert (interrupted["retries"], interrupted["endedAt"]) == (1, attempt["endedAt"])


def test_a_run_that_a_person_stopped_cancels_its_request_though_its_lease_ended_first(
    platform: Platform,
) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    platform.sweep_after(16)
    assert platform.request(request_id)["state"] == "pending"
    assert report(platform, run, "canceled") == {"accepted": True, "state": "cancelled"}
    assert request_id not in offers(platform)
    assert platform.environment_of(request_id)["state"] == "Declared"
    assert report(platform, run, "canceled") == {"accepted": False, "state": "cancelled"}


def test_the_late_word_of_a_stopped_run_does_not_touch_the_next(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    platform.sweep_after(16)
    claimed(platform, request_id, attempt=2)
    assert report(platform, run, "canceled") == {"accepted": False, "state": "running"}


def test_a_lost_lease_is_logged_with_its_run_and_request(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    with capture_logs() as logs:
        platform.sweep_after(14)
        platform.sweep_after(2)
    lost = [each for each in logs if each["event"] == "lease_lost"]
    of_it = [each["run_id"] for each in lost if each[WORKFLOW_REQUEST_ID] == request_id]
    assert of_it == [run.run_id]


def test_a_lease_is_lost_though_the_engine_ends_the_run_before_a_sweep(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    run.start(STEPS[0])
    before = of_provisioning(projection(platform)["leaseLosses"])
    platform.clock.advance(16)
    with capture_logs() as logs:
        assert report(platform, run, "failed") == {"accepted": True, "state": "pending"}
    assert [each["run_id"] for each in logs if each["event"] == "lease_lost"] == [run.run_id]
    assert of_provisioning(projection(platform)["leaseLosses"]) == before + 1
    (attempt,) = platform.request(request_id)["attempts"]
    assert attempt["ending"] == "lost"
    assert offers(platform)[request_id]["attempt"] == 2
    lost = platform.engine_service.seen("/internal/lost-runs")["runs"]
    assert run.run_id not in [each["runId"] for each in lost]


def test_a_run_that_was_stopped_and_said_so_lost_no_lease(platform: Platform) -> None:
    """Though the word on its end comes late."""
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    run.start(STEPS[0])
    assert run.fail(STEPS[0], retryable=True, code=RUN_INTERRUPTED) == "running"
    before = of_provisioning(projection(platform)["leaseLosses"])
    platform.clock.advance(16)
    assert report(platform, run, "failed") == {"accepted": True, "state": "pending"}
    assert of_provisioning(projection(platform)["leaseLosses"]) == before


def test_nobody_waits_for_ever_for_the_word_on_a_lost_run(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    claimed(platform, request_id)
    platform.sweep_after(16)
    platform.clock.advance(50)
    assert request_id not in offers(platform)
    platform.clock.advance(15)
    assert offers(platform)[request_id]["attempt"] == 2


def test_leases_are_left_alone_for_a_lease_time_after_an_outage(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    claimed(platform, request_id)
    with transaction(platform.engine) as others:
        others.execute(text("LOCK TABLE workflow_requests IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(Unavailable):
            platform.sweep_after(16)
    platform.sweeper.sweep()
    assert platform.request(request_id)["state"] == "running"
    platform.sweep_after(16)
    assert platform.request(request_id)["state"] == "pending"


def test_a_request_that_somebody_holds_does_not_hold_up_those_behind_it(
    platform: Platform,
) -> None:
    held, behind = (platform.provision(platform.new_subject()) for _ in range(2))
    for request_id in (held, behind):
        claimed(platform, request_id)
    with transaction(platform.engine) as somebody:
        query = text("SELECT 1 FROM workflow_requests WHERE id = :id FOR UPDATE")
        somebody.execute(query, {"id": held})
        platform.sweep_after(16)
        assert platform.request(behind)["state"] == "pending"
        assert platform.request(held)["state"] == "running"
    platform.sweeper.sweep()
    assert platform.request(held)["state"] == "pending"


def test_a_request_past_its_deadline_times_out(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run_id = new_id()
    claimed(platform, request_id, run_id=run_id)
    platform.clock.advance(30 * 60 - 10)
    run = claimed(platform, request_id, run_id=run_id)
    assert run.claim["leaseExpiresAt"] == run.claim["deadlineAt"]
    assert run.say("lease").json()["leaseExpiresAt"] == run.claim["deadlineAt"]
    run.start(STEPS[0])
    platform.clock.advance(10)
    assert run.say("lease").json()["code"] == "token_expired"
    assert ask_claim(platform, request_id, run_id).json()["code"] == "deadline_passed"
    platform.sweep_after(1)
    request = platform.request(request_id)
    assert (request["state"], request["error"]["code"]) == ("timed_out", "deadline_passed")
    assert step_states(platform, request_id) == ["interrupted"]
    assert platform.environment_of(request_id)["state"] == "Declared"
    failed = platform.admin.seen("/v1/events", requestId=request_id)["items"][-1]
    assert failed["type"] == "workflow_appenv_provisioning_failed"
    assert failed["data"]["reason"] == "deadline_passed"
    assert run_id in [
        each["runId"] for each in platform.engine_service.seen("/internal/lost-runs")["runs"]
    ]


def test_an_offer_nobody_took_up_times_out_too(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    platform.sweep_after(30 * 60 + 1)
    assert platform.request(request_id)["state"] == "timed_out"
    assert request_id not in offers(platform)


def test_a_wait_ends_the_run_and_is_over_in_time(platform: Platform) -> None:
    platform.clock.stand_still()
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    run.do_all(STEPS[:4])
    run.start(STEPS[4])
    deadline = platform.request(request_id)["deadlineAt"]
    for _ in range(2):
        assert run.tell("wait", reason="gitops_reconciliation_slow", waitSeconds=60) == "waiting"
    assert run.end(STEPS[4]) == "waiting"
    assert platform.request(request_id)["waitingReason"] == "gitops_reconciliation_slow"
    assert step_states(platform, request_id) == ["succeeded"] * 4 + ["interrupted"]
    assert report(platform, run, "succeeded") == {"accepted": False, "state": "waiting"}
    platform.sweep_after(59)
    assert platform.request(request_id)["state"] == "waiting"
    platform.sweep_after(2)
    request = platform.request(request_id)
    assert (request["state"], request["attempt"]) == ("pending", 2)
    assert request["deadlineAt"] > deadline
    again = claimed(platform, request_id, attempt=2)
    again.do_all()
    assert again.finalize().json()["state"] == "succeeded"


def test_cancelling_what_nobody_holds_is_immediate(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    answer = platform.admin.post(f"/v1/workflow-requests/{request_id}/cancel", {"reason": "oops"})
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    environment = platform.environment_of(request_id)
    assert environment["state"] == "Declared"
    assert {each["state"] for each in environment["secrets"]} == {"Declared"}
    assert request_id not in offers(platform)
    refused = ask_claim(platform, request_id, new_id())
    assert (refused.status_code, refused.json()["code"]) == (409, "request_ended")
    again = platform.admin.post(f"/v1/workflow-requests/{request_id}/cancel", {})
    assert again.json()["code"] == "move_refused"
    assert again.json()["current"] == "cancelled"


def test_a_running_request_is_cancelled_by_its_run(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    run.start(STEPS[0])
    run.start(STEPS[1])
    answer = platform.admin.post(f"/v1/workflow-requests/{request_id}/cancel", {"reason": "oops"})
    assert answer.json()["state"] == "running"
    assert run.say("lease").json()["cancelRequested"] is True
    assert run.fail(STEPS[0], retryable=True, code="run_interrupted") == "cancelled"
    assert step_states(platform, request_id) == ["failed", "interrupted"]
    assert platform.environment_of(request_id)["state"] == "Declared"


def test_a_run_that_is_to_be_cancelled_may_not_go_on(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    run.do_all()
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {"reason": "oops"})
    wait = {"reason": "gitops_reconciliation_slow", "waitSeconds": 30}
    for refused in (
        run.say(f"steps/{STEPS[-1]}/start", retryNumber=0),
        run.say("wait", **wait),
        run.finalize(),
    ):
        assert (refused.status_code, refused.json()["code"]) == (409, CANCEL_REQUESTED)
    assert run.say("lease").json()["cancelRequested"] is True


def test_a_cancelled_request_whose_run_is_gone_ends_with_its_lease(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    claimed(platform, request_id).start(STEPS[0])
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {"reason": "oops"})
    platform.sweep_after(16)
    assert platform.request(request_id)["state"] == "cancelled"
    assert step_states(platform, request_id) == ["interrupted"]


def test_a_run_cancelled_in_dagster_cancels_its_request(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    run.start(STEPS[0])
    assert run.fail(STEPS[0], retryable=True, code="run_interrupted") == "running"
    assert report(platform, run, "canceled") == {"accepted": True, "state": "cancelled"}


def test_a_holder_that_ends_without_finalizing_leads_to_the_next_attempt(
    platform: Platform,
) -> None:
    for ending in ("failed", "succeeded"):
        request_id = platform.provision(platform.new_subject())
        run = claimed(platform, request_id)
        assert report(platform, run, ending) == {"accepted": True, "state": "pending"}
        assert report(platform, run, ending) == {"accepted": False, "state": "pending"}
        request = platform.request(request_id)
        assert (request["attempt"], request["state"]) == (2, "pending")


def test_a_run_that_never_claimed_makes_room_for_another(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    offers(platform)
    body = {"requestId": request_id, "runId": new_id(), "attempt": 1, "ending": "never_started"}
    answer = platform.engine_service.post("/internal/run-reports", body).json()
    assert answer == {"accepted": True, "state": "pending"}
    assert platform.engine_service.post("/internal/run-reports", body).json()["accepted"] is False
    platform.clock.advance(1.1)
    assert offers(platform)[request_id]["attempt"] == 2
    assert ask_claim(platform, request_id, new_id()).json()["code"] == "attempt_superseded"


def test_reports_of_strangers_are_ignored(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    for attempt in (1, 2):
        stranger = EngineRun(platform, {**run.claim, "runId": new_id(), "attempt": attempt})
        for ending in ("failed", "canceled", "succeeded", "never_started"):
            answer = report(platform, stranger, ending)
            assert answer == {"accepted": False, "state": "running"}
    assert run.say("lease").status_code == 200


def test_a_run_learns_whether_it_still_holds_its_claim(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    standing = platform.engine_service.seen(f"/internal/runs/{run.run_id}")
    assert standing["holdsClaim"] is True
    assert standing["requestId"] == request_id
    run.fail(STEPS[0], retryable=True)
    standing = platform.engine_service.seen(f"/internal/runs/{run.run_id}")
    assert (standing["holdsClaim"], standing["leaseExpiresAt"]) == (False, None)
    assert platform.engine_service.get(f"/internal/runs/{new_id()}").status_code == 404
    assert platform.engine_service.get("/internal/runs/a%00b").status_code == 404


def test_a_rule_broken_since_the_command_fails_the_claim_for_good(platform: Platform) -> None:
    subject = platform.new_subject()
    request_id = platform.provision(subject)
    platform.admin.ok(f"/v1/environments/{subject.environment}/freeze")
    refused = ask_claim(platform, request_id, new_id())
    assert (refused.status_code, refused.json()["code"]) == (409, "environment_not_active")
    request = platform.request(request_id)
    assert (request["state"], request["error"]["code"]) == ("failed", "environment_not_active")
    assert platform.environment_of(request_id)["state"] == "Declared"


def test_the_metrics_tell_what_was_committed(platform: Platform) -> None:
    before = projection(platform)
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    run.start(STEPS[0])
    run.start(STEPS[0], retry_number=2)
    run.end(STEPS[0], retry_number=3)
    run.tell("wait", reason="gitops_reconciliation_slow", waitSeconds=3000)
    assert ("gitops_reconciliation_slow", 1) in [
        (each["reason"], each["value"]) for each in projection(platform)["waiting"]
    ]
    platform.sweep_after(3001)
    run = claimed(platform, request_id, attempt=2)
    platform.sweep_after(16)
    report(platform, run, "failed")
    run = claimed(platform, request_id, attempt=3)
    run.do_all()
    run.finalize()
    after = projection(platform)
    assert of_provisioning(after["retries"]) - of_provisioning(before["retries"]) == 3 + 1
    assert of_provisioning(after["leaseLosses"]) - of_provisioning(before["leaseLosses"]) == 1
    completed = "workflow_appenv_provisioning_completed"
    assert counted(after, completed) - counted(before, completed) == 1
    # 3001 s of waiting are left out: the duration is what the lost lease cost.
    duration, earlier = (_of_successes(found["durations"]) for found in (after, before))
    assert 16 <= duration["sumSeconds"] - earlier["sumSeconds"] < 60
    assert sum(duration["bucketCounts"]) == 1 + sum(earlier["bucketCounts"])


def _of_successes(durations: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [
        each
        for each in durations
        if (each["workflow"], each["result"]) == (PROVISIONING, "success")
    ]
    return found


def test_a_lease_is_lapsed_until_the_run_is_known_to_be_lost(lone_platform: Platform) -> None:
    def lapsed() -> float:
        series = projection(lone_platform)["lapsedLeases"]
        (found,) = [each["ageSeconds"] for each in series if each["workflow"] == PROVISIONING]
        return float(found)

    claimed(lone_platform, lone_platform.provision(lone_platform.new_subject()))
    assert lapsed() == 0
    lone_platform.clock.advance(15 + 100)
    assert 100 <= lapsed() < 110
    lone_platform.sweep_after(16)
    assert lapsed() == 0


def test_the_oldest_pending_request_is_as_old_as_its_waiting_for_a_run(
    platform: Platform,
) -> None:
    path = "/v1/workflow-requests"
    while others := platform.admin.seen(path, state="pending", limit=200)["items"]:
        for other in others:
            platform.admin.ok(f"{path}/{other['id']}/cancel", {})

    def oldest() -> float:
        series = projection(platform)["oldestPending"]
        (found,) = [each["ageSeconds"] for each in series if each["workflow"] == PROVISIONING]
        return float(found)

    request_id = platform.provision(platform.new_subject())
    platform.clock.advance(100)
    assert oldest() >= 100
    claimed(platform, request_id).fail(STEPS[0], retryable=True)
    assert oldest() < 50
    platform.clock.advance(100)
    claimed(platform, request_id, attempt=2).fail(STEPS[0], retryable=False)
    platform.clock.advance(100)
    platform.admin.ok(f"{path}/{request_id}/retry", {"reason": "again"})
    assert oldest() < 50


def test_a_provider_is_awaited_for_a_day_and_how_long_is_shown_meanwhile(
    lone_platform: Platform,
) -> None:
    def longest() -> float:
        series = projection(lone_platform)["providerWaits"]
        (found,) = [each["ageSeconds"] for each in series if each["workflow"] == PROVISIONING]
        return float(found)

    request_id = lone_platform.provision(lone_platform.new_subject())
    hour = 3600
    waited, attempt = 0, 1
    for seconds in (10 * hour, 10 * hour, 10 * hour):
        run = claimed(lone_platform, request_id, attempt=attempt)
        assert waited <= longest() < waited + 120, "earlier waits count while it runs"
        assert run.tell("wait", reason="circuit_open", waitSeconds=seconds) == "waiting"
        lasts = min(seconds, 24 * hour - waited)
        lone_platform.sweep_after(lasts + 1)
        waited, attempt = waited + lasts, attempt + 1
    run = claimed(lone_platform, request_id, attempt=attempt)
    refused = run.say("wait", reason="circuit_open", waitSeconds=60)
    assert (refused.status_code, refused.json()["code"]) == (409, "waited_too_long")
    assert run.tell("wait", reason="gitops_reconciliation_slow", waitSeconds=60) == "waiting"
    lone_platform.sweep_after(61)
    run = claimed(lone_platform, request_id, attempt=attempt + 1)
    run.fail(STEPS[0], retryable=False, code="waited_too_long")
    assert lone_platform.request(request_id)["state"] == "failed"
    assert longest() == 0


def projection(platform: Platform) -> dict[str, list[dict[str, Any]]]:
    exporter = platform.service(ServiceName.METRICS_EXPORTER)
    seen: dict[str, list[dict[str, Any]]] = exporter.seen("/internal/metrics-projection")
    return seen


def of_provisioning(series: list[dict[str, Any]]) -> int:
    (found,) = [each["value"] for each in series if each["workflow"] == PROVISIONING]
    assert isinstance(found, int)
    return found


def counted(metrics: dict[str, list[dict[str, Any]]], event: str) -> int:
    (found,) = [each["value"] for each in metrics["events"] if each["event"] == event]
    assert isinstance(found, int)
    return found


def test_everything_is_audited_with_its_reason(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {"reason": "typo in name"})
    with platform.engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT actor, action, reason FROM audit_log WHERE subject = :s ORDER BY sequence"
            ),
            {"s": f"workflow_request/{request_id}"},
        ).all()
    assert [tuple(row) for row in rows] == [
        ("admin", "workflow_request_cancellation_requested", "typo in name"),
        ("admin", "workflow_request_cancelled", "typo in name"),
    ]


def test_a_launch_by_hand_obeys_every_rule(platform: Platform) -> None:
    subject = platform.new_subject()
    first = platform.provision(subject)
    appenv = platform.request(first)["applicationEnvironmentId"]
    platform.admin.ok(f"/v1/workflow-requests/{first}/cancel", {})
    assert launch(platform, subjectId=appenv).json()["code"] == "reason_required"
    assert launch(platform, reason="try").json()["code"] == "subject_required"
    assert launch(platform, reason="try", subjectId=new_id()).status_code == 404
    run_id = new_id()
    answer = launch(platform, reason="try", subjectId=appenv, runId=run_id)
    assert answer.status_code == 200, answer.text
    again = launch(platform, reason="try", subjectId=appenv, runId=run_id)
    assert again.json()["requestId"] == answer.json()["requestId"]
    request = platform.request(answer.json()["requestId"])
    assert (request["requestedBy"], request["reason"]) == ("dagster-ui (local)", "try")
    other = launch(platform, reason="try", subjectId=appenv)
    assert (other.status_code, other.json()["code"]) == (409, "workflow_active")
    assert other.json()["activeRequestId"] == request["id"]
    run = EngineRun(platform, again.json())
    run.do_all()
    run.finalize()
    done = launch(platform, reason="try", subjectId=appenv)
    assert done.json()["code"] == "move_refused"


def test_an_environment_has_at_most_fifty_secrets_and_a_launch_takes_them_all(
    platform: Platform,
) -> None:
    subject = platform.new_subject()
    first = platform.provision(subject, *(f"key-{number}" for number in range(49)))
    platform.admin.ok(f"/v1/workflow-requests/{first}/cancel", {})
    path = f"/v1/applications/{subject.application_id}/environments"
    more = {"environment": subject.environment, "secrets": [{"name": "one"}, {"name": "two"}]}
    refused = platform.admin.post(path, more)
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_secrets")
    second = platform.provision(subject, "key-0", "last")
    platform.admin.ok(f"/v1/workflow-requests/{second}/cancel", {})
    appenv = platform.request(second)["applicationEnvironmentId"]
    launched = launch(platform, reason="try", subjectId=appenv)
    assert launched.status_code == 200, launched.text
    assert len(launched.json()["desiredState"]["secrets"]) == 50


def test_a_re_run_asks_for_the_next_attempt_of_its_parents_request(platform: Platform) -> None:
    subject = platform.new_subject()
    request_id = platform.provision(subject)
    parent = claimed(platform, request_id)
    busy = launch(platform, parentRunId=parent.run_id)
    assert (busy.json()["code"], busy.json()["activeRequestId"]) == ("workflow_active", request_id)
    assert request_id in busy.json()["detail"]
    parent.fail(STEPS[0], retryable=False)
    run_id = new_id()
    answer = launch(platform, parentRunId=parent.run_id, runId=run_id)
    assert (answer.json()["requestId"], answer.json()["attempt"]) == (request_id, 2)
    assert platform.environment_of(request_id)["state"] == "Provisioning"
    run = EngineRun(platform, answer.json())
    run.do_all()
    run.finalize()
    refused = launch(platform, parentRunId=run_id)
    assert refused.json()["code"] == "request_succeeded"
    assert refused.json()["workflowRequestId"] == request_id
    assert launch(platform, parentRunId=new_id()).status_code == 404


def test_a_re_run_claims_an_attempt_that_is_still_pending(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    parent = claimed(platform, request_id)
    parent.fail(STEPS[0], retryable=True)
    answer = launch(platform, parentRunId=parent.run_id)
    assert (answer.json()["requestId"], answer.json()["attempt"]) == (request_id, 2)
    queued = ask_claim(platform, request_id, new_id(), attempt=2)
    assert queued.json()["code"] == "already_claimed"


def test_a_re_run_is_refused_while_a_newer_request_is_at_work(platform: Platform) -> None:
    subject = platform.new_subject()
    old = claimed(platform, platform.provision(subject))
    old.fail(STEPS[0], retryable=False)
    newer = platform.provision(subject)
    refused = launch(platform, parentRunId=old.run_id)
    assert (refused.status_code, refused.json()["code"]) == (409, "workflow_active")
    assert refused.json()["activeRequestId"] == newer
    assert newer in refused.json()["detail"]


def test_a_step_of_no_such_name_is_not_found(platform: Platform) -> None:
    run = claimed(platform, platform.provision(platform.new_subject()))
    answer = run.say("steps/make_coffee/start", retryNumber=0)
    assert answer.status_code == 404


def test_text_that_postgres_cannot_hold_is_kept_without_it(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    error = {"code": "boom", "message": "a\x00b", "retryable": False}
    assert run.end(Step.MATERIALIZE_REPOSITORIES, result={}, error=error) == "failed"
    request = platform.request(request_id)
    assert (request["error"]["message"], request["attempts"][0]["cause"]) == ("ab", "ab")


def test_what_a_run_saw_before_it_waits_is_kept_without_it(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    wait = {"reason": "provider_paused", "waitSeconds": 60, "seen": "429\x00 slow"}
    assert run.tell("wait", **wait) == "waiting"
    assert platform.request(request_id)["waitingFor"] == "429 slow"


def test_references_and_errors_of_providers_are_kept_without_it_too(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    outcomes = json.loads(json.dumps(run.outcomes()).replace("http://", r"http\u0000://"))
    met = {"target": "t\x00", "code": "c\x00", "status": "5\x0000"}
    before = _downstream_errors_of_others(platform)
    outcomes[Step.MATERIALIZE_REPOSITORIES]["downstreamErrors"] = [met]
    answer = run.say("finalize", outcomes=outcomes)
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
    assert platform.environment_of(request_id)["repositoryUrl"].startswith("http://forge/")
    assert _downstream_errors_of_others(platform) == before + 1


def _downstream_errors_of_others(platform: Platform) -> int:
    told = platform.service(ServiceName.METRICS_EXPORTER).seen(METRICS_PROJECTION)
    return sum(
        int(each["value"])
        for each in told["downstreamErrors"]
        if {each["target"], each["code"], each["status"]} == {OTHER}
    )


def test_a_request_is_shown_as_it_stood_at_one_moment(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    before = platform.request(request_id)
    runs: list[str] = []

    def claim_in_between(*_: object) -> None:
        if not runs:
            runs.append(new_id())
            claimed(platform, request_id, run_id=runs[0])

    listening = platform.engine, "after_cursor_execute", claim_in_between
    event.listen(*listening)
    try:
        shown = SqlQueries(platform.engine, platform.clock).request(request_id)
    finally:
        event.remove(*listening)
    assert shown is not None
    assert json.loads(shown.model_dump_json()) == before
    assert platform.request(request_id)["attempts"][0]["runId"] == runs[0]


@pytest.mark.usefixtures("patience")
def test_a_claim_that_had_to_wait_beyond_the_deadline_is_told_so(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    platform.clock.advance(30 * 60 - 5)

    with ThreadPoolExecutor(1) as pool:
        with transaction(platform.engine) as somebody:
            query = text("SELECT 1 FROM workflow_requests WHERE id = :id FOR UPDATE")
            somebody.execute(query, {"id": request_id})
            claim = pool.submit(ask_claim, platform, request_id, new_id())
            eventually(lambda: somebody_waits_for_a_lock(platform.engine))
            platform.clock.advance(5)
        answer = claim.result()
    assert (answer.status_code, answer.json()["code"]) == (409, "deadline_passed")
    platform.sweep_after(1)
    assert platform.request(request_id)["state"] == "timed_out"
