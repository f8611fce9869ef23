"""Secrets as references: queries, policies, suspension, compromise, and the way to the value."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Engine, text

from control_plane.domain.rotation import DEFAULT_POLICIES
from idp_kernel.ids import new_id
from idp_kernel.tokens import AUDIENCE_SECRET_STORE, StoreLoginClaims
from idp_kernel.workflows import Step
from tests.fixtures.stack import FreshDatabase
from tests.integration.control_plane.conftest import (
    Caller,
    Keys,
    Platform,
    eventually,
    platform_on,
    settings_for,
)
from tests.integration.control_plane.engine_run import claimed, launch
from tests.integration.control_plane.rotations import (
    DAY_SECONDS,
    SecretInUse,
    in_grace,
    secret_in_use,
    secrets_in_use,
    seen,
    set_policy,
)
from tests.integration.control_plane.rows import counts, everything_stored

MEDIUM = DEFAULT_POLICIES["medium"]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def policy_path(secret: SecretInUse) -> str:
    return f"/v1/secrets/{secret.id}/rotation-policy"


def waiting_for_a_row(platform: Platform) -> int:
    """How many transactions wait until another lets a row go."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with platform.engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


# ── queries ──────────────────────────────────────────────────────────────────────────────────


def test_a_secret_is_shown_with_its_binding_and_its_rotation(platform: Platform) -> None:
    secret = secret_in_use(platform)
    shown = seen(platform, secret)
    assert (shown["team"], shown["application"], shown["environment"]) == (
        secret.subject.team, "shop", secret.subject.environment,
    )  # fmt: skip
    assert (shown["state"], shown["version"], shown["storePath"]) == ("Active", 3, "kv/app-key")
    assert shown["rotationPolicy"] == {
        "intervalSeconds": 90 * DAY_SECONDS, "graceSeconds": DAY_SECONDS, "window": None,
        "expiresAt": None,
    }  # fmt: skip
    rotated, following = moment(shown["rotatedAt"]), moment(shown["nextRotationAt"])
    assert timedelta(days=81) <= following - rotated <= timedelta(days=90)
    assert abs(rotated - platform.clock.now()) < timedelta(minutes=1)
    (binding,) = shown["bindings"]
    assert binding["version"] == 3
    assert binding["applicationEnvironmentId"] == secret.environment_id
    assert platform.admin.seen(f"/v1/secret-bindings/{binding['id']}") == binding
    assert platform.admin.seen(f"/v1/secrets/{secret.id}/bindings")["items"] == [binding]


def test_a_declared_secret_has_no_rotation_yet(platform: Platform) -> None:
    subject = platform.new_subject()
    request_id = platform.provision(subject)
    (summary,) = platform.environment_of(request_id)["secrets"]
    shown = platform.admin.seen(f"/v1/secrets/{summary['id']}")
    assert (shown["state"], shown["activeRequestId"]) == ("Provisioning", request_id)
    assert [shown[key] for key in ("version", "rotatedAt", "nextRotationAt")] == [None] * 3


def test_secrets_are_listed_by_what_one_looks_for(platform: Platform) -> None:
    secrets = secrets_in_use(platform, "a-key", "b-key", "c-key")
    team = secrets[0].subject.team
    first = platform.admin.seen("/v1/secrets", team=team, limit=2)
    rest = platform.admin.seen("/v1/secrets", team=team, cursor=first["nextCursor"])
    listed = [each["id"] for each in first["items"] + rest["items"]]
    assert listed == sorted(secret.id for secret in secrets)
    assert rest["nextCursor"] is None

    def ids(**query: Any) -> set[str]:
        return {each["id"] for each in platform.admin.seen("/v1/secrets", **query)["items"]}

    everything = {secret.id for secret in secrets}
    assert ids(applicationEnvironmentId=secrets[0].environment_id) == everything
    in_grace(platform, secrets[0])
    assert ids(team=team, state="Rotating") == {secrets[0].id}
    set_policy(platform, secrets[1], intervalSeconds=3600)
    soon = (platform.clock.now() + timedelta(days=1)).isoformat()
    assert ids(team=team, dueBefore=soon) == {secrets[1].id}
    assert ids(team=team, dueBefore="2020-01-01T00:00:00Z") == set()


