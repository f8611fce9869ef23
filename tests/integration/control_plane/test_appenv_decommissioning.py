"""An application environment is decommissioned, over HTTP, on real PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from idp_kernel.wire.engine import ASSET_APPLICATION_ENVIRONMENTS
from idp_kernel.workflows import APPLICATION_ENVIRONMENT_DECOMMISSIONING, Step
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
from tests.integration.control_plane.test_revocation import refused, revoked

REASON = {"reason": "The trial is over."}


def move(platform: Platform, secret: SecretInUse, action: str) -> Any:
    """The raw answer to a command on the secret's environment."""
    body = REASON if action == "decommission" else None
    return platform.admin.post(
        f"/v1/application-environments/{secret.environment_id}/{action}", body
    )


def decommissioning_of(platform: Platform, secret: SecretInUse) -> str:
    """The id of a new decommissioning of the secret's environment, which is frozen for it."""
    assert move(platform, secret, "freeze").status_code == 200
    answer = move(platform, secret, "decommission")
    assert answer.status_code == 202, answer.text
    return str(answer.json()["requestId"])


def decommissioned(platform: Platform, secret: SecretInUse) -> EngineRun:
    run = claimed(platform, decommissioning_of(platform, secret))
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    return run


def environment(platform: Platform, secret: SecretInUse) -> Any:
    return platform.admin.seen(f"/v1/application-environments/{secret.environment_id}")


def standing(platform: Platform, secret: SecretInUse) -> tuple[str, set[str], set[str]]:
    """The states of the environment, of its secrets and of their bindings."""
    shown = environment(platform, secret)
    secrets = shown["secrets"]
    return (
        shown["state"],
        {each["state"] for each in secrets},
        {each["bindingState"] for each in secrets},
    )


def test_it_ends_with_all_its_secrets(platform: Platform) -> None:
    one, other = secrets_in_use(platform, "app-key", "db-key")
    request_id = decommissioning_of(platform, one)
    assert standing(platform, one) == ("Decommissioning", {"Suspended"}, {"Suspended"})
    offer = offers(platform)[request_id]
    assert offer["workflow"] == "ApplicationEnvironmentDecommissioning"

    run = claimed(platform, request_id)
    wanted = run.claim["desiredState"]
    assert {each["secret"]["secretId"] for each in wanted["secrets"]} == {one.id, other.id}
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"

    assert standing(platform, one) == ("Retired", {"Revoked"}, {"Revoked"})
    assert environment(platform, one)["revision"] == f"{2:040x}"
    assert platform.request(request_id)["reason"] == REASON["reason"]
    assert platform.events(requestId=request_id) == [
        "application_environment_decommissioning_requested",
        "git_secret_bindings_removed",
        "credential_issuer_credentials_ended",
        "workflow_appenv_decommissioning_completed",
    ]
    listed = platform.engine_service.get(ASSET_APPLICATION_ENVIRONMENTS).json()["items"]
    ids = [each["expected"]["subject"]["applicationEnvironmentId"] for each in listed]
    assert one.environment_id not in ids


def test_only_a_frozen_one_is_decommissioned_and_it_never_comes_back(platform: Platform) -> None:
    secret = secret_in_use(platform)
    assert refused(move(platform, secret, "decommission")) == "move_refused"
    decommissioned(platform, secret)
    for action in ("decommission", "unfreeze", "freeze"):
        answer = move(platform, secret, action)
        assert (refused(answer), answer.json()["current"]) == ("move_refused", "Retired")
    path = f"/v1/applications/{secret.subject.application_id}/environments"
    again = platform.admin.post(path, {"environment": secret.subject.environment})
    assert refused(again) == "move_refused"


def test_secrets_that_ended_before_stay_ended(platform: Platform) -> None:
    one, other = secrets_in_use(platform, "app-key", "db-key")
    revoked(platform, one)
    platform.admin.ok(f"/v1/secrets/{one.id}/archive")
    run = claimed(platform, decommissioning_of(platform, other))
    (ended,) = run.claim["desiredState"]["secrets"]
    assert ended["secret"]["secretId"] == other.id
    run.do_all()
    run.finalize()
    assert standing(platform, one) == ("Retired", {"Archived", "Revoked"}, {"Revoked"})


