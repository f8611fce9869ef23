"""The schedule: what is due is rotated, a few at once, inside windows, once for each time."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from idp_kernel.wire.engine import DUE_ROTATIONS, ROTATION_CAUSES, ROTATIONS
from idp_kernel.workflows import Step
from tests.integration.control_plane.conftest import Platform
from tests.integration.control_plane.rotations import (
    DAY_SECONDS,
    SecretInUse,
    in_grace,
    rotating,
    rotation_of,
    secret_in_use,
    secrets_in_use,
    seen,
    set_policy,
)
from tests.integration.control_plane.rows import counts

HOUR = 3600
AT_WORK = ("pending", "running")


@pytest.fixture
def platform(lone_platform: Platform) -> Platform:
    """With a database of its own for each test: the schedule looks at all secrets there are."""
    return lone_platform


def tick(platform: Platform, scheduled_at: datetime | None = None) -> Any:
    """What a scheduled time brings about; now unless told otherwise."""
    at = scheduled_at or platform.clock.now()
    return platform.engine_service.ok(DUE_ROTATIONS, {"scheduledAt": at.isoformat()})


def rotations(platform: Platform) -> list[Any]:
    """Every rotation there is, with its state and its secret."""
    query = text(
        "SELECT id::text, state, secret_id::text FROM workflow_requests"
        " WHERE workflow = 'SecretRotation'"
    )
    with platform.engine.connect() as connection:
        return list(connection.execute(query))


def finish(platform: Platform, request_id: str, *, after_seconds: float = 0) -> None:
    """The rotation to its end, its grace being over after that time."""
    run = rotating(platform, request_id)
    assert run.end_phase().json()["state"] == "waiting"
    platform.sweep_after(after_seconds)
    assert rotating(platform, request_id, attempt=2).finalize().json()["state"] == "succeeded"


def test_nothing_is_due_before_its_time(platform: Platform) -> None:
    secret = secret_in_use(platform, sensitivity="high")
    assert tick(platform) == {"enqueued": [], "putOff": 0}
    following = datetime.fromisoformat(seen(platform, secret)["nextRotationAt"])
    left = (following - platform.clock.now()).total_seconds()
    platform.clock.advance(left - 60)
    assert tick(platform)["enqueued"] == []
    platform.clock.advance(120)
    (request_id,) = tick(platform)["enqueued"]
    request = platform.request(request_id)
    assert (request["requestedBy"], request["secretId"]) == ("secret_rotation_schedule", secret.id)
    finish(platform, request_id, after_seconds=DAY_SECONDS)
    assert tick(platform)["enqueued"] == []


@pytest.mark.endurance
def test_a_hundred_due_at_once_are_rotated_five_at_a_time(platform: Platform) -> None:
    names = [f"key-{number}" for number in range(50)]
    secrets = [*secrets_in_use(platform, *names), *secrets_in_use(platform, *names)]
    with platform.engine.begin() as connection:
        connection.execute(text("UPDATE secrets SET rotation_grace_seconds = 0"))
    platform.clock.advance(91 * DAY_SECONDS)
    for number in range(25):
        at = platform.clock.now()
        answer = tick(platform, at)
        assert tick(platform, at) == answer
        at_work = {each.id for each in rotations(platform) if each.state in AT_WORK}
        assert len(at_work) <= 5
        assert at_work == set(answer["enqueued"])
        left = len(secrets) - 5 * number
        assert answer["putOff"] == max(0, left - 5)
        for request_id in at_work:
            finish(platform, request_id)
        platform.clock.advance(60)
        if not answer["enqueued"]:
            break
    rotated = Counter(each.secret_id for each in rotations(platform))
    assert rotated == Counter({secret.id: 1 for secret in secrets})
    assert {each.state for each in rotations(platform)} == {"succeeded"}


def test_places_are_free_again_only_when_rotations_end(platform: Platform) -> None:
    secrets = secrets_in_use(platform, *(f"key-{number}" for number in range(12)))
    for secret in secrets:
        set_policy(platform, secret, graceSeconds=0)
    platform.clock.advance(91 * DAY_SECONDS)
    first = tick(platform)
    assert (len(first["enqueued"]), first["putOff"]) == (5, 7)
    platform.clock.advance(60)
    assert tick(platform) == {"enqueued": [], "putOff": 7}
    finish(platform, first["enqueued"][0])
    # Between its phases a rotation without grace has not given up its place.
    run = rotating(platform, first["enqueued"][1])
    run.do_all()
    run.end_phase()
    second = tick(platform)
    assert (len(second["enqueued"]), second["putOff"]) == (1, 6)


def test_a_long_grace_gives_its_place_to_others_until_it_is_nearly_over(
    platform: Platform,
) -> None:
    secrets = secrets_in_use(platform, *(f"key-{number}" for number in range(7)))
    platform.clock.advance(91 * DAY_SECONDS)
    first = tick(platform)["enqueued"]
    for request_id in first:
        run = rotating(platform, request_id)
        run.do_all()
        run.end_phase()
    second = tick(platform)
    assert (len(second["enqueued"]), second["putOff"]) == (2, 0)
    set_policy(platform, secrets[0], intervalSeconds=60)
    assert len(rotations(platform)) == 7


@pytest.mark.parametrize("reason", ["provider_paused", "circuit_open", "pull_request_open"])
def test_a_provider_that_is_away_keeps_no_place(platform: Platform, reason: str) -> None:
    secrets_in_use(platform, *(f"key-{number}" for number in range(7)))
    platform.clock.advance(91 * DAY_SECONDS)
    first = tick(platform)["enqueued"]
    for request_id in first[:-1]:
        assert rotating(platform, request_id).tell("wait", reason=reason, waitSeconds=60)
    # Waiting for somebody who will answer is another thing.
    other = rotating(platform, first[-1])
    assert other.tell("wait", reason="gitops_reconciliation_slow", waitSeconds=60) == "waiting"
    platform.clock.advance(1)
    second = tick(platform)
    assert (len(second["enqueued"]), second["putOff"]) == (2, 0)


def test_the_most_overdue_come_first(platform: Platform) -> None:
    secrets = secrets_in_use(platform, *(f"key-{number}" for number in range(8)))
    platform.clock.advance(100 * DAY_SECONDS)
    by_due = sorted(secrets, key=lambda secret: seen(platform, secret)["nextRotationAt"])
    enqueued = [platform.request(each)["secretId"] for each in tick(platform)["enqueued"]]
    assert enqueued == [secret.id for secret in by_due[:5]]


@pytest.mark.usefixtures("patience")
def test_fifty_identical_ticks_at_once_act_once(platform: Platform) -> None:
    secrets_in_use(platform, *(f"key-{number}" for number in range(9)))
    platform.clock.advance(91 * DAY_SECONDS)
    engine, at = platform.engine_service, platform.clock.now().isoformat()

    def ask(_number: int) -> Any:
        return engine.post(DUE_ROTATIONS, {"scheduledAt": at})

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(answers[0].json()["enqueued"]) == 5
    assert len(rotations(platform)) == 5


@pytest.mark.usefixtures("patience")
def test_many_scheduled_times_at_once_never_start_too_many(platform: Platform) -> None:
    """The engine was away and now asks for every time it missed."""
    secrets_in_use(platform, *(f"key-{number}" for number in range(9)))
    platform.clock.advance(91 * DAY_SECONDS)
    engine, now = platform.engine_service, platform.clock.now()

    def ask(number: int) -> Any:
        at = now - timedelta(minutes=number)
        return engine.post(DUE_ROTATIONS, {"scheduledAt": at.isoformat()})

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    enqueued = [id_ for answer in answers for id_ in answer.json()["enqueued"]]
    assert len(enqueued) == len(set(enqueued)) == len(rotations(platform)) == 5


def test_a_time_that_is_still_to_come_makes_nothing_due_early(platform: Platform) -> None:
    secret_in_use(platform)
    answer = tick(platform, platform.clock.now() + timedelta(days=365))
    assert answer["enqueued"] == []


@pytest.mark.parametrize("scheduled_at", ["soon", "2026-01-01T00:00:00", None])
def test_a_time_that_is_none_writes_nothing(platform: Platform, scheduled_at: Any) -> None:
    engine = platform.engine_service
    before = counts(platform)
    refused = engine.post(DUE_ROTATIONS, {"scheduledAt": scheduled_at})
    assert refused.status_code == 422
    assert counts(platform) == before


@pytest.mark.parametrize("far", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_at_the_end_of_times_is_one_like_others(platform: Platform, far: str) -> None:
    secret_in_use(platform)
    for _ in range(2):
        answer = platform.engine_service.ok(DUE_ROTATIONS, {"scheduledAt": far})
        assert answer == {"enqueued": [], "putOff": 0}


# ── who is left out ──────────────────────────────────────────────────────────────────────────


def test_rotations_begin_inside_their_window_only(platform: Platform) -> None:
    early, late = secrets_in_use(platform, "early", "late")
    platform.clock.advance(91 * DAY_SECONDS)
    # From here a minute and two hours later are in the same hour as two hours later, at any time.
    platform.clock.advance(HOUR - platform.clock.now().timestamp() % HOUR + 5 * 60)
    now = platform.clock.now()
    hour, days = now.hour, ["monday", "tuesday", "wednesday", "thursday", "friday"]
    week = [*days, "saturday", "sunday"]
    here = {"days": week, "fromHour": hour, "untilHour": hour + 1}
    later = (hour + 2) % 24
    set_policy(platform, early, window=here)
    set_policy(platform, late, window={"days": week, "fromHour": later, "untilHour": later + 1})
    (request_id,) = tick(platform)["enqueued"]
    assert platform.request(request_id)["secretId"] == early.id
    platform.clock.advance(60)
    assert tick(platform) == {"enqueued": [], "putOff": 0}
    platform.clock.advance(2 * HOUR)
    # A time that lies back does not open a window that has closed since, nor close one that is
    # open now.
    (request_id,) = tick(platform, now + timedelta(minutes=5))["enqueued"]
    assert platform.request(request_id)["secretId"] == late.id


def test_a_command_heeds_no_window(platform: Platform) -> None:
    secret = secret_in_use(platform)
    hour = (platform.clock.now().hour + 3) % 24
    set_policy(platform, secret, window={"fromHour": hour, "untilHour": hour + 1})
    rotation_of(platform, secret)


def test_what_may_not_be_rotated_takes_no_place(platform: Platform) -> None:
    suspended, rotating_one, free = secrets_in_use(platform, "a-key", "b-key", "c-key")
    of_suspended_team = secret_in_use(platform)
    of_other_application = secret_in_use(platform)
    platform.clock.advance(91 * DAY_SECONDS)
    platform.admin.ok(f"/v1/secrets/{suspended.id}/suspend")
    rotation_of(platform, rotating_one)
    platform.admin.ok(f"/v1/teams/{of_suspended_team.subject.team}/suspend")
    with platform.engine.begin() as connection:
        query = text("UPDATE applications SET state = 'Decommissioning' WHERE id = :id")
        connection.execute(query, {"id": of_other_application.subject.application_id})
    answer = tick(platform)
    (request_id,) = answer["enqueued"]
    assert platform.request(request_id)["secretId"] == free.id
    assert answer["putOff"] == 0
    platform.admin.ok(f"/v1/secrets/{suspended.id}/resume")
    platform.clock.advance(1)
    assert len(tick(platform)["enqueued"]) == 1


def test_a_secret_that_somebody_holds_keeps_no_other_waiting(platform: Platform) -> None:
    held, free = secret_in_use(platform), secret_in_use(platform)
    platform.clock.advance(91 * DAY_SECONDS)
    with platform.engine.begin() as connection:
        query = text("SELECT id FROM secrets WHERE id = :id FOR UPDATE")
        connection.execute(query, {"id": held.id})
        (request_id,) = tick(platform)["enqueued"]
    assert platform.request(request_id)["secretId"] == free.id
    assert platform.events(type="secret_rotation_started") == ["secret_rotation_started"]
    platform.clock.advance(1)
    (request_id,) = tick(platform)["enqueued"]
    assert platform.request(request_id)["secretId"] == held.id


def test_a_rotation_that_fails_again_and_again_lets_others_go_first(platform: Platform) -> None:
    secrets = secrets_in_use(platform, *(f"key-{number}" for number in range(7)))
    platform.clock.advance(91 * DAY_SECONDS)
    first = tick(platform)["enqueued"]
    for request_id in first:
        rotating(platform, request_id).fail("validate_rotation", retryable=False)  # type: ignore[arg-type]
    platform.clock.advance(60)
    second = tick(platform)["enqueued"]
    tried = {platform.request(each)["secretId"] for each in (*first, *second)}
    assert len(second) == 2
    assert tried == {secret.id for secret in secrets}
    platform.clock.advance(HOUR)
    assert len(tick(platform)["enqueued"]) == 3  # two of five places are taken


def test_what_waits_for_a_person_s_value_is_asked_for_once_in_an_interval(
    platform: Platform,
) -> None:
    secret = secret_in_use(platform, sensitivity="high")
    platform.clock.advance(31 * DAY_SECONDS)
    (request_id,) = tick(platform)["enqueued"]
    run = rotating(platform, request_id)
    assert run.fail(Step.VALIDATE_ROTATION, retryable=False, code="value_set_by_person") == "failed"
    for _ in range(3):
        platform.clock.advance(9 * DAY_SECONDS)
        assert tick(platform)["enqueued"] == []
    assert seen(platform, secret)["state"] == "Active"
    platform.clock.advance(4 * DAY_SECONDS)
    (again,) = tick(platform)["enqueued"]
    finish(platform, again, after_seconds=DAY_SECONDS)


def test_a_time_zone_that_is_gone_holds_back_its_own_secret_alone(platform: Platform) -> None:
    lost, free = secrets_in_use(platform, "lost", "free")
    set_policy(platform, lost, window={"timeZone": "Europe/Madrid"})
    with platform.engine.begin() as connection:
        query = text(
            "UPDATE secrets SET rotation_window"
            " = jsonb_set(rotation_window, '{time_zone}', '\"Europe/Gone\"') WHERE id = :id"
        )
        connection.execute(query, {"id": lost.id})
    platform.clock.advance(91 * DAY_SECONDS)
    with capture_logs() as logs:
        (request_id,) = tick(platform)["enqueued"]
    assert platform.request(request_id)["secretId"] == free.id
    (told,) = [each for each in logs if each["event"] == "rotation_not_started"]
    assert (told["idp.secret_id"], told["code"]) == (lost.id, "time_zone_unknown")


def test_after_a_person_s_value_no_other_is_made_to_end_the_old_one(platform: Platform) -> None:
    secret = secret_in_use(platform, sensitivity="low")
    run = replace(rotating(platform, rotation_of(platform, secret)), takes_persons=True)
    run.do_all()
    run.fail(Step.CONFIRM_CONSUMERS, retryable=False)
    platform.clock.advance(2 * HOUR)
    assert tick(platform)["enqueued"] == []
    platform.admin.ok(f"/v1/workflow-requests/{run.request_id}/retry", {})


def test_an_old_credential_that_was_not_ended_is_ended_soon(platform: Platform) -> None:
    secret = secret_in_use(platform, sensitivity="low")
    run = rotating(platform, rotation_of(platform, secret))
    run.do_all()
    run.fail(Step.CONFIRM_CONSUMERS, retryable=False)
    assert tick(platform)["enqueued"] == []
    platform.clock.advance(HOUR)
    (request_id,) = tick(platform)["enqueued"]
    assert platform.request(request_id)["secretId"] == secret.id
    finish(platform, request_id, after_seconds=DAY_SECONDS)
    platform.clock.advance(2 * HOUR)
    assert tick(platform)["enqueued"] == []


# ── places ───────────────────────────────────────────────────────────────────────────────────


def states_of(platform: Platform, request_ids: list[str]) -> list[str]:
    return [platform.request(each)["state"] for each in request_ids]


def test_rotations_come_out_of_their_grace_a_few_at_once(platform: Platform) -> None:
    of_person, *secrets = secrets_in_use(platform, *(f"key-{number}" for number in range(8)))
    platform.clock.advance(91 * DAY_SECONDS)
    by_command = in_grace(platform, of_person)
    in_turn: list[str] = []
    while enqueued := tick(platform)["enqueued"]:
        for request_id in enqueued:
            rotating(platform, request_id).end_phase()
            platform.clock.advance(1)
        in_turn += enqueued
    assert len(in_turn) == 7
    platform.sweep_after(2 * DAY_SECONDS)
    assert states_of(platform, in_turn) == ["pending"] * 5 + ["waiting"] * 2
    assert platform.request(by_command)["state"] == "pending"
    assert tick(platform)["enqueued"] == []
    platform.sweep_after(1)
    assert states_of(platform, in_turn[5:]) == ["waiting"] * 2
    rotating(platform, in_turn[0], attempt=2).finalize()
    platform.sweep_after(1)
    assert states_of(platform, in_turn[5:]) == ["pending", "waiting"]
    assert len(secrets) == 7


def test_a_secret_that_expires_takes_its_turn_and_one_that_is_compromised_does_not(
    platform: Platform,
) -> None:
    names = [f"key-{number}" for number in range(7)]
    slow, urgent, *_ = secrets = secrets_in_use(platform, *names)
    for secret in secrets[2:]:
        set_policy(platform, secret, intervalSeconds=DAY_SECONDS)
    platform.clock.advance(2 * DAY_SECONDS)
    at_work = tick(platform)["enqueued"]
    assert len(at_work) == 5
    soon = platform.clock.now() + timedelta(days=2)
    set_policy(platform, slow, expiresAt=soon.isoformat())
    platform.clock.advance(60)
    tick(platform)
    platform.admin.ok(f"/v1/secrets/{urgent.id}/compromised", {"reason": "seen in a log"})
    compromise, expiry = platform.engine_service.seen(ROTATION_CAUSES)["causes"]
    refused = platform.engine_service.post(ROTATIONS, {"eventId": expiry["eventId"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_rotations")
    platform.engine_service.ok(ROTATIONS, {"eventId": compromise["eventId"]})
    assert platform.engine_service.seen(ROTATION_CAUSES)["causes"] == [expiry]
    rotating(platform, at_work[0]).fail(Step.VALIDATE_ROTATION, retryable=False)
    request_id = platform.engine_service.ok(ROTATIONS, {"eventId": expiry["eventId"]})["requestId"]
    assert platform.request(request_id)["secretId"] == slow.id
    # It takes a place itself.
    platform.clock.advance(2 * HOUR)
    assert tick(platform)["enqueued"] == []


# ── what ends by itself ──────────────────────────────────────────────────────────────────────


def expiring(platform: Platform, secret: SecretInUse) -> list[Any]:
    query = {"type": "secret_expiring", "subject": f"secret/{secret.id}"}
    return list(platform.admin.seen("/v1/events", **query)["items"])


def test_an_end_that_comes_soon_is_told_once_for_each_version(platform: Platform) -> None:
    secret = secret_in_use(platform)
    ends = platform.clock.now() + timedelta(days=8)
    set_policy(platform, secret, expiresAt=ends.isoformat(), graceSeconds=0)
    tick(platform)
    assert expiring(platform, secret) == []
    platform.clock.advance(DAY_SECONDS + 60)
    for _ in range(3):
        platform.clock.advance(60)
        tick(platform)
    (event,) = expiring(platform, secret)
    assert event["data"] == {"version": 3, "expiresAt": f"{ends:%FT%TZ}"}
    assert (event["actor"], event["team"]) == ("secret_rotation_schedule", secret.subject.team)
    finish(platform, rotation_of(platform, secret))
    assert seen(platform, secret)["rotationPolicy"]["expiresAt"] is None
    platform.clock.advance(60)
    tick(platform)
    assert len(expiring(platform, secret)) == 1
    soon = platform.clock.now() + timedelta(days=2)
    set_policy(platform, secret, expiresAt=soon.isoformat())
    platform.clock.advance(60)
    tick(platform)
    assert [event["data"]["version"] for event in expiring(platform, secret)] == [3, 4]


def test_another_end_of_the_same_version_is_told_too(platform: Platform) -> None:
    secret = secret_in_use(platform)
    ends = [platform.clock.now() + timedelta(days=days) for days in (4, 2)]
    for end in ends:
        for grace_seconds in (0, 60):
            set_policy(platform, secret, expiresAt=end.isoformat(), graceSeconds=grace_seconds)
            platform.clock.advance(60)
            tick(platform)
    told = [event["data"] for event in expiring(platform, secret)]
    assert told == [{"version": 3, "expiresAt": f"{end:%FT%TZ}"} for end in ends]


def test_the_end_of_what_cannot_be_rotated_is_told_when_it_can(platform: Platform) -> None:
    secret, other = secret_in_use(platform), secret_in_use(platform)
    soon = platform.clock.now() + timedelta(days=2)
    for each in (secret, other):
        set_policy(platform, each, expiresAt=soon.isoformat())
    platform.admin.ok(f"/v1/teams/{secret.subject.team}/suspend")
    move = text("UPDATE applications SET state = :state WHERE id = :id")
    of_other = {"id": other.subject.application_id}
    with platform.engine.begin() as connection:
        connection.execute(move, {**of_other, "state": "Decommissioning"})
    tick(platform)
    assert expiring(platform, secret) == expiring(platform, other) == []
    platform.admin.ok(f"/v1/teams/{secret.subject.team}/resume")
    with platform.engine.begin() as connection:
        connection.execute(move, {**of_other, "state": "Active"})
    platform.clock.advance(60)
    tick(platform)
    assert (len(expiring(platform, secret)), len(expiring(platform, other))) == (1, 1)


def test_the_end_of_what_is_being_rotated_is_not_told(platform: Platform) -> None:
    secret = secret_in_use(platform)
    soon = platform.clock.now() + timedelta(days=2)
    set_policy(platform, secret, expiresAt=soon.isoformat())
    in_grace(platform, secret)
    tick(platform)
    assert expiring(platform, secret) == []


def test_scheduled_times_are_remembered_for_a_month(platform: Platform) -> None:
    for _ in range(3):
        tick(platform)
        platform.clock.advance(29 * DAY_SECONDS)
        platform.housekeeper.keep_house()
    query = text("SELECT count(*) FROM rotation_ticks")
    with platform.engine.connect() as connection:
        assert connection.execute(query).scalar_one() == 1