@pytest.mark.parametrize(
    "query",
    [
        {"state": "Nowhere"},
        {"dueBefore": "tomorrow"},
        {"dueBefore": "2026-01-01T00:00:00"},
        {"applicationEnvironmentId": "x"},
        {"cursor": "!!"},
        {"team": "Not A Slug"},
    ],
)
def test_a_question_that_makes_no_sense_is_invalid(
    platform: Platform, query: dict[str, str]
) -> None:
    assert platform.admin.get("/v1/secrets", **query).status_code == 422


# ── policies ─────────────────────────────────────────────────────────────────────────────────


def test_a_secrets_own_policy_overrides_and_gives_way_again(platform: Platform) -> None:
    secret = secret_in_use(platform)
    window = {"days": ["sunday", "monday"], "fromHour": 22, "untilHour": 4}
    own = set_policy(
        platform, secret, intervalSeconds=7 * DAY_SECONDS, window=window,
        expiresAt="2099-01-01T01:00:00+01:00",
    )  # fmt: skip
    assert own == {
        "intervalSeconds": 7 * DAY_SECONDS,
        "graceSeconds": DAY_SECONDS,
        "window": {"days": ["monday", "sunday"], "fromHour": 22, "untilHour": 4, "timeZone": "UTC"},
        "expiresAt": "2099-01-01T00:00:00Z",
    }
    shown = seen(platform, secret)
    assert shown["rotationPolicy"] == own
    assert moment(shown["nextRotationAt"]) - moment(shown["rotatedAt"]) <= timedelta(days=7)
    back = set_policy(platform, secret)
    assert back["intervalSeconds"] == MEDIUM.interval.total_seconds()
    assert back["window"] is None
    assert back["expiresAt"] is None


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("by_hand", [False, True])
def test_a_policy_that_is_set_during_a_command_is_kept(
    platform: Platform, *, by_hand: bool
) -> None:
    subject = platform.new_subject()
    first = platform.provision(subject, "app-key")
    claimed(platform, first).fail(Step.MATERIALIZE_REPOSITORIES, retryable=False)
    environment = platform.environment_of(first)
    (secret,) = environment["secrets"]
    path = f"/v1/secrets/{secret['id']}"

    def command() -> None:
        if by_hand:
            answer = launch(platform, subjectId=environment["id"], reason="try")
            assert answer.status_code < 300, answer.text
        else:
            platform.provision(subject, "app-key")

    hold = text(
        "SELECT 1 FROM appenv_repositories WHERE application_environment_id = :id FOR UPDATE"
    )
    with ThreadPoolExecutor(2) as pool:
        with platform.engine.begin() as connection:
            connection.execute(hold, {"id": environment["id"]})
            commanded = pool.submit(command)
            eventually(lambda: waiting_for_a_row(platform) == 1)
            body = {"graceSeconds": 777}
            put = pool.submit(platform.admin.put, f"{path}/rotation-policy", body)
            eventually(lambda: put.done() or waiting_for_a_row(platform) == 2)
        commanded.result()
        assert put.result().status_code == 200
    after = platform.admin.seen(path)
    assert (after["state"], after["rotationPolicy"]["graceSeconds"]) == ("Provisioning", 777)


def test_setting_the_same_policy_again_changes_nothing(platform: Platform) -> None:
    secret = secret_in_use(platform)
    policy = {"graceSeconds": 0, "window": {"timeZone": "Europe/Madrid"}}
    first = set_policy(platform, secret, **policy)
    before = counts(platform)
    assert set_policy(platform, secret, **policy) == first
    assert counts(platform) == before
    events = platform.events(subject=f"secret/{secret.id}")
    assert events == ["secret_rotation_policy_changed"]


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ({"intervalSeconds": 59}, None),
        ({"intervalSeconds": 10**9}, None),
        ({"graceSeconds": -1}, None),
        ({"graceSeconds": 8 * DAY_SECONDS}, None),
        ({"window": {"days": []}}, None),
        ({"window": {"days": ["someday"]}}, None),
        ({"window": {"fromHour": 24}}, None),
        ({"window": {"untilHour": 0}}, None),
        ({"window": {"timeZone": "x" * 61}}, None),
        ({"window": {"timeZone": "Mars/Olympus"}}, "time_zone_unknown"),
        ({"window": {"timeZone": "../../etc/passwd"}}, "time_zone_unknown"),
        ({"window": {"timeZone": "UTC\x00"}}, "time_zone_unknown"),
        ({"expiresAt": "2026-01-01T00:00:00"}, None),
        ({"expiresAt": "0001-01-01T00:00:00+14:00"}, "expiry_out_of_range"),
        ({"expiresAt": "9999-12-31T23:59:59-14:00"}, "expiry_out_of_range"),
        ({"value": "hunter2"}, None),
    ],
)
def test_a_policy_that_makes_no_sense_writes_nothing(
    platform: Platform, policy: dict[str, Any], code: str | None
) -> None:
    secret = secret_in_use(platform)
    before, rows = seen(platform, secret), counts(platform)
    refused = platform.admin.put(policy_path(secret), policy)
    assert refused.status_code == 422
    assert code is None or refused.json()["code"] == code
    assert seen(platform, secret) == before
    assert counts(platform) == rows


