"""A secret is revoked and never comes back, over HTTP, on real PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest

from idp_kernel.wire.engine import ASSET_SECRETS, ROTATION_CAUSES
from idp_kernel.workflows import SECRET_REVOCATION, Step
from tests.integration.control_plane.conftest import Platform
from tests.integration.control_plane.engine_run import EngineRun, claimed, launch, offers
from tests.integration.control_plane.rotations import (
    SecretInUse,
    ask_rotation,
    in_grace,
    rotation_of,
    secret_in_use,
    secrets_in_use,
    seen,
)

REASON = "Nobody uses it any more."


def ask_login(platform: Platform, secret: SecretInUse) -> Any:
    """The raw answer to whoever wants to get at the value."""
    return platform.admin.post(f"/v1/secrets/{secret.id}/login")


def ask_revocation(platform: Platform, secret: SecretInUse, **body: Any) -> Any:
    """The raw answer to the command."""
    return platform.admin.post(f"/v1/secrets/{secret.id}/revoke", {"reason": REASON, **body})


def revocation_of(platform: Platform, secret: SecretInUse) -> str:
    """The id of a new revocation."""
    answer = ask_revocation(platform, secret)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["requestId"])


def revoked(platform: Platform, secret: SecretInUse) -> EngineRun:
    """A run that has revoked the secret."""
    run = claimed(platform, revocation_of(platform, secret))
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    return run


def standing(platform: Platform, secret: SecretInUse) -> tuple[str, str]:
    """The states of the secret and of its binding."""
    shown = seen(platform, secret)
    (binding,) = shown["bindings"]
    return shown["state"], binding["state"]


def undo_provisioning(platform: Platform, secret: SecretInUse) -> None:
    """Takes back what provisioned the secret's environment."""
    (provisioning,) = platform.admin.seen(
        "/v1/workflow-requests",
        applicationEnvironmentId=secret.environment_id,
        workflow="ApplicationEnvironmentProvisioning",
    )["items"]
    path = f"/v1/workflow-requests/{provisioning['id']}/undo"
    undoing = claimed(platform, platform.admin.ok(path, {})["requestId"])
    undoing.do_all()
    assert undoing.finalize().json()["state"] == "succeeded"


def provision_anew(platform: Platform, secret: SecretInUse) -> None:
    """The secret's environment, by hand."""
    answer = launch(platform, subjectId=secret.environment_id, reason="Once more.")
    assert answer.status_code == 200, answer.text
    run = EngineRun(platform, answer.json())
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"


def refused(answer: Any) -> str:
    assert answer.status_code == 409, answer.text
    return str(answer.json()["code"])


