"""SecretRotation over HTTP: two phases, a grace that keeps nothing, and every way it can end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import QueuePool, text
from structlog.testing import capture_logs

from control_plane.application.sweep_requests import sweep_request
from idp_kernel.workflows import SECRET_ROTATION, Step
from tests.integration.control_plane.conftest import Platform
from tests.integration.control_plane.engine_run import (
    ask_claim,
    launch,
    offers,
    report,
)
from tests.integration.control_plane.rotations import (
    DAY_SECONDS,
    RotationRun,
    ask_rotation,
    in_grace,
    retire,
    rotating,
    rotation_of,
    secret_in_use,
    secrets_in_use,
    seen,
    set_policy,
)

FIRST, SECOND = (phase.steps for phase in SECRET_ROTATION.phases)
ROTATION_EVENTS = [
    "secret_rotation_started",
    "credential_issuer_credential_issued",
    "credential_issuer_credential_verified",
    "git_secret_bindings_updated",
    "gitops_consumers_confirmed",
    "credential_issuer_credential_retired",
    "workflow_secret_rotation_completed",
]


def ending_of(platform: Platform, request_id: str) -> Any:
    """The data of the event that ended the request without success."""
    query = {"requestId": request_id, "type": "workflow_secret_rotation_failed"}
    return platform.admin.seen("/v1/events", **query)["items"][-1]["data"]


def active_subjects(platform: Platform, request_id: str) -> int:
    query = text("SELECT count(*) FROM workflow_subjects WHERE request_id = :id AND active")
    with platform.engine.connect() as connection:
        return int(connection.execute(query, {"id": request_id}).scalar_one())


def test_a_command_brings_another_version_into_use_and_then_ends_the_old_one(
    platform: Platform,
) -> None:
    secret = secret_in_use(platform, sensitivity="high")
    before = seen(platform, secret)
    assert (before["state"], before["version"]) == ("Active", 3)
    answer = ask_rotation(platform, secret, reason="quarterly")
    assert answer.status_code == 202
    request_id = answer.json()["requestId"]
    assert answer.json()["secretId"] == secret.id
    assert answer.headers["Location"] == f"/v1/workflow-requests/{request_id}"
    rotated = seen(platform, secret)
    assert (rotated["state"], rotated["activeRequestId"]) == ("Rotating", request_id)

    offer = offers(platform)[request_id]
    assert (offer["workflow"], offer["phase"], offer["secretId"]) == (
        "SecretRotation", 1, secret.id,
    )  # fmt: skip
    run = rotating(platform, request_id)
    wanted = run.claim["desiredState"]
    assert (wanted["graceSeconds"], wanted["emergency"]) == (3600, False)
    assert wanted["storePath"] == before["storePath"]
    assert wanted["secret"] == {
        "secretId": secret.id, "name": "app-key", "purpose": "runtime", "sensitivity": "high",
        "issuer": "openbao",
    }  # fmt: skip
    (target,) = wanted["bindings"]
    assert target["bindingId"] == before["bindings"][0]["id"]
    assert target["subject"]["applicationEnvironmentId"] == secret.environment_id
    assert target["repository"]["name"] == f"appenv-{secret.environment_id}"
    run.do_all()
    for _ in range(2):
        assert run.end_phase().json()["state"] == "waiting"

    switched = seen(platform, secret)
    assert (switched["state"], switched["version"]) == ("Rotating", 4)
    assert switched["bindings"][0]["version"] == 4
    assert switched["activeRequestId"] == request_id
    assert switched["rotatedAt"] > before["rotatedAt"]
    assert switched["nextRotationAt"] > before["nextRotationAt"]
    environment = platform.admin.seen(f"/v1/application-environments/{secret.environment_id}")
    assert (environment["revision"], environment["state"]) == (run.revision, "Active")

    platform.sweep_after(3601)
    assert offers(platform)[request_id]["phase"] == 2
    retire(platform, request_id)
    after = seen(platform, secret)
    assert (after["state"], after["version"], after["activeRequestId"]) == ("Active", 4, None)
    assert after["rotatedAt"] == switched["rotatedAt"]
    assert platform.events(requestId=request_id) == ROTATION_EVENTS
    started = platform.admin.seen(
        "/v1/events", requestId=request_id, type="secret_rotation_started"
    )
    (event,) = started["items"]
    assert event["subject"] == f"secret/{secret.id}"
    assert event["data"] == {"version": 3, "emergency": False, "reason": "quarterly"}


def test_a_grace_of_a_day_holds_no_run_no_lease_and_no_connection(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = in_grace(platform, secret)
    for _ in range(23):
        platform.sweep_after(3600)
        request = platform.request(request_id)
        assert (request["state"], request["waitingReason"]) == ("waiting", "rotation_grace")
        assert request_id not in offers(platform)
        assert active_subjects(platform, request_id) == 0
    with platform.engine.connect() as connection:
        query = text("SELECT run_id, lease_expires_at FROM workflow_requests WHERE id = :id")
        row = connection.execute(query, {"id": request_id}).one()
    assert row.lease_expires_at is None
    pool = platform.engine.pool
    assert isinstance(pool, QueuePool)
    assert pool.checkedout() == 0
    (attempt,) = platform.request(request_id)["attempts"]
    assert attempt["ending"] == "waiting"
    platform.sweep_after(3601)
    assert platform.request(request_id)["state"] == "pending"
    assert active_subjects(platform, request_id) == 1
    retire(platform, request_id)
    assert platform.request(request_id)["state"] == "succeeded"


def test_a_rotation_without_grace_goes_on_at_once(platform: Platform) -> None:
    secret = secret_in_use(platform)
    set_policy(platform, secret, graceSeconds=0)
    request_id = in_grace(platform, secret)
    platform.sweep_after(0)
    retire(platform, request_id)
    assert seen(platform, secret)["state"] == "Active"


def test_the_grace_is_frozen_with_the_command(platform: Platform) -> None:
    secret = secret_in_use(platform, sensitivity="high")
    request_id = rotation_of(platform, secret)
    set_policy(platform, secret, graceSeconds=0)
    run = rotating(platform, request_id)
    run.do_all()
    run.end_phase()
    platform.sweep_after(3500)
    assert platform.request(request_id)["state"] == "waiting"


def test_the_second_phase_has_a_deadline_of_its_own(platform: Platform) -> None:
    """However long the first took, and however late the wake-up came."""
    secret = secret_in_use(platform)
    request_id = rotation_of(platform, secret)
    platform.clock.advance(25 * 60)
    run = rotating(platform, request_id)
    run.do_all()
    run.end_phase()
    platform.sweep_after(2 * DAY_SECONDS)
    platform.sweep_after(25 * 60)
    assert platform.request(request_id)["state"] == "pending"
    platform.sweep_after(6 * 60)
    assert platform.request(request_id)["state"] == "timed_out"


# ── one at a time ────────────────────────────────────────────────────────────────────────────


def test_a_second_rotation_is_told_the_id_of_the_first(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = rotation_of(platform, secret)
    for body in ({}, {"emergency": True}):
        refused = ask_rotation(platform, secret, **body)
        assert (refused.status_code, refused.json()["code"]) == (409, "workflow_active")
        assert refused.json()["activeRequestId"] == request_id


@pytest.mark.usefixtures("patience")
def test_many_commands_at_once_start_one_rotation(platform: Platform) -> None:
    secret = secret_in_use(platform)

    def command(number: int) -> Any:
        return ask_rotation(platform, secret, emergency=bool(number % 2))

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(command, range(20)))
    (accepted,) = [answer for answer in answers if answer.status_code == 202]
    refused = [answer.json() for answer in answers if answer.status_code != 202]
    assert {each["code"] for each in refused} == {"workflow_active"}
    assert {each["activeRequestId"] for each in refused} == {accepted.json()["requestId"]}


@pytest.mark.usefixtures("patience")
def test_many_emergencies_at_once_supersede_once(platform: Platform) -> None:
    secret = secret_in_use(platform)
    waiting_id = in_grace(platform, secret)

    def command(_number: int) -> Any:
        return ask_rotation(platform, secret, emergency=True)

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(command, range(10)))
    (accepted,) = [answer for answer in answers if answer.status_code == 202]
    assert seen(platform, secret)["activeRequestId"] == accepted.json()["requestId"]
    assert platform.request(waiting_id)["state"] == "cancelled"


def test_a_rotation_during_anothers_grace_is_told_its_id(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = in_grace(platform, secret)
    refused = ask_rotation(platform, secret)
    assert (refused.status_code, refused.json()["code"]) == (409, "rotation_in_grace")
    assert refused.json()["workflowRequestId"] == request_id
    assert seen(platform, secret)["state"] == "Rotating"


def test_an_emergency_supersedes_a_rotation_in_its_grace(platform: Platform) -> None:
    secret = secret_in_use(platform)
    waiting_id = in_grace(platform, secret)
    emergency_id = rotation_of(platform, secret, emergency=True, reason="on the internet")
    assert platform.request(waiting_id)["state"] == "cancelled"
    message = ending_of(platform, waiting_id)["message"]
    assert message == f"superseded by emergency rotation {emergency_id}"
    run = rotating(platform, emergency_id)
    assert run.claim["desiredState"]["emergency"] is True
    assert run.claim["desiredState"]["graceSeconds"] == 0
    run.do_all()
    run.end_phase()
    platform.sweep_after(0)
    retire(platform, emergency_id)
    after = seen(platform, secret)
    assert (after["state"], after["version"]) == ("Active", 5)
    platform.sweep_after(2 * DAY_SECONDS)
    assert platform.request(waiting_id)["state"] == "cancelled"
    assert waiting_id not in offers(platform)


def test_an_emergency_whose_old_rotation_retires_already_waits_for_it(platform: Platform) -> None:
    secret = secret_in_use(platform, sensitivity="high")
    request_id = in_grace(platform, secret)
    platform.sweep_after(3601)
    refused = ask_rotation(platform, secret, emergency=True)
    assert (refused.json()["code"], refused.json()["activeRequestId"]) == (
        "workflow_active", request_id,
    )  # fmt: skip


def test_no_rotation_while_the_environment_is_provisioned(platform: Platform) -> None:
    subject = platform.new_subject()
    provisioning_id = platform.provision(subject)
    (summary,) = platform.environment_of(provisioning_id)["secrets"]
    refused = platform.admin.post(f"/v1/secrets/{summary['id']}/rotation", {})
    assert (refused.status_code, refused.json()["code"]) == (409, "workflow_active")
    assert refused.json()["activeRequestId"] == provisioning_id


def test_no_provisioning_while_a_secret_of_the_environment_is_rotated(platform: Platform) -> None:
    secret = secret_in_use(platform)
    path = f"/v1/applications/{secret.subject.application_id}/environments"
    body = {"environment": secret.subject.environment, "secrets": [{"name": "another"}]}
    request_id = rotation_of(platform, secret)
    refused = platform.admin.post(path, body)
    assert (refused.status_code, refused.json()["code"]) == (409, "workflow_active")
    assert refused.json()["activeRequestId"] == request_id
    by_hand = launch(platform, subjectId=secret.environment_id, reason="try")
    assert by_hand.json()["code"] == "workflow_active"
    run = rotating(platform, request_id)
    run.do_all()
    run.end_phase()
    in_its_grace = platform.admin.post(path, body)
    assert in_its_grace.json()["code"] == "move_refused"
    assert in_its_grace.json()["current"] == "Active"


def test_secrets_of_one_environment_rotate_side_by_side(platform: Platform) -> None:
    first, second = secrets_in_use(platform, "a-key", "b-key")
    runs = [rotating(platform, rotation_of(platform, each)) for each in (first, second)]
    for run in runs:
        run.do_all()
        assert run.end_phase().json()["state"] == "waiting"
    assert [seen(platform, each)["version"] for each in (first, second)] == [4, 4]


# ── rules ────────────────────────────────────────────────────────────────────────────────────


def test_a_suspended_team_rotates_nothing(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = rotation_of(platform, secret)
    team = f"/v1/teams/{secret.subject.team}"
    platform.admin.ok(f"{team}/suspend")
    refused = ask_claim(platform, request_id, "late")
    assert (refused.status_code, refused.json()["code"]) == (409, "team_not_active")
    assert platform.request(request_id)["state"] == "failed"
    assert seen(platform, secret)["state"] == "Active"
    assert ask_rotation(platform, secret).json()["code"] == "team_not_active"
    platform.admin.ok(f"{team}/resume")
    rotation_of(platform, secret)


def test_a_rotation_that_has_switched_is_brought_to_its_end(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = in_grace(platform, secret)
    platform.admin.ok(f"/v1/teams/{secret.subject.team}/suspend")
    platform.sweep_after(DAY_SECONDS + 1)
    retire(platform, request_id)
    assert seen(platform, secret)["state"] == "Active"


def test_an_outcome_that_says_too_little_cannot_keep_a_request_open(platform: Platform) -> None:
    secret = secret_in_use(platform)
    run = rotating(platform, rotation_of(platform, secret))
    run.do_all(FIRST[:3])
    run.end(Step.UPDATE_SECRET_BINDINGS, result={})
    refused = run.end_phase()
    assert (refused.status_code, refused.json()["code"]) == (422, "outcomes_missing")
    assert run.fail(Step.CONFIRM_CONSUMERS, retryable=False) == "failed"
    assert (seen(platform, secret)["state"], seen(platform, secret)["version"]) == ("Active", 3)


@pytest.mark.parametrize("odd", ["v4", "4", 0, -1, 2**31])
def test_an_outcome_with_an_odd_version_cannot_keep_a_request_open(
    platform: Platform, odd: str | int
) -> None:
    secret = secret_in_use(platform)
    run = rotating(platform, rotation_of(platform, secret))
    run.do_all(FIRST[:3])
    result = run.results()[Step.UPDATE_SECRET_BINDINGS]
    result["items"][0]["references"]["version"] = odd
    run.end(Step.UPDATE_SECRET_BINDINGS, result=result)
    refused = run.say("end-phase", outcomes={})
    assert (refused.status_code, refused.json()["code"]) == (422, "outcomes_missing")
    assert run.fail(Step.CONFIRM_CONSUMERS, retryable=False) == "failed"
    assert (seen(platform, secret)["state"], seen(platform, secret)["version"]) == ("Active", 3)


def test_a_request_that_cannot_be_read_keeps_no_other_open(platform: Platform) -> None:
    broken, other = secrets_in_use(platform, "a-key", "b-key")
    run = rotating(platform, rotation_of(platform, broken))
    run.do_all(FIRST[:4])
    other_id = rotation_of(platform, other)
    write = text(
        "UPDATE request_steps SET result = CAST(:result AS jsonb)"
        " WHERE request_id = :id AND step = 'update_secret_bindings'"
    )
    with platform.engine.begin() as connection:
        connection.execute(write, {"id": run.request_id, "result": '{"items": 5}'})
    with capture_logs() as logs:
        platform.sweep_after(2000)
    (told,) = [each for each in logs if each["event"] == "request_not_swept"]
    assert told["idp.workflow_request_id"] == run.request_id
    assert platform.request(other_id)["state"] == "timed_out"
    with platform.engine.begin() as connection:
        connection.execute(write, {"id": run.request_id, "result": "{}"})
    platform.sweep_after(0)
    assert platform.request(run.request_id)["state"] == "timed_out"


@pytest.mark.parametrize("state", ["Approved", "Onboarding", "Decommissioning", "Archived"])
def test_secrets_of_an_application_that_does_not_run_are_not_rotated(
    platform: Platform, state: str
) -> None:
    secret = secret_in_use(platform)
    with platform.engine.begin() as connection:
        query = text("UPDATE applications SET state = :state WHERE id = :id")
        connection.execute(query, {"state": state, "id": secret.subject.application_id})
    refused = ask_rotation(platform, secret)
    assert (refused.status_code, refused.json()["code"]) == (409, "application_not_ready")
    assert refused.json()["current"] == state


@pytest.mark.parametrize("state", ["Declared", "Decommissioning", "Retired"])
def test_secrets_of_an_environment_that_is_none_yet_or_any_more_are_not_rotated(
    platform: Platform, state: str
) -> None:
    secret = secret_in_use(platform)
    with platform.engine.begin() as connection:
        query = text("UPDATE application_environments SET state = :state WHERE id = :id")
        connection.execute(query, {"state": state, "id": secret.environment_id})
    refused = ask_rotation(platform, secret)
    assert (refused.status_code, refused.json()["code"]) == (
        409, "application_environment_not_ready",
    )  # fmt: skip


def test_a_suspended_secret_is_not_rotated_nor_a_rotating_one_suspended(
    platform: Platform,
) -> None:
    secret = secret_in_use(platform)
    path = f"/v1/secrets/{secret.id}"
    suspended = platform.admin.ok(f"{path}/suspend")
    assert (suspended["state"], suspended["bindings"][0]["state"]) == ("Suspended", "Suspended")
    refused = ask_rotation(platform, secret)
    assert (refused.json()["code"], refused.json()["current"]) == ("move_refused", "Suspended")
    resumed = platform.admin.ok(f"{path}/resume")
    assert (resumed["state"], resumed["bindings"][0]["state"]) == ("Active", "Active")
    request_id = rotation_of(platform, secret)
    refused = platform.admin.post(f"{path}/suspend")
    assert (refused.status_code, refused.json()["code"]) == (409, "move_refused")
    run = rotating(platform, request_id)
    run.do_all()
    run.end_phase()
    assert platform.admin.post(f"{path}/suspend").json()["code"] == "move_refused"
    assert platform.events(subject=f"secret/{secret.id}")[:2] == [
        "secret_suspended", "secret_resumed",
    ]  # fmt: skip


# ── failures ─────────────────────────────────────────────────────────────────────────────────


def rotate_to_the_end(platform: Platform, request_id: str, attempt: int = 1) -> None:
    run = rotating(platform, request_id, attempt)
    run.do_all()
    run.end_phase()
    platform.sweep_after(2 * DAY_SECONDS)
    retire(platform, request_id, attempt + 1)


@pytest.mark.parametrize("step", FIRST)
def test_a_failure_in_the_first_phase_gives_the_secret_back_and_the_next_rotation_succeeds(
    platform: Platform, step: Step
) -> None:
    secret = secret_in_use(platform)
    request_id = rotation_of(platform, secret)
    run = rotating(platform, request_id)
    run.do_all(FIRST[: FIRST.index(step)])
    run.start(step)
    assert run.fail(step, retryable=False) == "failed"
    given_back = seen(platform, secret)
    is_pinned = step is Step.CONFIRM_CONSUMERS
    assert (given_back["state"], given_back["activeRequestId"]) == ("Active", None)
    assert given_back["version"] == given_back["bindings"][0]["version"] == (4 if is_pinned else 3)
    environment = platform.admin.seen(f"/v1/application-environments/{secret.environment_id}")
    assert (environment["revision"] == run.revision) is is_pinned
    assert ending_of(platform, request_id)["reason"] == "boom"
    left = ending_of(platform, request_id).get("leftBehind", "")
    assert ("old one was not ended" in left) is is_pinned
    is_unused = step in (Step.VERIFY_NEW_CREDENTIAL, Step.UPDATE_SECRET_BINDINGS)
    assert ("is not in use" in left) is is_unused
    assert bool(left) is (is_pinned or is_unused)
    rotate_to_the_end(platform, rotation_of(platform, secret))
    after = seen(platform, secret)
    assert (after["state"], after["version"]) == ("Active", 5 if is_pinned else 4)


@pytest.mark.parametrize("step", SECOND)
def test_a_failure_in_the_second_phase_leaves_the_new_version_in_use(
    platform: Platform, step: Step
) -> None:
    secret = secret_in_use(platform, sensitivity="high")
    request_id = in_grace(platform, secret)
    platform.sweep_after(3601)
    run = rotating(platform, request_id, attempt=2)
    run.do_all(SECOND[: SECOND.index(step)])
    assert run.fail(step, retryable=False) == "failed"
    given_back = seen(platform, secret)
    assert (given_back["state"], given_back["version"]) == ("Active", 4)
    is_left = step is Step.RETIRE_OLD_CREDENTIAL
    assert ("leftBehind" in ending_of(platform, request_id)) is is_left
    rotate_to_the_end(platform, rotation_of(platform, secret))
    assert seen(platform, secret)["version"] == 5


def test_a_retry_goes_on_with_what_was_achieved(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = rotation_of(platform, secret)
    run = rotating(platform, request_id)
    run.do_all(FIRST[:2])
    run.fail(FIRST[2], retryable=False)
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/retry", {"reason": "again"})
    assert seen(platform, secret)["state"] == "Rotating"
    again = rotating(platform, request_id, attempt=2)
    assert set(again.claim["outcomes"]) == set(FIRST[:2])
    again.do_all(FIRST[2:-1])
    assert again.end_phase().json()["state"] == "waiting"
    platform.sweep_after(2 * DAY_SECONDS)
    retire(platform, request_id, attempt=3)
    assert seen(platform, secret)["version"] == 4


def test_a_retry_after_another_rotation_is_refused(platform: Platform) -> None:
    secret = secret_in_use(platform)
    failed_id = rotation_of(platform, secret)
    rotating(platform, failed_id).fail(FIRST[1], retryable=False)
    newer_id = rotation_of(platform, secret)
    path = f"/v1/workflow-requests/{failed_id}/retry"
    rotate_to_the_end(platform, newer_id)
    refused = platform.admin.post(path, {})
    assert (refused.status_code, refused.json()["code"]) == (409, "request_superseded")
    assert refused.json()["workflowRequestId"] == newer_id
    assert seen(platform, secret)["state"] == "Active"


def test_a_transient_failure_keeps_the_secret_for_the_next_attempt(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = rotation_of(platform, secret)
    run = rotating(platform, request_id)
    run.do_all(FIRST[:3])
    assert run.fail(FIRST[3], retryable=True) == "pending"
    assert seen(platform, secret)["state"] == "Rotating"
    platform.clock.advance(2)
    rotate_to_the_end(platform, request_id, attempt=2)
    assert platform.events(requestId=request_id) == ROTATION_EVENTS


def test_a_slow_confirmation_waits_in_its_phase_and_keeps_the_secret(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = rotation_of(platform, secret)
    run = rotating(platform, request_id)
    run.do_all()
    assert run.tell("wait", reason="consumers_not_confirmed", waitSeconds=30) == "waiting"
    assert active_subjects(platform, request_id) == 1
    assert ask_rotation(platform, secret, emergency=True).json()["code"] == "workflow_active"
    assert seen(platform, secret)["version"] == 3
    platform.sweep_after(31)
    rotate_to_the_end(platform, request_id, attempt=2)


# ── cancelling ───────────────────────────────────────────────────────────────────────────────


def test_a_cancel_in_the_grace_leaves_both_credentials_and_says_so(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = in_grace(platform, secret)
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {"reason": "not yet"})
    after = seen(platform, secret)
    assert (after["state"], after["version"], after["activeRequestId"]) == ("Active", 4, None)
    told = ending_of(platform, request_id)
    assert (told["state"], told["secretId"]) == ("cancelled", secret.id)
    assert "old one was not ended" in told["leftBehind"]
    platform.sweep_after(2 * DAY_SECONDS)
    assert platform.request(request_id)["state"] == "cancelled"
    rotate_to_the_end(platform, rotation_of(platform, secret))
    assert seen(platform, secret)["version"] == 5


def test_what_an_ended_rotation_left_is_shown_until_it_goes_on(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = in_grace(platform, secret)
    assert platform.request(request_id)["leftBehind"] is None
    path = f"/v1/workflow-requests/{request_id}"
    platform.admin.ok(f"{path}/cancel", {"reason": "not yet"})
    left = platform.request(request_id)["leftBehind"]
    assert "old one was not ended" in left
    assert left == ending_of(platform, request_id)["leftBehind"]
    (listed,) = platform.admin.seen("/v1/workflow-requests", secretId=secret.id, limit=1)["items"]
    assert listed["leftBehind"] == left
    platform.admin.ok(f"{path}/retry", {"reason": "now"})
    assert platform.request(request_id)["leftBehind"] is None
    retire(platform, request_id, attempt=2)
    assert platform.request(request_id)["leftBehind"] is None

    nothing_done = rotation_of(platform, secret)
    platform.admin.ok(f"/v1/workflow-requests/{nothing_done}/cancel", {})
    assert platform.request(nothing_done)["leftBehind"] is None


def test_a_run_that_was_cancelled_gives_the_secret_back(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = rotation_of(platform, secret)
    run = rotating(platform, request_id)
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {})
    assert run.say("end-phase", outcomes={}).json()["code"] == "cancel_requested"
    assert report(platform, run, "canceled")["state"] == "cancelled"
    assert seen(platform, secret)["state"] == "Active"


def test_a_retry_after_a_cancelled_grace_ends_the_old_credential(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = in_grace(platform, secret)
    path = f"/v1/workflow-requests/{request_id}"
    platform.admin.ok(f"{path}/cancel", {})
    platform.admin.ok(f"{path}/retry", {"reason": "everybody has the new one"})
    assert offers(platform)[request_id]["phase"] == 2
    assert active_subjects(platform, request_id) == 1
    retire(platform, request_id)
    after = seen(platform, secret)
    assert (after["state"], after["version"]) == ("Active", 4)


# ── by hand ──────────────────────────────────────────────────────────────────────────────────


def test_a_launch_by_hand_rotates_the_secret_it_names(platform: Platform) -> None:
    secret = secret_in_use(platform)
    body = {"workflow": "SecretRotation", "subjectId": secret.id, "reason": "drill"}
    claim = launch(platform, **body)
    assert claim.status_code == 200, claim.text
    run = RotationRun(platform, claim.json(), 4)
    request = platform.request(run.request_id)
    assert (request["requestedBy"], request["secretId"]) == ("dagster-ui (local)", secret.id)
    run.do_all()
    assert run.end_phase().json()["state"] == "waiting"
    refused = launch(platform, **body)
    assert (refused.status_code, refused.json()["code"]) == (409, "rotation_in_grace")
    wrong = launch(platform, **{**body, "subjectId": secret.environment_id})
    assert wrong.status_code == 404


def test_every_rotation_is_counted(platform: Platform) -> None:
    def counts() -> tuple[int, float, int, int]:
        found = platform.services.queries.metrics()
        done = [
            each
            for each in found.durations
            if (each.workflow, each.result) == ("SecretRotation", "success")
        ]
        waiting = [
            each.value
            for each in found.waiting
            if (each.workflow, each.reason) == ("SecretRotation", "rotation_grace")
        ]
        retries = [each.value for each in found.retries if each.workflow == "SecretRotation"]
        ended, seconds = (
            sum(sum(each.bucket_counts) for each in done),
            sum(each.sum_seconds for each in done),
        )
        return ended, seconds, sum(waiting), sum(retries)

    secret = secret_in_use(platform)
    ended, seconds, waiting, retries = counts()
    request_id = in_grace(platform, secret)
    assert counts() == (ended, seconds, waiting + 1, retries)
    platform.clock.advance(2 * DAY_SECONDS)
    with platform.services.begin() as work:
        sweep_request(work, request_id, platform.services.attempts, with_leases=False)
    assert counts()[2] == waiting
    run = rotating(platform, request_id, attempt=2)
    run.start(SECOND[0], retry_number=2)
    run.do_all()
    run.finalize()
    after = counts()
    assert (after[0], after[2], after[3]) == (ended + 1, waiting, retries + 2)
    assert after[1] - seconds < 60  # the grace is left out