# ── compromise ───────────────────────────────────────────────────────────────────────────────


def test_a_secret_without_a_value_is_neither_compromised_nor_opened(platform: Platform) -> None:
    subject = platform.new_subject()
    (summary,) = platform.environment_of(platform.provision(subject))["secrets"]
    before = counts(platform)
    for command, body in (("compromised", {"reason": "seen"}), ("login", None)):
        refused = platform.admin.post(f"/v1/secrets/{summary['id']}/{command}", body)
        assert (refused.status_code, refused.json()["code"]) == (409, "secret_without_value")
    assert counts(platform) == before


@pytest.mark.parametrize("body", [None, {}, {"reason": ""}, {"reason": "a\nb"}, {"reason": "\x00"}])
def test_a_compromise_needs_a_reason(platform: Platform, body: Any) -> None:
    secret = secret_in_use(platform)
    before = counts(platform)
    refused = platform.admin.post(f"/v1/secrets/{secret.id}/compromised", body)
    assert refused.status_code == 422
    assert counts(platform) == before


# ── the way to the value ─────────────────────────────────────────────────────────────────────


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def claims_of(platform: Platform, token: str) -> StoreLoginClaims:
    """What the token says, once the published key has verified it as a store does."""
    header, payload, signature = token.split(".")
    (published,) = platform.client.get("/.well-known/jwks.json").json()["keys"]
    key = Ed25519PublicKey.from_public_bytes(decoded(published["x"]))
    key.verify(decoded(signature), f"{header}.{payload}".encode())
    assert json.loads(decoded(header))["alg"] == "EdDSA"
    return StoreLoginClaims.model_validate_json(decoded(payload))


@pytest.mark.parametrize(
    ("role", "access"), [("team-viewer", "read"), ("team-maintainer", "write"), (None, "write")]
)
def test_a_login_says_the_team_and_what_the_person_may_do(
    platform: Platform, role: str | None, access: str
) -> None:
    secret = secret_in_use(platform)
    person = platform.admin if role is None else platform.member(secret.subject.team, role)
    login = person.ok(f"/v1/secrets/{secret.id}/login")
    claims = claims_of(platform, login["jwt"])
    assert claims.aud == [AUDIENCE_SECRET_STORE]
    assert (claims.team, claims.access) == (secret.subject.team, access)
    assert claims.sub == person.seen("/v1/whoami")["principal"]
    now = platform.clock.now().timestamp()
    assert claims.exp - claims.iat == 300
    assert abs(claims.iat - now) < 60
    assert moment(login["expiresAt"]) == datetime.fromtimestamp(claims.exp, UTC)
    assert login["role"] == f"team-{secret.subject.team}-{access}"
    assert (login["storeUrl"], login["mount"]) == ("http://127.0.0.1:8200", "kv")
    assert login["path"] == "kv/app-key"
    assert login["link"] == "http://127.0.0.1:8200/ui/vault/secrets/kv/show/kv/app-key"
    (event,) = platform.admin.seen("/v1/events", type="secret_login_issued",
                                   subject=f"secret/{secret.id}")["items"]  # fmt: skip
    assert event["data"] == {"access": access}
    assert login["jwt"] not in everything_stored(platform)


