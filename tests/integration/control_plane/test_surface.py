"""What can be changed and looked up beside the workflows, and how lists are narrowed."""

from __future__ import annotations

from typing import Any

import pytest

from idp_kernel.ids import new_id
from tests.integration.control_plane.conftest import Caller, Platform
from tests.integration.control_plane.engine_run import STEPS, claimed, offers
from tests.integration.control_plane.rotations import (
    SecretInUse,
    ask_rotation,
    in_grace,
    rotating,
    rotation_of,
    secret_in_use,
    seen,
)


def refused(answer: Any, status: int, code: str) -> Any:
    """The problem, which is that one."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return answer.json()


@pytest.fixture
def secret(platform: Platform) -> SecretInUse:
    return secret_in_use(platform)


# ── described anew ───────────────────────────────────────────────────────────────────────────


def test_names_and_descriptions_can_be_changed(platform: Platform) -> None:
    subject = platform.new_subject()
    for path, field in (
        (f"/v1/teams/{subject.team}", "displayName"),
        (f"/v1/environments/{subject.environment}", "description"),
        (f"/v1/applications/{subject.application_id}", "description"),
    ):
        before = platform.admin.seen(path)
        for _ in range(2):
            answer = platform.admin.put(path, {field: "Something else"})
            assert answer.json() == {**before, field: "Something else"} == platform.admin.seen(path)
    events = platform.events(team=subject.team)
    assert events.count("team_changed") == events.count("application_changed") == 1


def test_a_member_leaves_once(platform: Platform) -> None:
    subject = platform.new_subject()
    path = f"/v1/teams/{subject.team}/members"
    platform.admin.ok(path, {"principal": "ada", "role": "team-maintainer"})
    ada = Caller(platform.client, platform.token_for("ada"))
    assert ada.get(f"/v1/teams/{subject.team}").status_code == 200
    assert platform.admin.seen(path, role="team-viewer")["items"] == []
    assert len(platform.admin.seen(path, role="team-maintainer")["items"]) == 1
    for _ in range(2):
        assert platform.admin.delete(f"{path}/ada").status_code == 204
    assert ada.get(f"/v1/teams/{subject.team}").status_code == 404
    assert platform.admin.seen(path)["items"] == []
    assert platform.events(team=subject.team).count("team_member_removed") == 1
    refused(platform.admin.delete(f"{path}/-x-"), 404, "not_found")


# ── moves ────────────────────────────────────────────────────────────────────────────────────


def test_a_deprecated_application_gets_nothing_new_and_is_rotated(
    platform: Platform, secret: SecretInUse
) -> None:
    path = f"/v1/applications/{secret.subject.application_id}"
    assert platform.admin.ok(f"{path}/deprecate")["state"] == "Deprecated"
    refused(platform.admin.post(f"{path}/deprecate"), 409, "move_refused")
    body = {"environment": secret.subject.environment}
    refused(platform.admin.post(f"{path}/environments", body), 409, "application_not_ready")
    in_grace(platform, secret)
    assert seen(platform, secret)["version"] == 4
    assert "application_deprecated" in platform.events(team=secret.subject.team)


def test_what_was_asked_for_before_a_deprecation_is_provisioned_at_each_attempt(
    platform: Platform,
) -> None:
    subject = platform.new_subject()
    request_id = platform.provision(subject)
    platform.admin.ok(f"/v1/applications/{subject.application_id}/deprecate")
    assert request_id in offers(platform)
    claimed(platform, request_id).fail(STEPS[0], retryable=True)
    platform.clock.advance(60)
    assert request_id in offers(platform)
    run = claimed(platform, request_id, attempt=2)
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    assert platform.environment_of(request_id)["state"] == "Active"


def test_a_frozen_environment_of_an_application_is_still_watched_and_rotated(
    platform: Platform, secret: SecretInUse
) -> None:
    path = f"/v1/application-environments/{secret.environment_id}"
    assert platform.admin.ok(f"{path}/freeze")["state"] == "Frozen"
    refused(platform.admin.post(f"{path}/freeze"), 409, "move_refused")
    body = {"environment": secret.subject.environment}
    command = f"/v1/applications/{secret.subject.application_id}/environments"
    refused(platform.admin.post(command, body), 409, "move_refused")
    rotation_of(platform, secret)
    assert platform.admin.ok(f"{path}/unfreeze")["state"] == "Active"


def test_the_secret_of_a_suspended_binding_is_not_rotated(
    platform: Platform, secret: SecretInUse
) -> None:
    binding = f"/v1/secret-bindings/{seen(platform, secret)['bindings'][0]['id']}"
    assert platform.admin.ok(f"{binding}/suspend")["state"] == "Suspended"
    assert seen(platform, secret)["state"] == "Active"
    refused(ask_rotation(platform, secret), 409, "secret_binding_not_active")
    refused(ask_rotation(platform, secret, emergency=True), 409, "secret_binding_not_active")
    assert platform.admin.ok(f"{binding}/resume")["state"] == "Active"
    request_id = rotation_of(platform, secret)
    refused(platform.admin.post(f"{binding}/suspend"), 409, "workflow_active")
    rotating(platform, request_id)


def test_a_binding_and_its_secret_are_suspended_one_after_the_other(
    platform: Platform, secret: SecretInUse
) -> None:
    path = f"/v1/secrets/{secret.id}"
    binding = f"/v1/secret-bindings/{seen(platform, secret)['bindings'][0]['id']}"
    platform.admin.ok(f"{binding}/suspend")
    suspended = platform.admin.ok(f"{path}/suspend")
    assert (suspended["state"], suspended["bindings"][0]["state"]) == ("Suspended", "Suspended")
    refused(platform.admin.post(f"{binding}/resume"), 409, "secret_not_active")
    resumed = platform.admin.ok(f"{path}/resume")
    assert (resumed["state"], resumed["bindings"][0]["state"]) == ("Active", "Active")


# ── looked up ────────────────────────────────────────────────────────────────────────────────


def test_repositories_and_the_integration_are_found(
    platform: Platform, secret: SecretInUse
) -> None:
    of_application = f"/v1/applications/{secret.subject.application_id}"
    repositories = platform.admin.seen(f"{of_application}/repositories")["items"]
    assert {each["kind"] for each in repositories} == {
        "code", "deployment", "application_environment",
    }  # fmt: skip
    for each in repositories:
        assert platform.admin.seen(f"/v1/repositories/{each['id']}") == each
        assert (each["state"], each["owner"]) == ("Active", secret.subject.team)
    query = {"kind": "application_environment", "state": "Active"}
    (one,) = platform.admin.seen(f"{of_application}/repositories", **query)["items"]
    assert one["applicationEnvironmentId"] == secret.environment_id
    assert one["environment"] == secret.subject.environment
    (integration,) = platform.admin.seen(f"{of_application}/gitops-integrations")["items"]
    assert platform.admin.seen(f"/v1/gitops-integrations/{integration['id']}") == integration
    (deployment,) = [each for each in repositories if each["kind"] == "deployment"]
    assert (integration["repositoryId"], integration["state"]) == (deployment["id"], "Active")
    for kind in ("repositories", "gitops-integrations"):
        refused(platform.admin.get(f"/v1/{kind}/{new_id()}"), 404, "not_found")


def test_a_token_tells_its_last_use_and_is_shown_to_its_owner(platform: Platform) -> None:
    made = platform.admin.ok("/v1/tokens", {"principal": f"p-{new_id()[-8:]}"})
    person, path = Caller(platform.client, made["token"]), f"/v1/tokens/{made['id']}"
    assert platform.admin.seen(path)["lastUsedAt"] is None
    assert person.seen(path)["lastUsedAt"] is not None
    stranger = Caller(platform.client, platform.token_for(f"p-{new_id()[-8:]}"))
    refused(stranger.get(path), 404, "not_found")
    mine = platform.admin.seen("/v1/tokens", principal=made["principal"])["items"]
    assert [each["id"] for each in mine] == [made["id"]]
    assert stranger.seen("/v1/tokens", principal=made["principal"])["items"] == []


def test_lists_are_narrowed(platform: Platform, secret: SecretInUse) -> None:
    subject, admin = secret.subject, platform.admin
    where = {"team": subject.team}
    in_environment = {**where, "environment": subject.environment}
    lists: list[tuple[str, dict[str, Any], dict[str, Any], int]] = [
        ("teams", {"namePrefix": subject.team[:-1]}, {"state": "Draft"}, 1),
        ("environments", {"namePrefix": subject.environment}, {"state": "Planned"}, 1),
        ("applications", {**where, "namePrefix": "sho"}, {"state": "Archived"}, 1),
        ("application-environments", in_environment, {"state": "Declared"}, 1),
        ("application-environments", {"applicationId": subject.application_id}, {}, 1),
        ("secrets", {**in_environment, "namePrefix": "app"}, {"namePrefix": "b"}, 1),
        ("secrets", {"applicationId": subject.application_id}, {"state": "Revoked"}, 1),
        ("workflow-requests", {**where, "workflow": "ApplicationOnboarding"}, {}, 1),
        ("workflow-requests", {**where, "requestedBy": "admin"}, {"requestedBy": "x"}, 2),
    ]
    for name, query, without, count in lists:
        assert len(admin.seen(f"/v1/{name}", **query)["items"]) == count, name
        if without:
            assert admin.seen(f"/v1/{name}", **{**query, **without})["items"] == [], name
    nested = f"/v1/applications/{subject.application_id}/environments"
    assert len(admin.seen(nested, environment=subject.environment, state="Active")["items"]) == 1
    assert admin.seen(nested, state="Frozen")["items"] == []


@pytest.mark.parametrize(
    ("name", "field", "narrowing"),
    [
        ("teams", "createdAt", "created"),
        ("applications", "createdAt", "created"),
        ("tokens", "createdAt", "created"),
        ("workflow-requests", "createdAt", "created"),
        ("events", "occurredAt", "occurred"),
    ],
)
def test_lists_are_narrowed_to_a_time(
    platform: Platform, name: str, field: str, narrowing: str
) -> None:
    platform.new_subject()
    after, before, path = f"{narrowing}After", f"{narrowing}Before", f"/v1/{name}"
    found = platform.admin.seen(path, limit=200)["items"]
    newest = max(found, key=lambda each: each[field])
    moment = newest[field]
    for query, is_there in (({after: moment}, False), ({before: moment}, False)):
        items = platform.admin.seen(path, limit=200, **query)["items"]
        assert (newest in items) is is_there, query
    year_ago = {after: "2020-01-01T00:00:00+02:00", before: "2200-01-01T00:00:00Z"}
    assert newest in platform.admin.seen(path, limit=200, **year_ago)["items"] or name == "events"
    refused(platform.admin.get(path, **{after: "yesterday"}), 422, "invalid_input")


# ── conditions ───────────────────────────────────────────────────────────────────────────────


def conditional(platform: Platform, path: str, **headers: str) -> Any:
    return platform.client.get(
        path, headers={"Authorization": f"Bearer {platform.admin.token}", **headers}
    )


def command(platform: Platform, path: str, if_match: str, key: str | None = None) -> Any:
    headers = {
        "Authorization": f"Bearer {platform.admin.token}",
        "Idempotency-Key": key or new_id(),
        "If-Match": if_match,
    }
    return platform.client.post(path, headers=headers)


def test_what_the_caller_has_is_not_sent_again(platform: Platform, secret: SecretInUse) -> None:
    subject, binding = secret.subject, seen(platform, secret)["bindings"][0]["id"]
    for path in (
        f"/v1/teams/{subject.team}",
        f"/v1/teams/{subject.team}/limits",
        f"/v1/teams/{subject.team}/policy",
        f"/v1/environments/{subject.environment}",
        f"/v1/applications/{subject.application_id}",
        f"/v1/application-environments/{secret.environment_id}",
        f"/v1/secrets/{secret.id}",
        f"/v1/secret-bindings/{binding}",
        "/v1/platform",
    ):
        first = conditional(platform, path)
        tag = first.headers["ETag"]
        for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = conditional(platform, path, **{"If-None-Match": given})
            assert (again.status_code, again.content) == (304, b""), path
            assert again.headers["ETag"] == tag
        other = conditional(platform, path, **{"If-None-Match": '"other"'})
        assert (other.status_code, other.content) == (200, first.content)


def test_a_change_is_made_only_to_what_was_seen(platform: Platform, secret: SecretInUse) -> None:
    subject, binding = secret.subject, seen(platform, secret)["bindings"][0]["id"]
    for path, there, back in (
        (f"/v1/teams/{subject.team}", "suspend", "resume"),
        (f"/v1/environments/{subject.environment}", "freeze", "unfreeze"),
        (f"/v1/application-environments/{secret.environment_id}", "freeze", "unfreeze"),
        (f"/v1/secret-bindings/{binding}", "suspend", "resume"),
        (f"/v1/secrets/{secret.id}", "suspend", "resume"),
        (f"/v1/applications/{subject.application_id}", "deprecate", None),
    ):
        old = conditional(platform, path).headers["ETag"]
        refused(command(platform, f"{path}/{there}", f"W/{old}"), 412, "precondition_failed")
        moved = command(platform, f"{path}/{there}", f'"x", {old}')
        assert moved.status_code == 200, moved.text
        assert moved.headers["ETag"] == conditional(platform, path).headers["ETag"] != old
        if back is not None:
            problem = refused(command(platform, f"{path}/{back}", old), 412, "precondition_failed")
            assert problem["etag"] == moved.headers["ETag"]
            assert command(platform, f"{path}/{back}", "*").status_code == 200


def test_a_repeated_command_gets_the_first_answer_whatever_it_expects(platform: Platform) -> None:
    path, key = f"/v1/teams/{platform.new_subject().team}", new_id()
    tag = conditional(platform, path).headers["ETag"]
    first = command(platform, f"{path}/suspend", tag, key)
    again = command(platform, f"{path}/suspend", tag, key)
    assert (again.status_code, again.content) == (200, first.content)


def test_settings_are_made_only_to_what_was_seen(platform: Platform, secret: SecretInUse) -> None:
    team = secret.subject.team
    for path, body, shown in (
        (f"/v1/teams/{team}", {"displayName": "B"}, f"/v1/teams/{team}"),
        (f"/v1/teams/{team}/limits", {"maxApplications": 9}, f"/v1/teams/{team}/limits"),
        (
            f"/v1/secrets/{secret.id}/rotation-policy",
            {"graceSeconds": 1},
            f"/v1/secrets/{secret.id}",
        ),
        (
            f"/v1/environments/{secret.subject.environment}",
            {"description": "b"},
            f"/v1/environments/{secret.subject.environment}",
        ),
        (
            f"/v1/applications/{secret.subject.application_id}",
            {"description": "b"},
            f"/v1/applications/{secret.subject.application_id}",
        ),
    ):
        tag = conditional(platform, shown).headers["ETag"]
        changed = platform.admin.put(path, body, **{"If-Match": tag})
        assert changed.status_code == 200, changed.text
        assert changed.headers["ETag"] == conditional(platform, shown).headers["ETag"] != tag
        late = platform.admin.put(path, body, **{"If-Match": tag})
        refused(late, 412, "precondition_failed")


def test_limits_are_set_by_who_has_not_seen_the_present_use_but_that_is_shown(
    platform: Platform,
) -> None:
    subject = platform.new_subject()
    path = f"/v1/teams/{subject.team}/limits"
    tag = conditional(platform, path).headers["ETag"]
    platform.admin.ok("/v1/applications", {"team": subject.team, "slug": "another"})
    shown = conditional(platform, path, **{"If-None-Match": tag})
    assert (shown.status_code, shown.json()["maxApplications"]["used"]) == (200, 2)
    assert shown.headers["ETag"] != tag
    changed = platform.admin.put(path, {"maxApplications": 9}, **{"If-Match": tag})
    assert changed.status_code == 200, changed.text
    late = platform.admin.put(path, {"maxApplications": 8}, **{"If-Match": shown.headers["ETag"]})
    refused(late, 412, "precondition_failed")
    same = platform.admin.put(path, {"maxApplications": 8}, **{"If-Match": changed.headers["ETag"]})
    assert same.status_code == 200
    now = conditional(platform, path, **{"If-None-Match": same.headers["ETag"]})
    assert now.status_code == 304


def test_onboarding_does_not_end_what_a_deprecation_began(platform: Platform) -> None:
    subject = platform.new_subject()
    run = claimed(platform, platform.provision(subject))
    path = f"/v1/applications/{subject.application_id}"
    platform.admin.ok(f"{path}/deprecate")
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    assert platform.admin.seen(path)["state"] == "Deprecated"


def test_an_address_tells_its_methods(platform: Platform) -> None:
    answer = platform.client.request("PATCH", "/v1/teams/payments")
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, PUT"