def test_nothing_else_begins_on_it_meanwhile(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = decommissioning_of(platform, secret)
    for answer in (
        ask_rotation(platform, secret),
        platform.admin.post(f"/v1/secrets/{secret.id}/revoke", REASON),
        platform.admin.post(f"/v1/secrets/{secret.id}/resume"),
        platform.admin.post(f"/v1/secrets/{secret.id}/login"),
        move(platform, secret, "decommission"),
    ):
        assert refused(answer) == "workflow_active"
        assert answer.json()["activeRequestId"] == request_id
    assert refused(move(platform, secret, "unfreeze")) == "move_refused"


def test_it_does_not_begin_while_a_secret_of_it_rotates(platform: Platform) -> None:
    secret = secret_in_use(platform)
    assert move(platform, secret, "freeze").status_code == 200
    rotation = rotation_of(platform, secret)
    answer = move(platform, secret, "decommission")
    assert (refused(answer), answer.json()["activeRequestId"]) == ("workflow_active", rotation)


def test_a_grace_period_is_cancelled_first(platform: Platform) -> None:
    secret = secret_in_use(platform)
    rotation = in_grace(platform, secret)
    assert move(platform, secret, "freeze").status_code == 200
    assert refused(move(platform, secret, "decommission")) == "rotation_in_grace"
    platform.admin.ok(f"/v1/workflow-requests/{rotation}/cancel", {})
    assert move(platform, secret, "decommission").status_code == 202


def test_cancelled_before_a_run_began_it_is_as_before(platform: Platform) -> None:
    one, other = secrets_in_use(platform, "app-key", "db-key")
    platform.admin.ok(f"/v1/secrets/{other.id}/suspend")
    request_id = decommissioning_of(platform, one)
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {})
    assert environment(platform, one)["state"] == "Frozen"
    assert (seen(platform, one)["state"], seen(platform, other)["state"]) == ("Active", "Suspended")
    assert platform.request(request_id)["leftBehind"] is None
    retry = platform.admin.post(f"/v1/workflow-requests/{request_id}/retry", {})
    assert refused(retry) == "request_never_begun"
    assert move(platform, one, "decommission").status_code == 202


@pytest.mark.parametrize("again", ["retry", "anew"])
def test_one_that_failed_halfway_says_what_is_left_and_goes_on(
    platform: Platform, again: str
) -> None:
    one, other = secrets_in_use(platform, "app-key", "db-key")
    request_id = decommissioning_of(platform, one)
    run = claimed(platform, request_id)
    run.do_all((Step.REMOVE_SECRET_BINDINGS, Step.RELEASE_CONSUMERS, Step.END_CREDENTIALS))
    run.start(Step.ARCHIVE_ENVIRONMENT_REPOSITORY)
    assert run.fail(Step.ARCHIVE_ENVIRONMENT_REPOSITORY, retryable=False) == "failed"
    assert standing(platform, one) == ("Frozen", {"Suspended"}, {"Suspended"})
    assert "frozen" in platform.request(request_id)["leftBehind"]
    revoked(platform, other)

    if again == "retry":
        platform.admin.ok(f"/v1/workflow-requests/{request_id}/retry", {})
        last = claimed(platform, request_id, attempt=2)
    else:
        answer = move(platform, one, "decommission")
        assert answer.status_code == 202, answer.text
        last = claimed(platform, answer.json()["requestId"])
    last.do_all()
    assert last.finalize().json()["state"] == "succeeded"
    assert standing(platform, one) == ("Retired", {"Revoked"}, {"Revoked"})


def failed_early(platform: Platform, request_id: str) -> None:
    """A run of the decommissioning began and ended nothing."""
    run = claimed(platform, request_id)
    run.start(Step.REMOVE_SECRET_BINDINGS)
    assert run.fail(Step.REMOVE_SECRET_BINDINGS, retryable=False) == "failed"


