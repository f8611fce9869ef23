"""Commands: idempotency, bad input, refusals that leave nothing behind."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from control_plane.adapters.tables import METADATA
from control_plane.application.manage_tokens import remove_platform_admin
from idp_kernel.http.problems import PROBLEM_JSON
from idp_kernel.ids import new_id
from idp_kernel.services import ServiceName
from idp_kernel.wire.engine import TOKEN_INTROSPECTION
from tests.integration.control_plane.conftest import ADMIN_TOKEN, Caller, Platform, eventually
from tests.integration.control_plane.rows import counts


def slug() -> str:
    return f"t-{secrets.token_hex(5)}"


# ── idempotency ──────────────────────────────────────────────────────────────────────────────


def test_the_same_command_gets_the_first_answer_again(platform: Platform) -> None:
    key, body = new_id(), {"slug": slug(), "displayName": "A"}
    first = platform.admin.post("/v1/teams", body, key=key)
    before = counts(platform)
    again = platform.admin.post("/v1/teams", dict(reversed(body.items())), key=key)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["Location"] == first.headers["Location"] == f"/v1/teams/{body['slug']}"
    assert counts(platform) == before


def test_another_body_under_the_same_key_is_refused(platform: Platform) -> None:
    key = new_id()
    platform.admin.post("/v1/teams", {"slug": slug(), "displayName": "A"}, key=key)
    other = platform.admin.post("/v1/teams", {"slug": slug(), "displayName": "A"}, key=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_a_key_belongs_to_one_caller_and_one_path(platform: Platform) -> None:
    key, team = new_id(), slug()
    platform.admin.post("/v1/teams", {"slug": team, "displayName": "A"}, key=key)
    moved = platform.admin.post(f"/v1/teams/{team}/activate", key=key)
    assert moved.json()["state"] == "Active"
    colleague = Caller(platform.client, platform.token_for(f"p-{team}", platformAdmin=True))
    other = colleague.post("/v1/teams", {"slug": slug(), "displayName": "B"}, key=key)
    assert other.status_code == 201


def test_a_refusal_is_not_kept(platform: Platform) -> None:
    key, team = new_id(), slug()
    refused = platform.admin.post(f"/v1/teams/{team}/activate", key=key)
    assert refused.status_code == 404
    platform.admin.ok("/v1/teams", {"slug": team, "displayName": "A"})
    assert platform.admin.post(f"/v1/teams/{team}/activate", key=key).status_code == 200


def test_answers_are_kept_for_a_day(platform: Platform) -> None:
    key, team = new_id(), slug()
    platform.admin.ok("/v1/teams", {"slug": team, "displayName": "A"})
    platform.admin.post(f"/v1/teams/{team}/activate", key=key)
    platform.clock.advance(23.9 * 3600)
    platform.housekeeper.keep_house()
    assert platform.admin.post(f"/v1/teams/{team}/activate", key=key).status_code == 200
    platform.clock.advance(3600)
    platform.housekeeper.keep_house()
    assert platform.admin.post(f"/v1/teams/{team}/activate", key=key).status_code == 409


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (None, "idempotency_key_missing"),
        ("", "idempotency_key_invalid"),
        ("x" * 201, "idempotency_key_invalid"),
        ("käse".encode(), "idempotency_key_invalid"),
        ("a\tb", "idempotency_key_invalid"),
    ],
)
def test_a_command_needs_a_good_key(platform: Platform, key: Any, code: str) -> None:
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    if key is not None:
        headers["Idempotency-Key"] = key
    body = {"slug": slug(), "displayName": "A"}
    answer = platform.client.post("/v1/teams", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert platform.admin.get(f"/v1/teams/{body['slug']}").status_code == 404


@pytest.mark.usefixtures("patience")
def test_fifty_identical_commands_at_once_act_once(platform: Platform) -> None:
    subject, key = platform.new_subject(), new_id()
    path = f"/v1/applications/{subject.application_id}/environments"

    def command(_number: int) -> Any:
        return platform.admin.post(path, {"environment": subject.environment}, key=key)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(command, range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    (environment,) = platform.admin.seen(path)["items"]
    found = platform.admin.seen(
        "/v1/workflow-requests", applicationEnvironmentId=environment["id"]
    )["items"]
    assert [each["id"] for each in found] == [answers[0].json()["requestId"]]
    events = platform.events(team=subject.team)
    assert events.count("application_environment_provisioning_requested") == 1


@pytest.mark.usefixtures("patience")
def test_fifty_commands_under_their_own_keys_start_one_workflow(platform: Platform) -> None:
    subject = platform.new_subject()
    path = f"/v1/applications/{subject.application_id}/environments"

    def command(_number: int) -> Any:
        return platform.admin.post(path, {"environment": subject.environment})

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(command, range(50)))
    (accepted,) = [answer for answer in answers if answer.status_code == 202]
    refused = [answer.json() for answer in answers if answer.status_code != 202]
    assert {each["code"] for each in refused} == {"workflow_active"}
    assert {each["activeRequestId"] for each in refused} == {accepted.json()["requestId"]}


# ── tokens ───────────────────────────────────────────────────────────────────────────────────


def test_a_token_is_shown_once_and_kept_as_its_hash(platform: Platform) -> None:
    key, body = new_id(), {"principal": slug()}
    made = platform.admin.post("/v1/tokens", body, key=key)
    token = made.json()["token"]
    assert token.startswith("idp_pat_")
    again = platform.admin.post("/v1/tokens", body, key=key)
    assert (again.status_code, again.json()["code"]) == (409, "token_already_shown")
    assert made.json()["id"] in again.json()["detail"]
    assert token not in again.text
    with platform.engine.connect() as connection:
        for name in METADATA.tables:
            rows = connection.execute(text(f"SELECT t::text FROM {name} t")).scalars()  # noqa: S608 - our own tables
            assert not any(token in row for row in rows), name


def test_who_was_given_power_by_whom_can_be_looked_up(platform: Platform) -> None:
    team, boss, member = platform.new_subject().team, slug(), slug()
    platform.admin.ok("/v1/tokens", {"principal": boss, "platformAdmin": True})
    platform.admin.ok("/v1/tokens", {"principal": member})
    platform.admin.ok(f"/v1/teams/{team}/members", {"principal": member, "role": "team-maintainer"})
    with platform.engine.connect() as connection:
        query = text("SELECT action, reason FROM audit_log ORDER BY sequence DESC LIMIT 3")
        audited = [tuple(row) for row in connection.execute(query)]
    assert audited == [
        ("team_member_added", f"{member}: team-maintainer"),
        ("token_created", f"for {member}"),
        ("token_created", f"for {boss}, who is made a platform-admin"),
    ]
    with platform.engine.connect() as connection:
        query = text("SELECT data FROM outbox_events ORDER BY sequence DESC LIMIT 3")
        told = list(connection.execute(query).scalars())
    assert told == [
        {"principal": member, "role": "team-maintainer"},
        {"principal": member, "platformAdmin": False},
        {"principal": boss, "platformAdmin": True},
    ]


# ── platform-admins ──────────────────────────────────────────────────────────────────────────


def test_a_platform_admin_stays_one_until_the_role_is_taken_away(platform: Platform) -> None:
    team, boss = platform.new_subject().team, slug()
    first = platform.admin.ok("/v1/tokens", {"principal": boss, "platformAdmin": True})
    assert platform.admin.delete(f"/v1/tokens/{first['id']}").status_code == 204
    later = platform.admin.ok("/v1/tokens", {"principal": boss})
    assert later["platformAdmin"], "it is told that an ordinary token opens everything too"
    platform.admin.ok(f"/v1/teams/{team}/members", {"principal": boss, "role": "team-viewer"})
    person, forge = platform.bearer(later["token"]), platform.service(ServiceName.LOCAL_FORGE)
    assert boss in [each["principal"] for each in platform_admins(person)]
    for _ in range(2):
        assert platform.admin.delete(f"/v1/platform-admins/{boss}").status_code == 204
    assert boss not in [each["principal"] for each in platform_admins(platform.admin)]
    assert person.get("/v1/platform-admins").json()["code"] == "not_allowed"
    assert person.seen(f"/v1/tokens/{later['id']}")["platformAdmin"] is False
    introspected = forge.ok(TOKEN_INTROSPECTION, {"token": later["token"]})
    assert introspected["platformAdmin"] is False
    assert introspected["teams"] == {team: "team-viewer"}
    told = platform.admin.seen("/v1/events", subject=f"platform_admin/{boss}")["items"]
    assert [each["type"] for each in told] == ["platform_admin_removed"]
    assert told[0]["data"] == {"principal": boss}
    with platform.engine.connect() as connection:
        query = text("SELECT actor, action FROM audit_log WHERE subject = :subject")
        audited = connection.execute(query, {"subject": f"platform_admin/{boss}"}).all()
    assert [tuple(each) for each in audited] == [("admin", "platform_admin_removed")]


def test_the_last_platform_admin_with_a_good_token_stays_one(lone_platform: Platform) -> None:
    admin = lone_platform.admin
    brief = {"principal": "brief", "platformAdmin": True, "expiresInSeconds": 60}
    revoked = admin.ok("/v1/tokens", {"principal": "revoked", "platformAdmin": True})
    admin.delete(f"/v1/tokens/{revoked['id']}")
    until = admin.ok("/v1/tokens", brief)["expiresAt"]
    good_until = {each["principal"]: each["tokenGoodUntil"] for each in platform_admins(admin)}
    assert good_until["admin"] > until
    assert (good_until["brief"], good_until["revoked"]) == (until, None)
    lone_platform.clock.advance(61)
    refused = admin.delete("/v1/platform-admins/admin")
    assert (refused.status_code, refused.json()["code"]) == (409, "last_platform_admin")
    admin.ok("/v1/tokens", brief)
    assert admin.delete("/v1/platform-admins/admin").status_code == 204
    assert admin.get("/v1/platform-admins").status_code == 403
    assert admin.delete("/v1/platform-admins/-x-").status_code == 403


def test_of_two_platform_admins_who_take_it_from_each_other_one_stays(
    lone_platform: Platform,
) -> None:
    made = {"principal": "ada", "platformAdmin": True}
    ada = lone_platform.bearer(lone_platform.admin.ok("/v1/tokens", made)["token"])
    with ThreadPoolExecutor(1) as pool:
        with lone_platform.services.begin() as work:
            remove_platform_admin(work, "ada", "admin")
            other = pool.submit(lone_platform.admin.delete, "/v1/platform-admins/ada")
            eventually(lambda: _waits_for_a_lock(lone_platform))
        refused = other.result()
    assert (refused.status_code, refused.json()["code"]) == (409, "last_platform_admin")
    assert [each["principal"] for each in platform_admins(ada)] == ["ada"]


def platform_admins(caller: Caller) -> list[dict[str, Any]]:
    return list(caller.seen("/v1/platform-admins", limit=200)["items"])


def _waits_for_a_lock(platform: Platform) -> bool:
    query = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with platform.engine.connect() as connection:
        return bool(connection.execute(query).scalar_one() == 1)


def test_expired_revoked_and_unknown_tokens_open_nothing(platform: Platform) -> None:
    principal = slug()
    made = platform.admin.ok("/v1/tokens", {"principal": principal, "expiresInSeconds": 60})
    person = Caller(platform.client, made["token"])
    assert person.seen("/v1/whoami")["principal"] == principal
    platform.clock.advance(61)
    expired = person.get("/v1/whoami")
    assert (expired.status_code, expired.json()["code"]) == (401, "token_expired")
    other = platform.admin.ok("/v1/tokens", {"principal": principal})
    person = Caller(platform.client, other["token"])
    for _ in range(2):
        assert person.delete(f"/v1/tokens/{other['id']}").status_code == (204 if _ == 0 else 401)
    revoked = person.get("/v1/whoami")
    assert (revoked.status_code, revoked.json()["code"]) == (401, "token_revoked")
    for token in ("idp_pat_unknown", "x" * 5000, "eyJhbGciOiJub25lIn0.e30."):
        answer = Caller(platform.client, token).get("/v1/whoami")
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    nobody = platform.client.get("/v1/whoami")
    assert (nobody.status_code, nobody.json()["code"]) == (401, "token_missing")


def test_only_its_owner_and_admins_see_and_revoke_a_token(platform: Platform) -> None:
    owner, thief = slug(), slug()
    made = platform.admin.ok("/v1/tokens", {"principal": owner})
    person = Caller(platform.client, made["token"])
    stranger = Caller(platform.client, platform.token_for(thief))
    assert [each["id"] for each in person.seen("/v1/tokens")["items"]] == [made["id"]]
    assert made["id"] not in [each["id"] for each in stranger.seen("/v1/tokens")["items"]]
    assert stranger.delete(f"/v1/tokens/{made['id']}").status_code == 404
    assert person.get("/v1/whoami").status_code == 200
    for _ in range(2):
        assert platform.admin.delete(f"/v1/tokens/{made['id']}").status_code == 204
    assert person.get("/v1/whoami").status_code == 401


def test_the_use_of_a_token_is_noted_at_most_once_a_minute(platform: Platform) -> None:
    made = platform.admin.ok("/v1/tokens", {"principal": slug()})
    person = Caller(platform.client, made["token"])

    def last_used() -> Any:
        with platform.engine.connect() as connection:
            query = text("SELECT last_used_at FROM tokens WHERE id = :id")
            return connection.execute(query, {"id": made["id"]}).scalar_one()

    assert last_used() is None
    person.get("/v1/whoami")
    first = last_used()
    platform.clock.advance(50)
    person.get("/v1/whoami")
    assert last_used() == first
    platform.clock.advance(11)
    person.get("/v1/whoami")
    assert last_used() > first


# ── bad input ────────────────────────────────────────────────────────────────────────────────

BAD_NAMES = [
    "../../etc/passwd",
    "..%2F..%2Fetc",
    "%00",
    "a%00b",
    "%F0%9F%98%80",
    "x" * 300,
    "-leading",
    "UPPER",
    "a b",
    "'; DROP TABLE teams; --",
    "%ff%fe",
    "abc%0A",
]
PATHS = [
    "/v1/teams/{}",
    "/v1/teams/{}/members",
    "/v1/environments/{}",
    "/v1/applications/{}",
    "/v1/applications/{}/environments",
    "/v1/application-environments/{}",
    "/v1/workflow-requests/{}",
]
COMMANDS = [
    ("/v1/teams/{}/activate", None),
    ("/v1/teams/{}/members", {"principal": "ada", "role": "team-viewer"}),
    ("/v1/environments/{}/activate", None),
    ("/v1/applications/{}/onboarding", None),
    ("/v1/applications/{}/environments", {"environment": "dev"}),
    ("/v1/workflow-requests/{}/cancel", {}),
    ("/v1/workflow-requests/{}/retry", {}),
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_path_that_names_nothing_is_not_found(platform: Platform, name: str) -> None:
    for path in PATHS:
        assert_problem(platform.admin.get(path.format(name)), 404)
    for path, body in COMMANDS:
        assert_problem(platform.admin.post(path.format(name), body), 404)
    assert_problem(platform.admin.delete(f"/v1/tokens/{name}"), 404)
    claim = platform.engine_service.post(
        f"/internal/workflow-requests/{name}/claim", {"runId": "r", "attempt": 1}
    )
    assert_problem(claim, 404)


def assert_problem(answer: Any, status: int, code: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == PROBLEM_JSON
    problem = answer.json()
    assert problem["status"] == status
    assert problem["detail"]
    assert problem["requestId"] == answer.headers["X-Request-Id"]
    assert code is None or problem["code"] == code


GOOD_TEAM = {"slug": "never-made", "displayName": "A"}


@pytest.mark.parametrize(
    "body",
    [{**GOOD_TEAM, "slug": name} for name in ("../x", "a\x00b", "😀", "x" * 300, "-a", "", "A")]
    + [
        {**GOOD_TEAM, "slug": 7},
        {**GOOD_TEAM, "slug": None},
        {**GOOD_TEAM, "slug": ["a"]},
        {**GOOD_TEAM, "displayName": "a\x00b"},
        {**GOOD_TEAM, "displayName": ""},
        {**GOOD_TEAM, "surprise": 1},
        {"slug": "never-made"},
        [],
        "text",
        None,
    ],
)
def test_a_bad_body_is_refused_and_leaves_nothing(platform: Platform, body: Any) -> None:
    before = counts(platform)
    assert_problem(platform.admin.post("/v1/teams", body), 422, "invalid_input")
    assert counts(platform) == before


def test_a_body_that_is_no_json_or_too_large(platform: Platform) -> None:
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Idempotency-Key": new_id()}
    headers["Content-Type"] = "application/json"
    for content in (b"{", b"\xff\xfe", b'{"slug": "\xff"}'):
        answer = platform.client.post("/v1/teams", content=content, headers=headers)
        assert_problem(answer, 400, "malformed_json")
    lone = rb'{"slug": "never-made", "displayName": "\ud800"}'
    answer = platform.client.post("/v1/teams", content=lone, headers=headers)
    assert_problem(answer, 422, "invalid_input")
    deep = b"[" * 100_000
    answer = platform.client.post("/v1/teams", content=deep, headers=headers)
    assert_problem(answer, 400, "malformed_json")
    large = b'{"slug": "a-team", "displayName": "' + b"x" * 2**20 + b'"}'
    answer = platform.client.post("/v1/teams", content=large, headers=headers)
    assert_problem(answer, 413, "body_too_large")


def test_unknown_and_duplicate_things(platform: Platform) -> None:
    subject = platform.new_subject()
    duplicate = {"slug": subject.team, "displayName": "B"}
    assert_problem(platform.admin.post("/v1/teams", duplicate), 409, "team_exists")
    environment = {"slug": subject.environment}
    refused = platform.admin.post("/v1/environments", environment)
    assert_problem(refused, 409, "environment_exists")
    application = {"team": subject.team, "slug": "shop"}
    refused = platform.admin.post("/v1/applications", application)
    assert_problem(refused, 409, "application_exists")
    unknown = {"team": "no-such-team", "slug": "shop"}
    assert_problem(platform.admin.post("/v1/applications", unknown), 404, "not_found")
    path = f"/v1/applications/{subject.application_id}/environments"
    refused = platform.admin.post(path, {"environment": "no-such-env"})
    assert_problem(refused, 404, "not_found")
    twice = {
        "environment": subject.environment,
        "secrets": [{"name": "key"}, {"name": "other"}, {"name": "key"}],
    }
    assert_problem(platform.admin.post(path, twice), 422, "declared_twice")
    refused = platform.admin.post(path.replace(subject.application_id, new_id()), twice)
    assert_problem(refused, 404, "not_found")


def test_a_team_is_archived_after_its_applications_alone(platform: Platform) -> None:
    subject = platform.new_subject()
    team = f"/v1/teams/{subject.team}"
    platform.admin.ok(f"{team}/suspend")
    before = counts(platform)
    refused = platform.admin.post(f"{team}/archive")
    assert_problem(refused, 409, "team_in_use")
    assert "not Archived (1)" in refused.json()["detail"]
    assert counts(platform) == before
    assert platform.admin.seen(team)["state"] == "Suspended"
    with platform.engine.begin() as connection:
        ended = text("UPDATE applications SET state = 'Archived' WHERE id = :id")
        connection.execute(ended, {"id": subject.application_id})
    assert platform.admin.ok(f"{team}/archive")["state"] == "Archived"


def test_a_refused_move_says_what_would_allow_it(platform: Platform) -> None:
    subject = platform.new_subject()
    before = counts(platform)
    refused = platform.admin.post(f"/v1/teams/{subject.team}/archive")
    assert_problem(refused, 409, "move_refused")
    problem = refused.json()
    assert (problem["current"], problem["wanted"]) == ("Active", "Archived")
    assert problem["allowed"] == ["Suspended"]
    assert "needs it to be Suspended" in problem["detail"]
    assert counts(platform) == before


def test_a_suspended_team_and_a_frozen_environment_start_nothing(platform: Platform) -> None:
    subject = platform.new_subject()
    path = f"/v1/applications/{subject.application_id}/environments"
    body = {"environment": subject.environment}
    platform.admin.ok(f"/v1/environments/{subject.environment}/freeze")
    before = counts(platform)
    assert_problem(platform.admin.post(path, body), 409, "environment_not_active")
    assert counts(platform) == before
    platform.admin.ok(f"/v1/environments/{subject.environment}/unfreeze")
    platform.admin.ok(f"/v1/teams/{subject.team}/suspend")
    before = counts(platform)
    assert_problem(platform.admin.post(path, body), 409, "team_not_active")
    application = {"team": subject.team, "slug": "other"}
    assert_problem(platform.admin.post("/v1/applications", application), 409, "team_not_active")
    assert counts(platform) == before
    platform.admin.ok(f"/v1/teams/{subject.team}/resume")
    assert platform.admin.post(path, body).status_code == 202


@pytest.mark.parametrize(
    "query",
    [
        {"cursor": "💥"},
        {"cursor": "bm90LWFuLWlk"},
        {"cursor": "x"},
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "ten"},
        {"team": "../x"},
        {"team": "a\x00"},
        {"state": "odd"},
        {"requestId": "odd"},
        {"after": "-1"},
        {"after": str(10**30)},
        {"subject": "x\x00/"},
        {"type": "DROP"},
        {"applicationEnvironmentId": "%00"},
    ],
)
def test_bad_queries_are_refused_or_ignored(platform: Platform, query: dict[str, str]) -> None:
    lists = ("teams", "environments", "applications", "workflow-requests", "events", "tokens")
    statuses = {platform.admin.get(f"/v1/{name}", **query).status_code for name in lists}
    assert 422 in statuses
    assert statuses <= {200, 422}


def test_lists_come_in_pages(platform: Platform) -> None:
    subject = platform.new_subject()
    slugs = [f"app-{number}" for number in range(5)]
    for name in slugs:
        platform.admin.ok("/v1/applications", {"team": subject.team, "slug": name})
    seen: list[str] = []
    query: dict[str, Any] = {"team": subject.team, "limit": 2}
    while True:
        page = platform.admin.seen("/v1/applications", **query)
        assert len(page["items"]) <= 2
        seen += [each["slug"] for each in page["items"]]
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
    assert seen == ["shop", *slugs]
    (only,) = platform.admin.seen("/v1/applications", team=subject.team, slug="app-3")["items"]
    assert only["slug"] == "app-3"


def test_members_come_by_name_and_change_roles(platform: Platform) -> None:
    subject = platform.new_subject()
    path = f"/v1/teams/{subject.team}/members"
    for name, role in (("zoe", "team-viewer"), ("ada", "team-viewer"), ("ada", "team-maintainer")):
        platform.admin.ok(path, {"principal": name, "role": role})
    first = platform.admin.seen(path, limit=1)
    assert [(m["principal"], m["role"]) for m in first["items"]] == [("ada", "team-maintainer")]
    second = platform.admin.seen(path, limit=1, cursor=first["nextCursor"])
    assert [(m["principal"], m["role"]) for m in second["items"]] == [("zoe", "team-viewer")]
    assert second["nextCursor"] is None
