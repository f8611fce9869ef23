"""Secrets come to an application environment that is in use, over HTTP, on real PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest

from idp_kernel.workflows import Step
from tests.integration.control_plane.conftest import Platform
from tests.integration.control_plane.engine_run import STEPS, EngineRun, claimed, keeping
from tests.integration.control_plane.rotations import (
    DAY_SECONDS,
    SecretInUse,
    ask_rotation,
    in_grace,
    retire,
    secret_in_use,
    set_policy,
)
from tests.integration.control_plane.test_appenv_decommissioning import decommissioning_of
from tests.integration.control_plane.test_revocation import revoked
from tests.integration.control_plane.test_undo import (
    ask_undo,
    carried_out,
    let_undo_on_failure,
    preview,
    provisioning_of,
    refused,
    undo_of,
    undos_of,
)


@pytest.fixture
def before(platform: Platform) -> SecretInUse:
    """The only secret of an environment that is Active."""
    return secret_in_use(platform)


def ask_to_add(platform: Platform, before: SecretInUse, *names: str, **more: Any) -> Any:
    """The raw answer to the command."""
    path = f"/v1/application-environments/{before.environment_id}/secrets"
    return platform.admin.post(path, {"secrets": [{"name": name} for name in names], **more})


def adding(platform: Platform, before: SecretInUse, *names: str) -> EngineRun:
    """A run that holds the request and has done nothing yet."""
    answer = ask_to_add(platform, before, *names)
    assert answer.status_code == 202, answer.text
    return claimed(platform, answer.json()["requestId"])


def added(platform: Platform, before: SecretInUse, *names: str) -> EngineRun:
    run = adding(platform, before, *names)
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    return run


def failed_to_add(platform: Platform, before: SecretInUse, *names: str, after: Step) -> EngineRun:
    """A run that failed at the step after that one."""
    run = adding(platform, before, *names)
    following = STEPS.index(after) + 1
    run.do_all(STEPS[:following])
    run.start(STEPS[following])
    assert run.fail(STEPS[following], retryable=False) == "failed"
    return run


def environment_of(platform: Platform, before: SecretInUse) -> Any:
    return platform.admin.seen(f"/v1/application-environments/{before.environment_id}")


def states_of(platform: Platform, before: SecretInUse) -> dict[str, str]:
    secrets = environment_of(platform, before)["secrets"]
    return {each["name"]: f"{each['state']}/{each['bindingState']}" for each in secrets}


def id_of(platform: Platform, before: SecretInUse, name: str) -> str:
    secrets = environment_of(platform, before)["secrets"]
    return next(str(each["id"]) for each in secrets if each["name"] == name)


def added_secret(platform: Platform, before: SecretInUse, name: str) -> SecretInUse:
    return SecretInUse(id_of(platform, before, name), before.subject, before.environment_id)


def test_they_are_provisioned_alone_while_the_environment_stays_active(
    platform: Platform, before: SecretInUse
) -> None:
    answer = ask_to_add(platform, before, "mailer", "db", reason="It sends mail now")
    assert answer.status_code == 202, answer.text
    request_id = answer.json()["requestId"]
    assert answer.headers["Location"] == f"/v1/workflow-requests/{request_id}"
    assert platform.request(request_id)["workflow"] == "ApplicationEnvironmentProvisioning"
    assert platform.request(request_id)["reason"] == "It sends mail now"
    environment = environment_of(platform, before)
    assert (environment["state"], environment["activeRequestId"]) == ("Active", request_id)
    assert states_of(platform, before) == {
        "app-key": "Active/Active",
        "db": "Provisioning/Provisioning",
        "mailer": "Provisioning/Provisioning",
    }

    run = claimed(platform, request_id)
    wanted = run.claim["desiredState"]
    assert {each["name"] for each in wanted["secrets"]} == {"mailer", "db"}
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    assert set(states_of(platform, before).values()) == {"Active/Active"}
    assert environment_of(platform, before)["revision"] == "a" * 40
    (asked,) = [
        each
        for each in platform.admin.seen("/v1/events", requestId=request_id)["items"]
        if each["type"] == "application_environment_provisioning_requested"
    ]
    assert asked["data"]["addedSecrets"] == "mailer, db"


def test_a_failure_leaves_the_environment_as_it_was_and_is_tried_again(
    platform: Platform, before: SecretInUse
) -> None:
    run = adding(platform, before, "db")
    run.do_all(STEPS[:2])
    run.start(STEPS[2])
    assert run.fail(STEPS[2], retryable=False) == "failed"
    assert environment_of(platform, before)["state"] == "Active"
    assert states_of(platform, before) == {
        "app-key": "Active/Active",
        "db": "Declared/Declared",
    }
    platform.admin.ok(f"/v1/workflow-requests/{run.request_id}/retry", {})
    assert states_of(platform, before)["db"] == "Provisioning/Provisioning"
    again = claimed(platform, run.request_id, attempt=2)
    assert again.fail(STEPS[0], retryable=False) == "failed"
    added(platform, before, "db")
    assert states_of(platform, before)["db"] == "Active/Active"
    retried = platform.admin.post(f"/v1/workflow-requests/{run.request_id}/retry", {})
    assert refused(retried) == "move_refused"


def test_a_secret_that_is_left_out_stays_declared(platform: Platform, before: SecretInUse) -> None:
    adding(platform, before, "db").fail(STEPS[0], retryable=False)
    added(platform, before, "mailer")
    assert states_of(platform, before) == {
        "app-key": "Active/Active",
        "db": "Declared/Declared",
        "mailer": "Active/Active",
    }


def test_one_request_at_a_time_and_no_rotation_beside_it(
    platform: Platform, before: SecretInUse
) -> None:
    first = provisioning_of(platform, before)
    run = adding(platform, before, "db")
    freeze = f"/v1/application-environments/{before.environment_id}"
    for answer in (
        ask_to_add(platform, before, "mailer"),
        ask_rotation(platform, before),
        platform.admin.post(f"/v1/secrets/{before.id}/revoke", {"reason": "It ends."}),
        ask_undo(platform, first),
    ):
        assert refused(answer) == "workflow_active"
        assert answer.json()["activeRequestId"] == run.request_id
    platform.admin.ok(f"{freeze}/freeze")
    decommission = platform.admin.post(f"{freeze}/decommission", {})
    assert refused(decommission) == "workflow_active"
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    assert environment_of(platform, before)["state"] == "Frozen"


def test_none_is_added_beside_a_rotation_and_one_in_its_grace_goes_on(
    platform: Platform, before: SecretInUse
) -> None:
    platform.clock.stand_still()
    rotation = ask_rotation(platform, before).json()["requestId"]
    answer = ask_to_add(platform, before, "db")
    assert refused(answer) == "workflow_active"
    assert answer.json()["activeRequestId"] == rotation
    platform.admin.ok(f"/v1/workflow-requests/{rotation}/cancel", {})
    set_policy(platform, before, graceSeconds=5)
    rotation = in_grace(platform, before)
    run = adding(platform, before, "db")
    platform.sweep_after(6)
    retire(platform, rotation)
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    assert set(states_of(platform, before).values()) == {"Active/Active"}


@pytest.mark.parametrize(
    ("move", "code"),
    [
        ("/v1/application-environments/{appenv}/freeze", "application_environment_not_ready"),
        ("/v1/environments/{environment}/freeze", "environment_not_active"),
        ("/v1/teams/{team}/suspend", "team_not_active"),
        ("/v1/applications/{application}/deprecate", "application_not_ready"),
    ],
)
def test_all_that_it_stands_on_has_to_be_active(
    platform: Platform, before: SecretInUse, move: str, code: str
) -> None:
    waiting = ask_to_add(platform, before, "db").json()["requestId"]
    platform.admin.ok(
        move.format(
            appenv=before.environment_id,
            environment=before.subject.environment,
            team=before.subject.team,
            application=before.subject.application_id,
        )
    )
    platform.admin.ok(f"/v1/workflow-requests/{waiting}/cancel", {})
    assert refused(ask_to_add(platform, before, "mailer")) == code
    assert "mailer" not in states_of(platform, before)


def test_what_the_environment_has_cannot_be_added(platform: Platform, before: SecretInUse) -> None:
    assert refused(ask_to_add(platform, before, "mailer", "app-key")) == "move_refused"
    assert states_of(platform, before) == {"app-key": "Active/Active"}
    path = f"/v1/application-environments/{before.environment_id}/secrets"
    twice = platform.admin.post(path, {"secrets": [{"name": "db"}, {"name": "db"}]})
    assert (twice.status_code, twice.json()["code"]) == (422, "declared_twice")
    assert platform.admin.post(path, {"secrets": []}).status_code == 422
    names = [f"more-{number}" for number in range(50)]
    assert refused(ask_to_add(platform, before, *names)) == "too_many_secrets"


def test_an_environment_that_is_not_in_use_is_provisioned_instead(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {})
    appenv = platform.environment_of(request_id)
    path = f"/v1/application-environments/{appenv['id']}/secrets"
    answer = platform.admin.post(path, {"secrets": [{"name": "db"}]})
    assert refused(answer) == "application_environment_not_ready"
    assert answer.json()["current"] == "Declared"


def test_an_environment_that_was_frozen_meanwhile_gets_none(
    platform: Platform, before: SecretInUse
) -> None:
    request_id = ask_to_add(platform, before, "db").json()["requestId"]
    platform.admin.ok(f"/v1/application-environments/{before.environment_id}/freeze")
    answer = platform.engine_service.post(
        f"/internal/workflow-requests/{request_id}/claim",
        {"runId": request_id, "attempt": 1},
    )
    assert refused(answer) == "application_environment_not_ready"
    assert environment_of(platform, before)["state"] == "Frozen"
    assert states_of(platform, before)["db"] == "Declared/Declared"


def test_an_undo_takes_back_what_was_added_and_no_more(
    platform: Platform, before: SecretInUse
) -> None:
    run = added(platform, before, "db")
    revision = environment_of(platform, before)["revision"]
    undo_id = undo_of(platform, run.request_id)
    environment = environment_of(platform, before)
    assert (environment["state"], environment["activeRequestId"]) == ("Active", undo_id)
    carried_out(platform, undo_id)
    assert environment_of(platform, before)["revision"] == revision
    assert environment_of(platform, before)["state"] == "Active"
    assert states_of(platform, before) == {
        "app-key": "Active/Active",
        "db": "Declared/Declared",
    }
    added(platform, before, "db")
    assert states_of(platform, before)["db"] == "Active/Active"


def test_an_undo_that_no_run_began_changes_nothing(platform: Platform, before: SecretInUse) -> None:
    run = added(platform, before, "db")
    as_it_was = environment_of(platform, before)
    undo_id = undo_of(platform, run.request_id)
    platform.admin.ok(f"/v1/workflow-requests/{undo_id}/cancel", {})
    assert environment_of(platform, before) == as_it_was


def test_what_a_later_request_lives_on_is_left_to_it(
    platform: Platform, before: SecretInUse
) -> None:
    failed = adding(platform, before, "db")
    failed.do_all(STEPS[:3])
    failed.start(STEPS[3])
    failed.fail(STEPS[3], retryable=False)
    added(platform, before, "db")
    carried_out(platform, undo_of(platform, failed.request_id))
    assert states_of(platform, before)["db"] == "Active/Active"


def test_a_secret_that_was_rotated_since_stays_in_use(
    platform: Platform, before: SecretInUse
) -> None:
    run = added(platform, before, "db", "mailer")
    secret = added_secret(platform, before, "db")
    rotation = in_grace(platform, secret)
    assert refused(ask_undo(platform, run.request_id)) == "rotation_in_grace"
    platform.sweep_after(DAY_SECONDS + 1)
    retire(platform, rotation)
    undo_id = undo_of(platform, run.request_id)
    keeping(platform, undo_id, {"item": f"secret/{secret.id}", "effect": "kept"})
    assert states_of(platform, before) == {
        "app-key": "Active/Active",
        "db": "Active/Active",
        "mailer": "Declared/Declared",
    }


def test_the_first_provisioning_is_undone_after_what_was_added(
    platform: Platform, before: SecretInUse
) -> None:
    first = provisioning_of(platform, before)
    run = added(platform, before, "db")
    answer = ask_undo(platform, first)
    assert refused(answer) == "secrets_added_since"
    assert answer.json()["activeRequestId"] == run.request_id
    carried_out(platform, undo_of(platform, run.request_id))
    carried_out(platform, undo_of(platform, first))
    assert environment_of(platform, before)["state"] == "Declared"
    assert set(states_of(platform, before).values()) == {"Declared/Declared"}


def test_so_it_is_undone_after_an_add_that_failed(platform: Platform, before: SecretInUse) -> None:
    first = provisioning_of(platform, before)
    cancelled = ask_to_add(platform, before, "db").json()["requestId"]
    platform.admin.ok(f"/v1/workflow-requests/{cancelled}/cancel", {})
    failed = failed_to_add(platform, before, "db", after=Step.MATERIALIZE_REPOSITORIES)
    answer = ask_undo(platform, first)
    assert refused(answer) == "secrets_added_since"
    assert answer.json()["activeRequestId"] == failed.request_id
    carried_out(platform, undo_of(platform, failed.request_id))
    carried_out(platform, undo_of(platform, first))
    assert environment_of(platform, before)["state"] == "Declared"


def test_and_after_an_add_whose_secret_was_revoked(platform: Platform, before: SecretInUse) -> None:
    first = provisioning_of(platform, before)
    run = added(platform, before, "db")
    revoked(platform, added_secret(platform, before, "db"))
    answer = ask_undo(platform, first)
    assert refused(answer) == "secrets_added_since"
    assert answer.json()["activeRequestId"] == run.request_id
    carried_out(platform, undo_of(platform, run.request_id))
    carried_out(platform, undo_of(platform, first))
    assert states_of(platform, before) == {
        "app-key": "Declared/Declared",
        "db": "Revoked/Revoked",
    }


def test_what_was_added_and_rotated_since_is_revoked_before_the_first_is_undone(
    platform: Platform, before: SecretInUse
) -> None:
    first = provisioning_of(platform, before)
    run = added(platform, before, "db")
    secret = added_secret(platform, before, "db")
    rotation = in_grace(platform, secret)
    platform.sweep_after(DAY_SECONDS + 1)
    retire(platform, rotation)
    assert refused(ask_undo(platform, first)) == "secrets_added_since"
    keeping(
        platform,
        undo_of(platform, run.request_id),
        {"item": f"secret/{secret.id}", "effect": "kept"},
    )
    answer = ask_undo(platform, first)
    assert refused(answer) == "added_secret_in_use"
    assert answer.json()["secretId"] == secret.id
    assert "db" in answer.json()["detail"]
    revoked(platform, secret)
    carried_out(platform, undo_of(platform, first))
    assert environment_of(platform, before)["state"] == "Declared"


def test_its_preview_leaves_the_repository_and_its_protection(
    platform: Platform, before: SecretInUse
) -> None:
    run = added(platform, before, "db")
    fates = {each["step"]: each["fate"] for each in preview(platform, run.request_id)["items"]}
    assert fates == {
        Step.CREATE_SECRET_BINDINGS: "removed",
        Step.PROVISION_SECRETS: "removed",
        Step.APPLY_BRANCH_PROTECTION: "kept",
        Step.MATERIALIZE_REPOSITORIES: "kept",
    }


def test_what_a_failed_add_left_ends_with_the_environment(
    platform: Platform, before: SecretInUse
) -> None:
    failed_to_add(platform, before, "db", after=Step.CREATE_SECRET_BINDINGS)
    never_begun = ask_to_add(platform, before, "mailer").json()["requestId"]
    platform.admin.ok(f"/v1/workflow-requests/{never_begun}/cancel", {})
    run = claimed(platform, decommissioning_of(platform, before))
    assert ended_by(run) == {"app-key", "db"}
    assert states_of(platform, before) == {
        "app-key": "Suspended/Suspended",
        "db": "Declared/Declared",
        "mailer": "Declared/Declared",
    }
    run.start(run.steps[0])
    assert run.fail(run.steps[0], retryable=False) == "failed"
    platform.admin.ok(f"/v1/workflow-requests/{run.request_id}/retry", {})
    again = claimed(platform, run.request_id, attempt=2)
    again.do_all()
    assert again.finalize().json()["state"] == "succeeded"
    environment = environment_of(platform, before)
    assert (environment["state"], environment["revision"]) == ("Retired", f"{2:040x}")
    assert states_of(platform, before) == {
        "app-key": "Revoked/Revoked",
        "db": "Declared/Declared",
        "mailer": "Declared/Declared",
    }


def test_so_does_a_value_that_an_undo_kept(platform: Platform, before: SecretInUse) -> None:
    run = added(platform, before, "db")
    item = f"secret/{id_of(platform, before, 'db')}"
    keeping(platform, undo_of(platform, run.request_id), {"item": item, "effect": "kept"})
    assert states_of(platform, before)["db"] == "Declared/Declared"
    assert ended_by(claimed(platform, decommissioning_of(platform, before))) == {"app-key", "db"}


def ended_by(run: EngineRun) -> set[str]:
    """The names of the secrets that a decommissioning ends."""
    return {each["secret"]["name"] for each in run.claim["desiredState"]["secrets"]}


def test_a_frozen_environment_gives_nothing_back(platform: Platform, before: SecretInUse) -> None:
    run = added(platform, before, "db")
    platform.admin.ok(f"/v1/application-environments/{before.environment_id}/freeze")
    answer = ask_undo(platform, run.request_id)
    assert refused(answer) == "application_environment_not_ready"


def test_a_failure_is_undone_by_itself_where_the_team_wants_it(
    platform: Platform, before: SecretInUse
) -> None:
    run = adding(platform, before, "db")
    let_undo_on_failure(platform, run.request_id)
    run.do_all(STEPS[:3])
    run.start(STEPS[3])
    assert run.fail(STEPS[3], retryable=False) == "failed"
    (undo,) = undos_of(platform, run)
    undoing = claimed(platform, undo["id"])
    steps = [each["step"] for each in undoing.claim["desiredState"]["steps"]]
    assert Step.PROVISION_SECRETS in steps
    undoing.do_all()
    assert undoing.finalize().json()["state"] == "succeeded"
    assert environment_of(platform, before)["state"] == "Active"
    assert states_of(platform, before)["db"] == "Declared/Declared"


def test_it_takes_a_maintainer_of_the_team(platform: Platform, before: SecretInUse) -> None:
    path = f"/v1/application-environments/{before.environment_id}/secrets"
    body = {"secrets": [{"name": "db"}]}
    viewer = platform.member(before.subject.team, "team-viewer")
    assert viewer.post(path, body).status_code == 403
    maintainer = platform.member(before.subject.team, "team-maintainer")
    assert maintainer.post(path, body).status_code == 202