def test_one_that_was_asked_for_anew_is_not_retried(platform: Platform) -> None:
    secret = secret_in_use(platform)
    elder = decommissioning_of(platform, secret)
    failed_early(platform, elder)
    newer = move(platform, secret, "decommission").json()["requestId"]
    failed_early(platform, newer)
    answer = platform.admin.post(f"/v1/workflow-requests/{elder}/retry", {})
    assert (refused(answer), answer.json()["activeRequestId"]) == ("request_superseded", newer)
    platform.admin.ok(f"/v1/workflow-requests/{newer}/retry", {})


def test_one_is_not_retried_once_a_secret_of_it_has_changed(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = decommissioning_of(platform, secret)
    failed_early(platform, request_id)
    with platform.engine.begin() as connection:
        for statement in (
            "UPDATE secrets SET state = 'Active' WHERE id = :id",
            "UPDATE secret_bindings SET state = 'Active' WHERE secret_id = :id",
        ):
            connection.execute(text(statement), {"id": secret.id})
    rotation = rotation_of(platform, secret)
    platform.admin.ok(f"/v1/workflow-requests/{rotation}/cancel", {})
    answer = platform.admin.post(f"/v1/workflow-requests/{request_id}/retry", {})
    assert (refused(answer), answer.json()["activeRequestId"]) == ("request_superseded", rotation)


def test_a_secret_that_it_was_not_to_end_is_never_marked_as_revoked(platform: Platform) -> None:
    one, other = secrets_in_use(platform, "app-key", "db-key")
    run = claimed(platform, decommissioning_of(platform, one))
    run.do_all()
    with platform.engine.begin() as connection:
        forgotten = text(
            "UPDATE workflow_requests SET desired_state = jsonb_set(desired_state, '{secrets}',"
            " jsonb_path_query_array(desired_state, '$.secrets[*] ?"
            " (@.secret.secret_id == $id)', jsonb_build_object('id', cast(:id AS text))))"
            " WHERE id = :request"
        )
        connection.execute(forgotten, {"id": one.id, "request": run.request_id})
    answer = run.finalize()
    assert (answer.status_code, answer.json()["code"]) == (500, "invariant_broken")
    assert standing(platform, one) == ("Decommissioning", {"Suspended"}, {"Suspended"})
    assert seen(platform, other)["state"] == "Suspended"


def test_what_it_began_to_end_is_neither_unfrozen_nor_resumed(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = decommissioning_of(platform, secret)
    failed_early(platform, request_id)
    for answer in (
        move(platform, secret, "unfreeze"),
        platform.admin.post(f"/v1/secrets/{secret.id}/resume"),
    ):
        assert refused(answer) == "ending_unfinished"
        assert answer.json()["activeRequestId"] == request_id
    assert standing(platform, secret) == ("Frozen", {"Suspended"}, {"Suspended"})


def test_neither_it_nor_what_it_ended_is_undone(platform: Platform) -> None:
    secret = secret_in_use(platform)
    run = decommissioned(platform, secret)
    answer = platform.admin.post(f"/v1/workflow-requests/{run.request_id}/undo", {})
    assert refused(answer) == "not_undoable"
    (provisioning,) = platform.admin.seen(
        "/v1/workflow-requests",
        applicationEnvironmentId=secret.environment_id,
        workflow="ApplicationEnvironmentProvisioning",
    )["items"]
    answer = platform.admin.post(f"/v1/workflow-requests/{provisioning['id']}/undo", {})
    assert refused(answer) == "move_refused"


def test_a_launch_from_the_ui_decommissions(platform: Platform) -> None:
    secret = secret_in_use(platform)
    name, reason = APPLICATION_ENVIRONMENT_DECOMMISSIONING.name, "It is over."
    body = {"workflow": name, "subjectId": secret.environment_id, "reason": reason}
    assert refused(launch(platform, **body)) == "move_refused"
    assert move(platform, secret, "freeze").status_code == 200
    answer = launch(platform, **body)
    assert answer.status_code == 200, answer.text
    run = EngineRun(platform, answer.json())
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    assert standing(platform, secret)[0] == "Retired"


def test_a_retired_environment_makes_place_for_another(platform: Platform) -> None:
    secret = secret_in_use(platform)
    path = f"/v1/teams/{secret.subject.team}/limits"
    decommissioned(platform, secret)
    limit = platform.admin.seen(path)["maxApplicationEnvironments"]
    assert limit["used"] == 0