def test_a_secret_ends_with_its_binding(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = revocation_of(platform, secret)
    assert standing(platform, secret) == ("Suspended", "Suspended"), "nothing rotates it meanwhile"
    offer = offers(platform)[request_id]
    assert (offer["workflow"], offer["secretId"]) == ("SecretRevocation", secret.id)

    run = claimed(platform, request_id)
    wanted = run.claim["desiredState"]
    (ended,) = wanted["secrets"]
    assert ended["secret"]["secretId"] == secret.id
    assert ended["storePath"] == "kv/app-key"
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"

    assert standing(platform, secret) == ("Revoked", "Revoked")
    assert seen(platform, secret)["nextRotationAt"] is None
    environment = platform.admin.seen(f"/v1/application-environments/{secret.environment_id}")
    assert environment["revision"] == f"{1:040x}", "the commit that removed the binding"
    assert platform.events(requestId=request_id) == [
        "secret_revocation_started",
        "git_secret_bindings_removed",
        "credential_issuer_credentials_ended",
        "workflow_secret_revocation_completed",
    ]
    listed = platform.engine_service.get(ASSET_SECRETS).json()["items"]
    assert secret.id not in [each["expected"]["secret"]["secretId"] for each in listed]


def test_a_revoked_secret_never_comes_back(platform: Platform) -> None:
    secret = secret_in_use(platform)
    revoked(platform, secret)
    for answer in (
        ask_revocation(platform, secret),
        ask_rotation(platform, secret),
        platform.admin.post(f"/v1/secrets/{secret.id}/resume"),
    ):
        assert refused(answer) == "move_refused"
        assert answer.json()["current"] == "Revoked"
    assert refused(platform.admin.post(f"/v1/secrets/{secret.id}/login")) == "secret_without_value"


def test_a_revoked_secret_is_archived(platform: Platform) -> None:
    secret = secret_in_use(platform)
    archive = f"/v1/secrets/{secret.id}/archive"
    assert refused(platform.admin.post(archive)) == "move_refused"
    revoked(platform, secret)
    assert platform.admin.ok(archive)["state"] == "Archived"
    assert standing(platform, secret) == ("Archived", "Revoked")
    assert "secret_archived" in platform.events(subject=f"secret/{secret.id}")
    assert refused(platform.admin.post(archive)) == "move_refused"


def test_it_takes_a_reason(platform: Platform) -> None:
    secret = secret_in_use(platform)
    for body in ({}, {"reason": ""}):
        answer = platform.admin.post(f"/v1/secrets/{secret.id}/revoke", body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


def test_a_suspended_secret_is_revoked_too(platform: Platform) -> None:
    secret = secret_in_use(platform)
    platform.admin.ok(f"/v1/secrets/{secret.id}/suspend")
    revoked(platform, secret)
    assert standing(platform, secret) == ("Revoked", "Revoked")


def test_nothing_else_begins_on_it_meanwhile(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = revocation_of(platform, secret)
    for answer in (
        ask_revocation(platform, secret),
        ask_rotation(platform, secret),
        platform.admin.post(f"/v1/secrets/{secret.id}/resume"),
    ):
        assert refused(answer) == "workflow_active"
        assert answer.json()["activeRequestId"] == request_id


def test_it_does_not_begin_while_a_rotation_is_under_way(platform: Platform) -> None:
    secret = secret_in_use(platform)
    rotation = rotation_of(platform, secret)
    answer = ask_revocation(platform, secret)
    assert refused(answer) == "workflow_active"
    assert answer.json()["activeRequestId"] == rotation


def test_a_grace_period_is_cancelled_first(platform: Platform) -> None:
    secret = secret_in_use(platform)
    rotation = in_grace(platform, secret)
    answer = ask_revocation(platform, secret)
    assert refused(answer) == "rotation_in_grace"
    assert "cancel that request" in answer.json()["detail"]
    platform.admin.ok(f"/v1/workflow-requests/{rotation}/cancel", {})
    revoked(platform, secret)
    assert standing(platform, secret) == ("Revoked", "Revoked")


@pytest.mark.parametrize("was_suspended", [False, True], ids=["active", "suspended"])
def test_cancelled_before_a_run_began_it_is_as_before(
    platform: Platform,
    was_suspended: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    secret = secret_in_use(platform)
    if was_suspended:
        platform.admin.ok(f"/v1/secrets/{secret.id}/suspend")
    before = standing(platform, secret)
    request_id = revocation_of(platform, secret)
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {})
    assert standing(platform, secret) == before
    assert platform.request(request_id)["leftBehind"] is None
    retry = platform.admin.post(f"/v1/workflow-requests/{request_id}/retry", {})
    assert refused(retry) == "request_never_begun", "it would not know what to give back"
    assert standing(platform, secret) == before


def test_a_binding_that_a_person_suspended_stays_so(platform: Platform) -> None:
    secret = secret_in_use(platform)
    (binding,) = seen(platform, secret)["bindings"]
    platform.admin.ok(f"/v1/secret-bindings/{binding['id']}/suspend")
    request_id = revocation_of(platform, secret)
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {})
    assert standing(platform, secret) == ("Active", "Suspended")


def test_one_that_failed_halfway_says_what_is_left_and_is_retried(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = revocation_of(platform, secret)
    run = claimed(platform, request_id)
    run.do_all((Step.REMOVE_SECRET_BINDINGS, Step.RELEASE_CONSUMERS))
    run.start(Step.END_CREDENTIALS)
    assert run.fail(Step.END_CREDENTIALS, retryable=False) == "failed"
    assert standing(platform, secret) == ("Suspended", "Suspended")
    assert "suspended" in platform.request(request_id)["leftBehind"]
    assert platform.events(requestId=request_id)[-1] == "workflow_secret_revocation_failed"

    platform.admin.ok(f"/v1/workflow-requests/{request_id}/retry", {})
    again = claimed(platform, request_id, attempt=2)
    again.do_all()
    assert again.finalize().json()["state"] == "succeeded"
    assert standing(platform, secret) == ("Revoked", "Revoked")
    assert platform.request(request_id)["leftBehind"] is None


def test_one_that_failed_is_asked_for_anew(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = revocation_of(platform, secret)
    run = claimed(platform, request_id)
    run.start(Step.REMOVE_SECRET_BINDINGS)
    run.fail(Step.REMOVE_SECRET_BINDINGS, retryable=False)
    revoked(platform, secret)
    retry = platform.admin.post(f"/v1/workflow-requests/{request_id}/retry", {})
    assert refused(retry) == "request_superseded"


def test_what_it_began_to_end_is_not_resumed(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = revocation_of(platform, secret)
    run = claimed(platform, request_id)
    run.start(Step.REMOVE_SECRET_BINDINGS)
    run.fail(Step.REMOVE_SECRET_BINDINGS, retryable=False)
    # One that no run began changes nothing of that.
    newer = revocation_of(platform, secret)
    platform.admin.ok(f"/v1/workflow-requests/{newer}/cancel", {})
    answer = platform.admin.post(f"/v1/secrets/{secret.id}/resume")
    assert (refused(answer), answer.json()["activeRequestId"]) == ("ending_unfinished", request_id)
    (binding,) = seen(platform, secret)["bindings"]
    resumed = platform.admin.post(f"/v1/secret-bindings/{binding['id']}/resume")
    assert refused(resumed) == "secret_not_active"
    assert standing(platform, secret) == ("Suspended", "Suspended")
    revoked(platform, secret)


def test_one_that_was_provisioned_anew_since_is_resumed(platform: Platform) -> None:
    secret = secret_in_use(platform)
    run = claimed(platform, revocation_of(platform, secret))
    run.start(Step.REMOVE_SECRET_BINDINGS)
    run.fail(Step.REMOVE_SECRET_BINDINGS, retryable=False)
    undo_provisioning(platform, secret)
    provision_anew(platform, secret)
    for action in ("suspend", "resume"):
        platform.admin.ok(f"/v1/secrets/{secret.id}/{action}")
    assert standing(platform, secret) == ("Active", "Active")


def test_an_undo_of_it_is_refused_and_says_why(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = revoked(platform, secret).request_id
    path = f"/v1/workflow-requests/{request_id}/undo"
    answer = platform.admin.post(path, {})
    assert refused(answer) == "not_undoable"
    assert "nothing it ended comes back" in answer.json()["detail"]
    shown = platform.admin.seen(path)
    assert not shown["mayBeUndone"]
    assert [(each["step"], each["fate"]) for each in shown["items"]] == [
        ("end_credentials", "irreversible")
    ]


def test_what_asked_for_its_rotation_asks_no_more(platform: Platform) -> None:
    secret = secret_in_use(platform)
    platform.admin.ok(f"/v1/secrets/{secret.id}/compromised", {"reason": "It was in a log."})

    def asking() -> list[str]:
        causes = platform.engine_service.get(ROTATION_CAUSES).json()["causes"]
        return [each["secretId"] for each in causes]

    assert secret.id in asking()
    revoked(platform, secret)
    assert secret.id not in asking()


def test_its_neighbours_stay_bound_and_rotate(platform: Platform) -> None:
    one, other = secrets_in_use(platform, "app-key", "db-key")
    revoked(platform, one)
    assert standing(platform, other) == ("Active", "Active")
    assert ask_rotation(platform, other).status_code == 202


def test_an_environment_whose_secret_was_revoked_is_undone_and_provisioned_anew(
    platform: Platform,
) -> None:
    one, other = secrets_in_use(platform, "app-key", "db-key")
    revoked(platform, one)
    undo_provisioning(platform, one)
    assert standing(platform, one)[0] == "Revoked"
    provision_anew(platform, one)
    assert standing(platform, one)[0] == "Revoked"
    assert standing(platform, other) == ("Active", "Active")


def test_a_launch_from_the_ui_revokes(platform: Platform) -> None:
    secret = secret_in_use(platform)
    answer = launch(
        platform, workflow=SECRET_REVOCATION.name, subjectId=secret.id, reason="It leaked."
    )
    assert answer.status_code == 200, answer.text
    run = EngineRun(platform, answer.json())
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    assert standing(platform, secret) == ("Revoked", "Revoked")


def test_a_suspended_team_begins_none(platform: Platform) -> None:
    secret = secret_in_use(platform)
    platform.admin.ok(f"/v1/teams/{secret.subject.team}/suspend")
    assert refused(ask_revocation(platform, secret)) == "team_not_active"


def test_nobody_gets_at_the_value_of_what_is_about_to_end(platform: Platform) -> None:
    secret, other = secrets_in_use(platform, "app-key", "db-key")
    request_id = revocation_of(platform, secret)
    answer = ask_login(platform, secret)
    assert (refused(answer), answer.json()["activeRequestId"]) == ("workflow_active", request_id)
    assert ask_login(platform, other).status_code == 200
    run = claimed(platform, request_id)
    run.start(run.steps[0])
    assert run.fail(run.steps[0], retryable=False) == "failed"
    answer = ask_login(platform, secret)
    assert (refused(answer), answer.json()["activeRequestId"]) == ("ending_unfinished", request_id)


def test_a_revocation_that_was_called_off_keeps_nobody_from_the_value(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = revocation_of(platform, secret)
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {})
    assert ask_login(platform, secret).status_code == 200


def test_a_secret_that_rotates_is_got_at(platform: Platform) -> None:
    secret = secret_in_use(platform)
    rotation_of(platform, secret)
    assert ask_login(platform, secret).status_code == 200