def test_a_login_says_where_in_the_store_and_who_vouches_for_it(
    engine: Engine, migrated: FreshDatabase, keys: Keys, tmp_path: Path
) -> None:
    ca_file = tmp_path / "authorities.pem"
    ca_file.write_text("who signs: ïdp\n-----BEGIN CERTIFICATE-----\n", encoding="utf-8")
    settings = settings_for(
        migrated, keys, secret_store_namespace="a/b", secret_store_ca_file=ca_file
    )
    with platform_on(engine, settings, keys) as platform:
        login = platform.admin.ok(f"/v1/secrets/{secret_in_use(platform).id}/login")
    assert login["namespace"] == "a/b"
    assert login["authorities"] == "who signs: dp\n-----BEGIN CERTIFICATE-----\n"
    assert login["link"].endswith("/ui/vault/secrets/kv/show/kv/app-key?namespace=a%2Fb")


def test_a_login_opens_nothing_here(platform: Platform) -> None:
    secret = secret_in_use(platform)
    login = platform.admin.ok(f"/v1/secrets/{secret.id}/login")
    bearer = Caller(platform.client, login["jwt"])
    assert bearer.get("/v1/whoami").status_code == 401
    assert bearer.get("/internal/lost-runs").status_code == 401


def test_a_login_is_shown_once(platform: Platform) -> None:
    secret, key = secret_in_use(platform), new_id()
    path = f"/v1/secrets/{secret.id}/login"
    first = platform.admin.post(path, key=key)
    assert first.status_code == 200
    again = platform.admin.post(path, key=key)
    assert (again.status_code, again.json()["code"]) == (409, "token_already_shown")
    assert "None" not in again.json()["detail"]
    assert first.json()["jwt"] not in again.text
    logins = platform.events(subject=f"secret/{secret.id}", type="secret_login_issued")
    assert len(logins) == 1


# ── foreign teams ────────────────────────────────────────────────────────────────────────────


def test_a_foreign_secret_is_told_exactly_like_none(platform: Platform) -> None:
    secret = secret_in_use(platform)
    binding_id = seen(platform, secret)["bindings"][0]["id"]
    stranger = platform.member(platform.new_subject().team, "team-maintainer")
    before = counts(platform)
    asked = [
        ("GET", "/v1/secrets/{}", secret.id, None),
        ("GET", "/v1/secrets/{}/bindings", secret.id, None),
        ("GET", "/v1/secret-bindings/{}", binding_id, None),
        ("PUT", "/v1/secrets/{}/rotation-policy", secret.id, {}),
        ("POST", "/v1/secrets/{}/rotation", secret.id, {}),
        ("POST", "/v1/secrets/{}/compromised", secret.id, {"reason": "x"}),
        ("POST", "/v1/secrets/{}/suspend", secret.id, None),
        ("POST", "/v1/secrets/{}/resume", secret.id, None),
        ("POST", "/v1/secrets/{}/login", secret.id, None),
    ]
    for method, path, id_, body in asked:
        told = []
        for named in (id_, new_id()):
            answer = _ask(stranger, method, path.format(named), body)
            assert answer.status_code == 404, path
            document = {**answer.json(), "requestId": ""}
            told.append({**document, "detail": document["detail"].replace(named, "")})
        assert told[0] == told[1], path
    assert counts(platform) == before
    listed = stranger.seen("/v1/secrets", team=secret.subject.team)["items"]
    by_environment = stranger.seen("/v1/secrets", applicationEnvironmentId=secret.environment_id)
    assert listed == by_environment["items"] == []


def test_viewers_change_nothing(platform: Platform) -> None:
    secret = secret_in_use(platform)
    viewer = platform.member(secret.subject.team, "team-viewer")
    assert viewer.put(policy_path(secret), {}).status_code == 403
    for command, body in (
        ("rotation", {}),
        ("compromised", {"reason": "x"}),
        ("suspend", None),
        ("resume", None),
    ):
        assert viewer.post(f"/v1/secrets/{secret.id}/{command}", body).status_code == 403
    assert platform.events(subject=f"secret/{secret.id}") == []


def _ask(caller: Caller, method: str, path: str, body: Any) -> Any:
    if method == "GET":
        return caller.get(path)
    return caller.put(path, body) if method == "PUT" else caller.post(path, body)
