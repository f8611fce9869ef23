"""Services get tokens with their own keys, limited to their scopes."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Any

from idp_kernel.ids import new_id
from idp_kernel.services import ServiceName
from idp_kernel.tokens import (
    AUDIENCE_CONTROL_PLANE,
    AUDIENCE_WORKERS,
    AssertionClaims,
    RunClaims,
    SigningKey,
    public_key_set,
    service_assertion,
    verify,
)
from tests.integration.control_plane.conftest import Caller, Platform
from tests.integration.control_plane.engine_run import claimed


def ask(platform: Platform, assertion: str) -> Any:
    return platform.client.post("/internal/tokens", json={"assertion": assertion})


def refused(platform: Platform, assertion: str) -> str:
    answer = ask(platform, assertion)
    assert answer.status_code == 401
    return str(answer.json()["code"])


def test_an_assertion_counts_once(platform: Platform) -> None:
    name = ServiceName.WORKFLOW_ENGINE
    assertion = service_assertion(platform.keys.services[name], name, platform.clock)
    assert ask(platform, assertion).status_code == 200
    assert refused(platform, assertion) == "assertion_replayed"


def test_a_service_cannot_speak_for_another(platform: Platform) -> None:
    forge = platform.keys.services[ServiceName.LOCAL_FORGE]
    borrowed = service_assertion(forge, ServiceName.WORKFLOW_ENGINE, platform.clock)
    assert refused(platform, borrowed) == "token_invalid"
    unknown = SigningKey.generate(ServiceName.WORKFLOW_ENGINE)
    forged = service_assertion(unknown, ServiceName.WORKFLOW_ENGINE, platform.clock)
    assert refused(platform, forged) == "token_invalid"
    keyless = SigningKey.generate(ServiceName.EXECUTION_WORKERS)
    assert (
        refused(platform, service_assertion(keyless, ServiceName.EXECUTION_WORKERS, platform.clock))
        == "token_invalid"
    )
    nested = base64.urlsafe_b64encode(b"[" * 3000).decode()
    for nonsense in ("", "x", "a.b.c", "eyJraWQiOiJ4In0.e30.e30", "é.é.é", nested):
        assert refused(platform, nonsense) == "token_invalid"


def test_old_assertions_and_those_for_others_are_refused(platform: Platform) -> None:
    name = ServiceName.WORKFLOW_ENGINE
    key = platform.keys.services[name]
    old = service_assertion(key, name, platform.clock)
    platform.clock.advance(61)
    assert refused(platform, old) == "token_expired"
    now = platform.clock.now()
    elsewhere = key.sign(
        AssertionClaims(
            iss=name,
            sub=name,
            aud=[AUDIENCE_WORKERS],
            iat=int(now.timestamp()),
            exp=int((now + timedelta(seconds=30)).timestamp()),
            jti=new_id(),
        )
    )
    assert refused(platform, elsewhere) == "token_invalid"


def test_an_assertion_lives_a_minute_and_has_a_short_name(platform: Platform) -> None:
    name, now = ServiceName.WORKFLOW_ENGINE, int(platform.clock.now().timestamp())
    for seconds, jti in ((120, new_id()), (10**15, new_id()), (30, "x" * 101)):
        claims = AssertionClaims.model_construct(
            iss=name, sub=name, aud=[AUDIENCE_CONTROL_PLANE], iat=now, exp=now + seconds, jti=jti
        )
        assert refused(platform, platform.keys.services[name].sign(claims)) == "token_invalid"


def test_an_access_token_ends_after_ten_minutes(platform: Platform) -> None:
    engine = platform.engine_service
    assert engine.get("/internal/lost-runs").status_code == 200
    platform.clock.advance(601)
    answer = engine.get("/internal/lost-runs")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")


def test_a_run_token_verifies_offline_with_the_published_keys(platform: Platform) -> None:
    run = claimed(platform, platform.provision(platform.new_subject()))
    published = public_key_set(platform.client.get("/.well-known/jwks.json").json())
    claims = verify(
        run.claim["runToken"], published, RunClaims, audience=AUDIENCE_WORKERS, clock=platform.clock
    )
    assert claims.request_id == run.request_id
    assert claims.fence == run.claim["fence"]
    assert claims.deadline == int(datetime.fromisoformat(run.claim["deadlineAt"]).timestamp())
    assert claims.team == run.claim["desiredState"]["subject"]["team"]
    assert AUDIENCE_CONTROL_PLANE in claims.aud
    assert "d" not in platform.client.get("/.well-known/jwks.json").json()["keys"][0]


def test_a_run_token_ends_with_the_lease_and_the_run_may_claim_again(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    platform.clock.advance(16)
    assert run.say("lease").json()["code"] == "token_expired"
    again = claimed(platform, request_id, run_id=run.run_id)
    assert again.claim["fence"] == run.claim["fence"] + 1
    assert again.say("lease").status_code == 200


def test_an_older_claims_token_no_longer_counts(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    claimed(platform, request_id, run_id=run.run_id)
    answer = run.say("steps/materialize_repositories/start", retryNumber=0)
    assert (answer.status_code, answer.json()["code"]) == (409, "claim_lost")
    assert answer.json()["workflowRequestId"] == request_id


def test_a_run_speaks_only_for_itself(platform: Platform) -> None:
    run = claimed(platform, platform.provision(platform.new_subject()))
    caller = Caller(platform.client, run.claim["runToken"])
    body = {"runId": new_id(), "attempt": 1, "retryNumber": 0}
    path = f"/internal/workflow-requests/{run.request_id}/steps/materialize_repositories/start"
    answer = caller.post(path, body)
    assert (answer.status_code, answer.json()["code"]) == (409, "claim_lost")
