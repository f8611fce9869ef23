"""Offers: who gets work, in which order, how soon, and when not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from control_plane.adapters.database import transaction
from control_plane.api import engine as engine_routes
from idp_kernel.ids import new_id
from idp_kernel.services import ServiceName
from idp_kernel.tokens import service_assertion
from idp_kernel.wire.engine import LOST_RUNS, ROTATION_CAUSES
from tests.fixtures.stack import FreshDatabase
from tests.integration.control_plane.conftest import (
    ADMIN_TOKEN,
    Keys,
    Platform,
    eventually,
)
from tests.integration.control_plane.engine_run import STEPS, ask_claim, claimed, launch, offers
from tests.integration.control_plane.process import Process, served
from tests.integration.control_plane.rotations import rotation_of, secret_in_use
from tests.integration.control_plane.test_statements import counting

END_EVERYTHING = """
UPDATE workflow_requests SET
    state = 'cancelled', ended_at = now(), lease_expires_at = NULL, not_before = NULL,
    waiting_reason = NULL, waiting_since = NULL, waiting_until = NULL
WHERE state IN ('pending', 'running', 'waiting');
UPDATE workflow_subjects SET active = false WHERE active;
DELETE FROM lost_runs;
DELETE FROM rotation_causes
"""
AT_ONCE_SECONDS = 10.0
"""Far more than it takes to be told, far less than who waits would wait."""


@pytest.fixture(autouse=True)
def nothing_else_is_open(platform: Platform) -> None:
    """Ends what other tests left: a sweeper would make a wait or a lost run work again, and a
    cause of a rotation is told to who waits for one.
    """
    with transaction(platform.engine) as connection:
        for statement in END_EVERYTHING.split(";"):
            connection.execute(text(statement))


def test_an_offer_is_made_again_after_a_while_and_then_ever_more_rarely(
    platform: Platform,
) -> None:
    request_id = platform.provision(platform.new_subject())
    platform.clock.stand_still()
    assert request_id in offers(platform)
    for pause_seconds in (5, 10, 20, 30, 30):
        assert request_id not in offers(platform)
        platform.clock.advance(pause_seconds - 1)
        assert request_id not in offers(platform)
        platform.clock.advance(1)
        assert offers(platform)[request_id]["attempt"] == 1


def test_teams_take_turns_and_the_oldest_comes_first(platform: Platform) -> None:
    busy, quiet = platform.new_subject(), platform.new_subject()
    of_busy = [platform.provision(busy)]
    for number in range(3):
        slug = f"app-{number}"
        path = f"/v1/applications/{platform.onboard(busy.team, slug)}/environments"
        of_busy.append(platform.admin.ok(path, {"environment": busy.environment})["requestId"])
    of_quiet = platform.provision(quiet)
    assert list(offers(platform, limit=2)) == [of_busy[0], of_quiet]
    assert list(offers(platform)) == of_busy[1:]


def test_an_emergency_is_offered_before_what_has_waited_longer(platform: Platform) -> None:
    secret, other = secret_in_use(platform), platform.new_subject()
    older = platform.provision(other)
    emergency = rotation_of(platform, secret, emergency=True)
    assert list(offers(platform)) == [emergency, older]


def test_nothing_is_offered_while_draining_and_commands_are_taken(platform: Platform) -> None:
    platform.admin.ok("/v1/platform/drain")
    try:
        assert platform.admin.seen("/v1/platform") == {"draining": True}
        request_id = platform.provision(platform.new_subject())
        answer = platform.engine_service.ok("/internal/offers", {"waitSeconds": 0})
        assert answer == {"offers": [], "draining": True}
    finally:
        platform.admin.ok("/v1/platform/resume")
    assert request_id in offers(platform)
    assert platform.admin.seen("/v1/platform") == {"draining": False}


def test_nothing_is_launched_by_hand_while_draining_and_what_runs_goes_on(
    platform: Platform,
) -> None:
    failed = claimed(platform, platform.provision(platform.new_subject()))
    failed.fail(STEPS[0], retryable=False)
    appenv = platform.request(failed.request_id)["applicationEnvironmentId"]
    running = claimed(platform, platform.provision(platform.new_subject()))
    platform.admin.ok("/v1/platform/drain")
    try:
        for refused in (
            launch(platform, reason="try", subjectId=appenv),
            launch(platform, parentRunId=failed.run_id),
        ):
            assert (refused.status_code, refused.json()["code"]) == (409, "platform_draining")
        assert platform.request(failed.request_id)["state"] == "failed"
        assert launch(platform, runId=running.run_id).json()["requestId"] == running.request_id
    finally:
        platform.admin.ok("/v1/platform/resume")
    assert launch(platform, parentRunId=failed.run_id).status_code == 200


@pytest.mark.usefixtures("patience")
def test_concurrent_askers_never_get_the_same_offer(platform: Platform) -> None:
    ids = {platform.provision(platform.new_subject()) for _ in range(6)}
    token = platform.engine_service

    def ask(_number: int) -> list[str]:
        answer = token.ok("/internal/offers", {"waitSeconds": 0, "limit": 2})
        return [offer["requestId"] for offer in answer["offers"]]

    with ThreadPoolExecutor(8) as pool:
        got = [id_ for ids_ in pool.map(ask, range(8)) for id_ in ids_]
    assert len(got) == len(set(got))
    assert set(got) | set(offers(platform)) == ids


def test_of_two_claimers_at_once_one_wins(platform: Platform) -> None:
    for _ in range(5):
        request_id = platform.provision(platform.new_subject())
        runs = [new_id(), new_id()]
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(ask_claim, platform, request_id, run) for run in runs]
            answers = [each.result() for each in asked]
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        (refused,) = [answer.json() for answer in answers if answer.status_code == 409]
        assert refused["code"] == "already_claimed"
        (granted,) = [answer.json() for answer in answers if answer.status_code == 200]
        assert granted["fence"] == 1
        (attempt,) = platform.request(request_id)["attempts"]
        assert attempt["runId"] == granted["runId"]


def test_every_claim_of_the_same_run_raises_the_fence(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run_id = new_id()
    fences = [claimed(platform, request_id, run_id=run_id).claim["fence"] for _ in range(3)]
    assert fences == [1, 2, 3]


def test_a_run_holds_one_request_only(platform: Platform) -> None:
    run_id = new_id()
    claimed(platform, platform.provision(platform.new_subject()), run_id=run_id)
    other = platform.provision(platform.new_subject())
    answer = ask_claim(platform, other, run_id)
    assert (answer.status_code, answer.json()["code"]) == (409, "run_already_used")
    assert platform.request(other)["state"] == "pending"


@pytest.fixture(scope="module")
def server(migrated: FreshDatabase, keys: Keys) -> Iterator[Process]:
    """A process of its own, for those who wait at it and leave it as it was. It does not sweep:
    while it does, no other one finds what is lost.
    """
    with served(migrated, keys, IDP_CONTROL_PLANE_SWEEP_SECONDS="600") as process:
        yield process


def test_a_waiting_offer_hears_of_work_at_once(platform: Platform, server: Process) -> None:
    subject = platform.new_subject()
    with httpx.Client(base_url=server.url, timeout=30) as client:
        headers = engine_headers(platform, client)

        def wait() -> tuple[float, Any]:
            body = {"waitSeconds": 20}
            answer = client.post("/internal/offers", json=body, headers=headers)
            return time.monotonic(), answer.json()

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait)
            assert not wait_for([waiting], timeout=0.4).done
            accepted = client.post(
                f"/v1/applications/{subject.application_id}/environments",
                json={"environment": subject.environment},
                headers={"Authorization": f"Bearer {ADMIN_TOKEN}", "Idempotency-Key": new_id()},
            )
            told_at = time.monotonic()
            answered_at, answer = waiting.result()
    assert accepted.json()["requestId"] in [each["requestId"] for each in answer["offers"]]
    # With nothing pending before, its own look would come only at the end of the time.
    assert answered_at - told_at < AT_ONCE_SECONDS


@pytest.mark.parametrize("is_pending", [True, False])
def test_a_waiting_offer_looks_by_itself_only_while_something_is_pending(
    lone_platform: Platform, monkeypatch: pytest.MonkeyPatch, *, is_pending: bool
) -> None:
    monkeypatch.setattr(engine_routes, "LOOK_EVERY_SECONDS", 0.05)
    if is_pending:
        lone_platform.provision(lone_platform.new_subject())
        assert len(offers(lone_platform)) == 1
    asker, statements = lone_platform.engine_service, list[str]()

    def looks() -> int:
        return sum("platform_standing" in each for each in list(statements))

    with counting(lone_platform.engine, statements), ThreadPoolExecutor(1) as pool:
        body = {"waitSeconds": 3 if is_pending else 0.5}
        waiting = pool.submit(asker.ok, "/internal/offers", body)
        eventually(lambda: waiting.done() or looks() > 2)
        lone_platform.services.wakeups.close()
        assert waiting.result()["offers"] == []
    assert (looks() > 2) is is_pending, "one at the beginning and one at the end"


def test_who_waits_for_lost_runs_hears_of_one_at_once(platform: Platform, server: Process) -> None:
    run = claimed(platform, platform.provision(platform.new_subject()))
    with httpx.Client(base_url=server.url, timeout=60) as client:
        headers = engine_headers(platform, client)

        def wait() -> tuple[float, set[str]]:
            lost = lost_runs(client, headers, wait_seconds=20)
            return time.monotonic(), {each["runId"] for each in lost}

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait)
            assert not wait_for([waiting], timeout=0.4).done
            platform.sweep_after(20)
            told_at = time.monotonic()
            answered_at, lost = waiting.result()
    assert run.run_id in lost
    assert answered_at - told_at < AT_ONCE_SECONDS


def test_nobody_waits_for_lost_runs_longer_than_asked(platform: Platform, server: Process) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        headers = engine_headers(platform, client)
        began = time.monotonic()
        assert lost_runs(client, headers, wait_seconds=0.3) == []
        assert time.monotonic() - began >= 0.3
        refused = client.get(LOST_RUNS, params={"waitSeconds": 21}, headers=headers)
    assert refused.status_code == 422


def test_who_waits_for_what_asks_for_a_rotation_hears_of_it_at_once(
    platform: Platform, server: Process
) -> None:
    secret = secret_in_use(platform)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        headers = engine_headers(platform, client)

        def wait() -> tuple[float, set[str]]:
            answer = client.get(ROTATION_CAUSES, params={"waitSeconds": 20}, headers=headers)
            return time.monotonic(), {each["secretId"] for each in answer.json()["causes"]}

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait)
            assert not wait_for([waiting], timeout=0.4).done
            told_at = time.monotonic()
            platform.admin.ok(f"/v1/secrets/{secret.id}/compromised", {"reason": "seen in a log"})
            answered_at, causes = waiting.result()
    assert causes == {secret.id}
    assert answered_at - told_at < AT_ONCE_SECONDS


def lost_runs(
    client: httpx.Client, headers: dict[str, str], *, wait_seconds: float
) -> list[dict[str, Any]]:
    answer = client.get(LOST_RUNS, params={"waitSeconds": wait_seconds}, headers=headers)
    assert answer.status_code == 200, answer.text
    runs: list[dict[str, Any]] = answer.json()["runs"]
    return runs


def test_an_asker_who_hangs_up_takes_no_work_with_it(platform: Platform, server: Process) -> None:
    subject = platform.new_subject()
    with httpx.Client(base_url=server.url, timeout=30) as client:
        headers = engine_headers(platform, client)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/internal/offers", json={"waitSeconds": 15}, headers=headers, timeout=2)
        request_id = platform.provision(subject)
        answer = client.post("/internal/offers", json={"waitSeconds": 3}, headers=headers)
    assert request_id in [each["requestId"] for each in answer.json()["offers"]]


def engine_headers(platform: Platform, client: httpx.Client) -> dict[str, str]:
    """The engine's authorization."""
    name = ServiceName.WORKFLOW_ENGINE
    assertion = service_assertion(platform.keys.services[name], name, platform.clock)
    answer = client.post("/internal/tokens", json={"assertion": assertion})
    return {"Authorization": f"Bearer {answer.json()['accessToken']}"}


@pytest.mark.endurance
def test_a_server_that_is_asked_to_end_does_not_wait_for_work(
    platform: Platform, migrated: FreshDatabase, keys: Keys
) -> None:
    with (
        served(migrated, keys) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        headers = engine_headers(platform, client)
        body = {"waitSeconds": 20}
        waiting = pool.submit(client.post, "/internal/offers", json=body, headers=headers)
        assert not wait_for([waiting], timeout=0.3).done
        assert ended(server) == 0
        assert waiting.result().json()["offers"] == []


def ended(server: Process) -> int:
    """Its exit status after SIGTERM, which comes long before an offer would have waited enough."""
    server.process.terminate()
    return server.process.wait(10)
