"""Domain events that ask for rotations: acted on once, open while refused, settled by others."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from idp_kernel.ids import new_id
from idp_kernel.wire.engine import DUE_ROTATIONS, ROTATION_CAUSES, ROTATIONS
from idp_kernel.workflows import Step
from tests.fixtures.stack import FreshDatabase, PostgresServer
from tests.integration.control_plane.conftest import Platform, new_database
from tests.integration.control_plane.rotations import (
    DAY_SECONDS,
    SecretInUse,
    ask_rotation,
    in_grace,
    retire,
    rotating,
    rotation_of,
    secret_in_use,
    seen,
    set_policy,
)

HOUR_SECONDS = 3600


@pytest.fixture(scope="module")
def migrated(postgres_server: PostgresServer) -> FreshDatabase:
    """A database of its own: causes are listed for the whole platform."""
    return new_database(postgres_server)


def compromised(platform: Platform, secret: SecretInUse, reason: str = "seen in a log") -> str:
    """The id of the cause."""
    platform.admin.ok(f"/v1/secrets/{secret.id}/compromised", {"reason": reason})
    return newest_cause(platform, secret, "secret_compromised")


def expiring(platform: Platform, secret: SecretInUse, grace_seconds: int = 0) -> str:
    """The id of the cause."""
    soon = platform.clock.now() + timedelta(days=1)
    set_policy(platform, secret, expiresAt=soon.isoformat(), graceSeconds=grace_seconds)
    at = platform.clock.now().isoformat()
    platform.engine_service.ok(DUE_ROTATIONS, {"scheduledAt": at})
    return newest_cause(platform, secret, "secret_expiring")


def newest_cause(platform: Platform, secret: SecretInUse, type_: str) -> str:
    causes = [each for each in open_causes(platform, secret) if each["type"] == type_]
    return str(causes[-1]["eventId"])


def open_causes(platform: Platform, secret: SecretInUse) -> list[Any]:
    causes = platform.engine_service.seen(ROTATION_CAUSES)["causes"]
    return [each for each in causes if each["secretId"] == secret.id]


def act(platform: Platform, event_id: str) -> Any:
    """The raw answer to acting on a cause."""
    return platform.engine_service.post(ROTATIONS, {"eventId": event_id})


def acted(platform: Platform, event_id: str) -> str:
    answer = act(platform, event_id)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["requestId"])


def finish(platform: Platform, request_id: str) -> None:
    run = rotating(platform, request_id)
    run.do_all()
    run.end_phase()
    platform.sweep_after(2 * DAY_SECONDS)
    retire(platform, request_id)


def test_a_compromise_brings_an_emergency_rotation(platform: Platform) -> None:
    secret = secret_in_use(platform)
    event_id = compromised(platform, secret)
    (event,) = platform.admin.seen("/v1/events", subject=f"secret/{secret.id}")["items"]
    assert (event["id"], event["type"]) == (event_id, "secret_compromised")
    assert event["data"] == {"version": 3, "reason": "seen in a log"}
    assert open_causes(platform, secret) == [
        {"eventId": event_id, "type": "secret_compromised", "secretId": secret.id}
    ]
    request_id = acted(platform, event_id)
    request = platform.request(request_id)
    assert (request["requestedBy"], request["reason"]) == (
        "secret_rotation_events_sensor", "secret_compromised",
    )  # fmt: skip
    assert rotating(platform, request_id).claim["desiredState"]["emergency"] is True
    assert open_causes(platform, secret) == []
    assert acted(platform, event_id) == request_id


def test_an_end_that_comes_soon_brings_a_rotation_with_grace(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = acted(platform, expiring(platform, secret))
    run = rotating(platform, request_id)
    assert run.claim["desiredState"]["emergency"] is False
    assert open_causes(platform, secret) == []


@pytest.mark.usefixtures("patience")
def test_a_cause_acted_on_many_times_at_once_brings_one_rotation(platform: Platform) -> None:
    secret = secret_in_use(platform)
    event_id, engine = compromised(platform, secret), platform.engine_service

    def ask(_number: int) -> Any:
        return engine.post(ROTATIONS, {"eventId": event_id})

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["requestId"] for answer in answers}) == 1


def test_a_cause_that_is_refused_stays_open_and_blocks_no_other(platform: Platform) -> None:
    busy, free = secret_in_use(platform), secret_in_use(platform)
    blocked = compromised(platform, busy)
    request_id = rotation_of(platform, busy)
    other = compromised(platform, free)
    for _ in range(2):
        refused = act(platform, blocked)
        assert (refused.status_code, refused.json()["code"]) == (409, "workflow_active")
        assert refused.json()["activeRequestId"] == request_id
    assert [each["eventId"] for each in open_causes(platform, busy)] == [blocked]
    acted(platform, other)
    rotating(platform, request_id).fail("validate_rotation", retryable=False)  # type: ignore[arg-type]
    assert acted(platform, blocked) != request_id


def test_a_compromise_during_the_grace_ends_it_at_once(platform: Platform) -> None:
    secret = secret_in_use(platform)
    waiting_id = in_grace(platform, secret)
    request_id = acted(platform, compromised(platform, secret))
    assert platform.request(waiting_id)["state"] == "cancelled"
    finish(platform, request_id)
    assert seen(platform, secret)["version"] == 5


def test_a_rotation_settles_what_asked_for_it_before(platform: Platform) -> None:
    secret = secret_in_use(platform)
    event_id = compromised(platform, secret)
    request_id = rotation_of(platform, secret)
    run = rotating(platform, request_id)
    run.do_all()
    run.end_phase()
    assert len(open_causes(platform, secret)) == 1
    platform.sweep_after(2 * DAY_SECONDS)
    retire(platform, request_id)
    assert open_causes(platform, secret) == []
    assert acted(platform, event_id) == request_id
    assert platform.admin.seen("/v1/workflow-requests", secretId=secret.id)["items"][0]["id"] == (
        request_id
    )


def test_a_compromise_of_the_new_version_outlasts_the_rotation(platform: Platform) -> None:
    secret = secret_in_use(platform)
    waiting_id = in_grace(platform, secret)
    event_id = compromised(platform, secret)
    platform.sweep_after(2 * DAY_SECONDS)
    retire(platform, waiting_id)
    assert [each["eventId"] for each in open_causes(platform, secret)] == [event_id]
    finish(platform, acted(platform, event_id))
    assert seen(platform, secret)["version"] == 5


def test_who_saw_a_value_while_an_emergency_was_at_work_is_answered_by_another(
    platform: Platform,
) -> None:
    """It may be the new one, which consumers have before the control plane knows."""
    secret = secret_in_use(platform)
    first_id = acted(platform, compromised(platform, secret))
    run = rotating(platform, first_id)
    run.do_all()
    later = compromised(platform, secret, "in the log again")
    assert act(platform, later).json()["code"] == "workflow_active"
    run.end_phase()
    platform.sweep_after(1)
    retire(platform, first_id)
    assert [each["eventId"] for each in open_causes(platform, secret)] == [later]
    finish(platform, acted(platform, later))
    assert seen(platform, secret)["version"] == 5
    assert open_causes(platform, secret) == []


def test_an_emergency_settles_the_less_urgent_and_not_the_reverse(platform: Platform) -> None:
    secret, other = secret_in_use(platform), secret_in_use(platform)
    expiring(platform, secret)
    acted(platform, compromised(platform, secret))
    assert open_causes(platform, secret) == []
    slow = expiring(platform, other)
    urgent = compromised(platform, other)
    acted(platform, slow)
    assert [each["eventId"] for each in open_causes(platform, other)] == [urgent]


def test_what_is_compromised_comes_before_what_expires(platform: Platform) -> None:
    slow, urgent = secret_in_use(platform), secret_in_use(platform)
    events = [expiring(platform, slow), compromised(platform, urgent)]
    causes = platform.engine_service.seen(ROTATION_CAUSES)["causes"]
    listed = [each["eventId"] for each in causes if each["eventId"] in events]
    assert listed == [events[1], events[0]]


# ── rotations that come to nothing ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("ask", [compromised, expiring])
def test_a_cause_whose_rotation_failed_asks_again_after_a_while(
    platform: Platform, ask: Callable[[Platform, SecretInUse], str]
) -> None:
    secret = secret_in_use(platform)
    event_id = ask(platform, secret)
    first = acted(platform, event_id)
    rotating(platform, first).fail(Step.ISSUE_NEW_CREDENTIAL, retryable=False)
    assert open_causes(platform, secret) == []
    assert acted(platform, event_id) == first
    platform.clock.advance(HOUR_SECONDS)
    assert [each["eventId"] for each in open_causes(platform, secret)] == [event_id]
    again = acted(platform, event_id)
    assert again != first
    finish(platform, again)
    platform.clock.advance(2 * HOUR_SECONDS)
    assert open_causes(platform, secret) == []
    assert acted(platform, event_id) == again


@pytest.mark.parametrize("ask", [compromised, expiring])
def test_a_cause_that_waits_for_a_person_s_value_has_told_them(
    platform: Platform, ask: Callable[[Platform, SecretInUse], str]
) -> None:
    secret = secret_in_use(platform)
    request_id = acted(platform, ask(platform, secret))
    run = rotating(platform, request_id)
    run.fail(Step.VALIDATE_ROTATION, retryable=False, code="value_set_by_person")
    platform.clock.advance(2 * HOUR_SECONDS)
    assert open_causes(platform, secret) == []


def test_a_cause_whose_rotation_timed_out_asks_again_after_a_while(platform: Platform) -> None:
    secret = secret_in_use(platform)
    event_id = compromised(platform, secret)
    request_id = acted(platform, event_id)
    platform.sweep_after(HOUR_SECONDS)
    assert platform.request(request_id)["state"] == "timed_out"
    assert open_causes(platform, secret) == []
    platform.clock.advance(HOUR_SECONDS)
    assert [each["eventId"] for each in open_causes(platform, secret)] == [event_id]


def test_a_cause_asks_nobody_while_its_failed_rotation_is_tried_again(platform: Platform) -> None:
    secret = secret_in_use(platform)
    event_id = compromised(platform, secret)
    request_id = acted(platform, event_id)
    rotating(platform, request_id).fail(Step.ISSUE_NEW_CREDENTIAL, retryable=False)
    platform.clock.advance(2 * HOUR_SECONDS)
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/retry", {})
    assert open_causes(platform, secret) == []
    assert acted(platform, event_id) == request_id


def test_a_cause_whose_rotation_a_person_cancelled_asks_no_more(platform: Platform) -> None:
    secret = secret_in_use(platform)
    event_id = compromised(platform, secret)
    request_id = acted(platform, event_id)
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {"reason": "false alarm"})
    platform.clock.advance(2 * HOUR_SECONDS)
    assert open_causes(platform, secret) == []
    assert acted(platform, event_id) == request_id


def test_what_asked_for_a_superseded_rotation_is_answered_by_the_next(platform: Platform) -> None:
    secret = secret_in_use(platform)
    slow = expiring(platform, secret, grace_seconds=DAY_SECONDS)
    waiting_id = acted(platform, slow)
    run = rotating(platform, waiting_id)
    run.do_all()
    run.end_phase()
    urgent = compromised(platform, secret)
    emergency_id = acted(platform, urgent)
    assert platform.request(waiting_id)["state"] == "cancelled"
    assert {acted(platform, each) for each in (slow, urgent)} == {emergency_id}
    rotating(platform, emergency_id).fail(Step.ISSUE_NEW_CREDENTIAL, retryable=False)
    platform.clock.advance(HOUR_SECONDS)
    assert [each["eventId"] for each in open_causes(platform, secret)] == [urgent, slow]
    finish(platform, acted(platform, urgent))
    assert open_causes(platform, secret) == []


def test_an_emergency_in_the_grace_of_a_persons_value_cancels_nothing(platform: Platform) -> None:
    """No random value may follow: whether a person has set another, the store alone knows."""
    secret = secret_in_use(platform)
    waiting_id = rotation_of(platform, secret)
    run = replace(rotating(platform, waiting_id), takes_persons=True)
    run.do_all()
    assert run.end_phase().json()["state"] == "waiting"
    refused = ask_rotation(platform, secret, emergency=True)
    assert (refused.status_code, refused.json()["code"]) == (409, "persons_value_in_grace")
    assert refused.json()["activeRequestId"] == waiting_id
    event_id = compromised(platform, secret)
    assert act(platform, event_id).json()["code"] == "persons_value_in_grace"
    assert platform.request(waiting_id)["state"] == "waiting"
    platform.admin.ok(f"/v1/workflow-requests/{waiting_id}/cancel", {"reason": "a new one is set"})
    assert act(platform, event_id).json()["requestId"]


def test_a_suspended_secrets_cause_waits_for_its_return(platform: Platform) -> None:
    secret = secret_in_use(platform)
    event_id = compromised(platform, secret)
    platform.admin.ok(f"/v1/secrets/{secret.id}/suspend")
    assert act(platform, event_id).json()["code"] == "move_refused"
    platform.admin.ok(f"/v1/secrets/{secret.id}/resume")
    acted(platform, event_id)


def test_a_secret_that_was_revoked_since_is_not_rotated(platform: Platform) -> None:
    secret = secret_in_use(platform)
    event_id = compromised(platform, secret)
    with platform.engine.begin() as connection:
        query = text("UPDATE secrets SET state = 'Revoked' WHERE id = :id")
        connection.execute(query, {"id": secret.id})
    for _ in range(2):
        assert act(platform, event_id).json() == {"requestId": None}
    assert open_causes(platform, secret) == []


def test_what_is_no_cause_is_not_found(platform: Platform) -> None:
    assert act(platform, new_id()).status_code == 404
    assert platform.engine_service.post(ROTATIONS, {"eventId": "x"}).status_code == 422
