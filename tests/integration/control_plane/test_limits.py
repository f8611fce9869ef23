"""Limits of teams: what they have, what is at work, and how often a token may call."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from control_plane.api.rate_limits import RateLimits
from control_plane.application.offer_requests import offer_requests
from control_plane.domain.rates import RatePolicy
from idp_kernel.services import ServiceName
from idp_kernel.workflows import Step
from tests.integration.control_plane.conftest import (
    Caller,
    Platform,
    Subject,
    eventually,
    somebody_waits_for_a_lock,
)
from tests.integration.control_plane.engine_run import STEPS, claimed, launch, offers
from tests.integration.control_plane.rotations import rotating, rotation_of, secrets_in_use, seen
from tests.integration.control_plane.test_surface import refused


def set_limits(platform: Platform, subject: Subject, **limits: Any) -> Any:
    answer = platform.admin.put(f"/v1/teams/{subject.team}/limits", limits)
    assert answer.status_code == 200, answer.text
    return answer.json()


def register(platform: Platform, subject: Subject, slug: str, *environments: str) -> Any:
    wanted = [{"environment": each} for each in environments]
    body = {"team": subject.team, "slug": slug, "environments": wanted}
    return platform.admin.post("/v1/applications", body)


def test_a_team_has_no_limit_until_it_is_set(platform: Platform) -> None:
    subject = platform.new_subject()
    nothing = {"own": None, "inForce": None}
    shown = platform.admin.seen(f"/v1/teams/{subject.team}/limits")
    assert shown == {
        "maxApplications": {**nothing, "used": 1},
        "maxApplicationEnvironments": {**nothing, "used": 0},
        "maxActiveRequests": {**nothing, "used": 0},
    }
    for _ in range(2):
        limited = set_limits(platform, subject, maxApplications=3)
        assert limited["maxApplications"] == {"own": 3, "inForce": 3, "used": 1}
    assert platform.events(team=subject.team).count("team_limits_changed") == 1
    assert set_limits(platform, subject) == shown


@pytest.mark.usefixtures("patience")
def test_no_application_is_registered_beyond_the_limit(platform: Platform) -> None:
    subject = platform.new_subject()
    set_limits(platform, subject, maxApplications=3)

    def attempt(number: int) -> Any:
        return register(platform, subject, f"app-{number}")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, range(8)))
    assert sorted(answer.status_code for answer in answers) == [202] * 2 + [409] * 6
    problem = refused(register(platform, subject, "one-more"), 409, "quota_exceeded")
    assert problem["limit"] == "maxApplications"
    assert (problem["inForce"], problem["used"], problem["wanted"]) == (3, 3, 1)
    assert f"/v1/teams/{subject.team}/limits" in problem["detail"]


def test_no_environment_is_declared_beyond_the_limit(platform: Platform) -> None:
    subject, other = platform.new_subject(), platform.new_subject()
    set_limits(platform, subject, maxApplicationEnvironments=1)
    wanted = (subject.environment, other.environment)
    problem = refused(register(platform, subject, "two", *wanted), 409, "quota_exceeded")
    assert (problem["limit"], problem["wanted"]) == ("maxApplicationEnvironments", 2)
    accepted = register(platform, subject, "one", subject.environment)
    assert accepted.status_code == 202
    platform.provision(subject)
    run = claimed(platform, accepted.json()["requestId"])
    refused(run.say("declare-environments"), 409, "quota_exceeded")
    path = f"/v1/applications/{subject.application_id}/environments"
    refused(platform.admin.post(path, {"environment": other.environment}), 409, "quota_exceeded")
    # What is there already is no more than before.
    refused(platform.admin.post(path, {"environment": wanted[0]}), 409, "workflow_active")


def test_what_a_team_has_beyond_its_concurrency_stays_pending(platform: Platform) -> None:
    subject = platform.new_subject()
    requests = [
        register(platform, subject, f"app-{number}").json()["requestId"] for number in range(3)
    ]
    set_limits(platform, subject, maxActiveRequests=1)
    assert requests[0] in offers(platform)
    assert not set(requests) & set(offers(platform))
    platform.clock.advance(60)
    again = set(offers(platform)) & set(requests)
    assert again == {requests[0]}, "what was offered keeps its place"
    run = claimed(platform, requests[0])
    assert not set(requests) & set(offers(platform))
    used = platform.admin.seen(f"/v1/teams/{subject.team}/limits")["maxActiveRequests"]["used"]
    assert used == 1
    assert run.finalize().json()["state"] == "succeeded"
    assert set(offers(platform)) & set(requests) == {requests[1]}
    set_limits(platform, subject)
    assert set(offers(platform)) & set(requests) == {requests[2]}
    states = [platform.request(each)["state"] for each in requests]
    assert states == ["succeeded", "pending", "pending"]


@pytest.mark.usefixtures("patience")
def test_those_who_ask_for_offers_at_once_give_no_place_twice(platform: Platform) -> None:
    platform.clock.stand_still()
    subject = platform.new_subject()
    older, newer = (
        register(platform, subject, f"app-{number}").json()["requestId"] for number in range(2)
    )
    claimed(platform, older).fail(Step.VALIDATE_APPLICATION, retryable=True)
    set_limits(platform, subject, maxActiveRequests=1)
    with ThreadPoolExecutor(1) as pool:
        with platform.services.begin() as work:
            first = offer_requests(work, 100, platform.services.offers)
            platform.clock.advance(60)
            second = pool.submit(offers, platform)
            eventually(lambda: second.done() or somebody_waits_for_a_lock(platform.engine))
        offered = {offer.request_id for offer in first.offers} | set(second.result())
    assert offered & {older, newer} == {newer}


def test_a_launch_by_hand_takes_a_place_or_is_refused(platform: Platform) -> None:
    secret, other = secrets_in_use(platform, "app-key", "other-key")
    run = rotating(platform, rotation_of(platform, other))
    set_limits(platform, secret.subject, maxActiveRequests=1)
    by_hand = {"workflow": "SecretRotation", "subjectId": secret.id, "reason": "now"}
    problem = refused(launch(platform, **by_hand), 409, "quota_exceeded")
    assert (problem["limit"], problem["inForce"], problem["used"]) == ("maxActiveRequests", 1, 1)
    assert seen(platform, secret)["state"] == "Active"
    run.do_all()
    assert run.end_phase().json()["state"] == "waiting"
    assert launch(platform, **by_hand).status_code == 200


def test_a_re_run_by_hand_of_what_holds_a_place_already_goes_on(platform: Platform) -> None:
    subject = platform.new_subject()
    request_id = platform.provision(subject)
    run = claimed(platform, request_id)
    run.fail(STEPS[0], retryable=True)
    set_limits(platform, subject, maxActiveRequests=1)
    platform.clock.advance(60)
    assert request_id in offers(platform)
    assert launch(platform, parentRunId=run.run_id).status_code == 200


def test_an_emergency_is_re_run_by_hand_whatever_the_limit(platform: Platform) -> None:
    secret = secrets_in_use(platform, "app-key")[0]
    run = rotating(platform, rotation_of(platform, secret, emergency=True))
    run.fail(Step.VALIDATE_ROTATION, retryable=False)
    set_limits(platform, secret.subject, maxActiveRequests=0)
    again = launch(platform, workflow="SecretRotation", parentRunId=run.run_id)
    assert again.status_code == 200, again.text


def test_an_emergency_waits_for_no_other_request_of_its_team(platform: Platform) -> None:
    platform.clock.stand_still()
    secret, routine = secrets_in_use(platform, "app-key", "other-key")
    subject = secret.subject
    waiting = [
        register(platform, subject, f"app-{number}").json()["requestId"] for number in range(3)
    ]
    set_limits(platform, subject, maxActiveRequests=1)
    assert set(waiting) & set(offers(platform)) == {waiting[0]}
    routine_id = rotation_of(platform, routine)
    emergency_id = rotation_of(platform, secret, emergency=True)
    assert set(offers(platform)) & {*waiting, routine_id, emergency_id} == {emergency_id}
    run = rotating(platform, emergency_id)
    used = platform.admin.seen(f"/v1/teams/{subject.team}/limits")["maxActiveRequests"]["used"]
    assert used == 2, "it is at work like others"
    run.do_all()
    assert run.end_phase().json()["state"] == "waiting"
    platform.sweep_after(0)
    assert set(offers(platform)) & {*waiting, routine_id, emergency_id} == {emergency_id}


# ── calls of a token ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def slow(platform: Platform) -> Iterator[list[float]]:
    """Two calls at once, one in ten seconds for long, on a clock that the test moves."""
    now, kept = [0.0], platform.services.rates
    object.__setattr__(platform.services, "rates", RateLimits(RatePolicy(0.1, 2), lambda: now[0]))
    yield now
    object.__setattr__(platform.services, "rates", kept)


def test_a_token_that_calls_too_often_is_told_when_to_come_back(
    platform: Platform, slow: list[float]
) -> None:
    slow[0] += 1000
    person = Caller(platform.client, platform.token_for("frequent-caller"))
    first = person.get("/v1/whoami")
    assert first.headers["RateLimit-Policy"] == '"token";q=2;w=20'
    assert first.headers["RateLimit"] == '"token";r=1;t=10'
    assert person.get("/v1/whoami").headers["RateLimit"] == '"token";r=0;t=20'
    for _ in range(3):
        answer = person.get("/v1/whoami")
        refused(answer, 429, "rate_limited")
        assert answer.headers["Retry-After"] == "10"
        assert answer.headers["RateLimit"] == '"token";r=0;t=20'
        assert answer.json()["retryAfter"] == 10
    slow[0] += 10
    assert person.get("/v1/whoami").status_code == 200
    assert person.get("/v1/whoami").status_code == 429
    others = Caller(platform.client, platform.token_for("another-caller"))
    assert others.get("/v1/whoami").status_code == 200


def test_services_and_runs_are_not_limited(platform: Platform, slow: list[float]) -> None:
    exporter = platform.service(ServiceName.METRICS_EXPORTER)
    for _ in range(5):
        answer = exporter.get("/internal/metrics-projection")
        assert answer.status_code == 200
        assert "RateLimit" not in answer.headers


def test_a_full_bucket_is_forgotten() -> None:
    now = [0.0]
    limits = RateLimits(RatePolicy(per_second=1, burst=3), lambda: now[0])
    limits.take("once")
    for _ in range(70):
        now[0] += 1
        limits.take("often")
        limits.take("often")
    assert set(limits._buckets) == {"often"}
    assert not limits.take("once").is_exceeded
