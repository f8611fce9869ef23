"""What an ended request made is taken back by another request, over HTTP, on real PostgreSQL."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from control_plane.adapters.database import transaction
from idp_kernel.ids import new_id
from idp_kernel.tokens import AUDIENCE_WORKERS
from idp_kernel.wire.engine import ROTATION_CAUSES
from idp_kernel.workflows import Step
from tests.integration.control_plane.conftest import (
    Platform,
    Subject,
    eventually,
    somebody_waits_for_a_lock,
)
from tests.integration.control_plane.engine_run import (
    STEPS,
    EngineRun,
    claimed,
    keeping,
    launch,
    offers,
)
from tests.integration.control_plane.rotations import (
    DAY_SECONDS,
    SecretInUse,
    in_grace,
    retire,
    secret_in_use,
)


def claims_of(token: str) -> Any:
    """What a token says; its signature is not looked at."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def provisioned(platform: Platform, subject: Subject | None = None) -> EngineRun:
    """A run that has provisioned an environment."""
    run = claimed(platform, platform.provision(subject or platform.new_subject()))
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    return run


def failed_after(platform: Platform, step: Step) -> EngineRun:
    """A run that failed at the step after that one."""
    run = claimed(platform, platform.provision(platform.new_subject()))
    following = STEPS.index(step) + 1
    run.do_all(STEPS[:following])
    run.start(STEPS[following])
    assert run.fail(STEPS[following], retryable=False) == "failed"
    return run


def ask_undo(platform: Platform, request_id: str, **body: Any) -> Any:
    """The raw answer to the command."""
    return platform.admin.post(f"/v1/workflow-requests/{request_id}/undo", body)


def undo_of(platform: Platform, request_id: str) -> str:
    """The id of a new undo."""
    answer = ask_undo(platform, request_id)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["requestId"])


def preview(platform: Platform, request_id: str) -> Any:
    return platform.admin.seen(f"/v1/workflow-requests/{request_id}/undo")


def carried_out(platform: Platform, undo_id: str, attempt: int = 1) -> EngineRun:
    run = claimed(platform, undo_id, attempt=attempt)
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    return run


def refused(answer: Any) -> str:
    assert answer.status_code == 409, answer.text
    return str(answer.json()["code"])


def test_an_environment_in_use_goes_out_of_it_and_back_to_declared(platform: Platform) -> None:
    done = provisioned(platform)
    undo_id = undo_of(platform, done.request_id)
    environment = platform.environment_of(done.request_id)
    assert (environment["state"], environment["activeRequestId"]) == ("Decommissioning", undo_id)
    offer = offers(platform)[undo_id]
    assert (offer["workflow"], offer["phase"]) == ("Compensation", 1)

    run = claimed(platform, undo_id)
    wanted = run.claim["desiredState"]
    assert wanted["undoneRequestId"] == done.request_id
    assert wanted["undone"] == done.claim["desiredState"]
    assert [each["step"] for each in wanted["steps"]] == [
        "create_secret_bindings",
        "provision_secrets",
        "apply_branch_protection",
        "materialize_repositories",
    ]
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"

    environment = platform.environment_of(done.request_id)
    assert (environment["state"], environment["revision"]) == ("Declared", None)
    assert environment["repositoryUrl"] is None
    assert {
        (each["state"], each["version"], each["storePath"], each["bindingState"])
        for each in environment["secrets"]
    } == {("Declared", None, None, "Declared")}
    assert platform.request(undo_id)["undoes"] == done.request_id
    assert platform.request(done.request_id)["undoneBy"] == undo_id
    assert platform.request(done.request_id)["state"] == "succeeded"
    assert platform.events(requestId=undo_id) == [
        "workflow_request_undo_requested",
        "workflow_compensation_completed",
    ]


def test_its_run_speaks_for_the_undone_request_at_the_workers_alone(platform: Platform) -> None:
    done = provisioned(platform)
    platform.clock.advance(60)
    run = claimed(platform, undo_of(platform, done.request_id))
    permit = run.claim["undone"]
    assert (permit["requestId"], permit["generation"]) == (done.request_id, 2)
    claims = claims_of(permit["runToken"])
    assert claims["request_id"] == done.request_id
    assert claims["fence"] > done.claim["fence"]
    assert claims["aud"] == [AUDIENCE_WORKERS]
    assert claims["run_id"] == run.run_id
    assert claims["is_for_undo"]
    assert not claims_of(run.claim["runToken"])["is_for_undo"]
    assert claims["deadline"] == claims_of(run.claim["runToken"])["deadline"], "not that undone"
    own = platform.bearer(permit["runToken"])
    told = own.post(
        f"/internal/workflow-requests/{done.request_id}/finalize",
        {"runId": run.run_id, "attempt": 1, "outcomes": {}},
    )
    assert told.status_code == 401
    renewed = run.say("lease").json()["undone"]
    assert claims_of(renewed["runToken"])["fence"] == claims["fence"]


def test_what_a_failed_request_left_is_taken_back(platform: Platform) -> None:
    failed = failed_after(platform, Step.APPLY_BRANCH_PROTECTION)
    undo_id = undo_of(platform, failed.request_id)
    run = claimed(platform, undo_id)
    steps = {each["step"]: each["result"]["items"] for each in run.claim["desiredState"]["steps"]}
    assert list(steps) == [
        "provision_secrets",
        "apply_branch_protection",
        "materialize_repositories",
    ], "also the step that failed: it may have done something"
    assert steps["provision_secrets"] == []
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    assert platform.environment_of(failed.request_id)["state"] == "Declared"
    retried = platform.admin.post(f"/v1/workflow-requests/{failed.request_id}/retry", {})
    assert refused(retried) == "request_undone"
    assert retried.json()["undoneBy"] == undo_id
    rerun = launch(platform, parentRunId=failed.run_id)
    assert refused(rerun) == "request_undone"


def test_only_what_has_ended_and_made_something_is_undone_once(platform: Platform) -> None:
    pending = platform.provision(platform.new_subject())
    answer = ask_undo(platform, pending)
    assert refused(answer) == "request_not_ended"
    assert answer.json()["activeRequestId"] == pending
    platform.admin.ok(f"/v1/workflow-requests/{pending}/cancel", {})
    assert refused(ask_undo(platform, pending)) == "nothing_to_undo"
    done = provisioned(platform)
    undo_id = undo_of(platform, done.request_id)
    assert refused(ask_undo(platform, done.request_id)) == "workflow_active"
    carried_out(platform, undo_id)
    assert refused(ask_undo(platform, done.request_id)) == "request_undone"
    assert refused(ask_undo(platform, undo_id)) == "not_undoable"


def test_nothing_else_begins_on_what_is_being_taken_back(platform: Platform) -> None:
    subject = platform.new_subject()
    done = provisioned(platform, subject)
    (secret,) = platform.environment_of(done.request_id)["secrets"]
    undo_id = undo_of(platform, done.request_id)
    path = f"/v1/applications/{subject.application_id}/environments"
    for answer in (
        platform.admin.post(path, {"environment": subject.environment}),
        platform.admin.post(f"/v1/secrets/{secret['id']}/rotation", {}),
    ):
        assert refused(answer) == "workflow_active"
        assert answer.json()["activeRequestId"] == undo_id
    platform.admin.ok(f"/v1/secrets/{secret['id']}/suspend")
    carried_out(platform, undo_id)
    again = platform.provision(subject)
    assert platform.request(again)["state"] == "pending"


def test_an_undo_that_no_run_began_gives_everything_back(platform: Platform) -> None:
    done = provisioned(platform)
    before = platform.environment_of(done.request_id)
    undo_id = undo_of(platform, done.request_id)
    platform.admin.ok(f"/v1/workflow-requests/{undo_id}/cancel", {})
    assert platform.environment_of(done.request_id) == before
    assert platform.request(undo_id)["leftBehind"] is None
    assert platform.request(done.request_id)["undoneBy"] is None


def test_an_undo_that_failed_is_tried_again_or_asked_for_anew(platform: Platform) -> None:
    done = provisioned(platform)
    undo_id = undo_of(platform, done.request_id)
    run = claimed(platform, undo_id)
    assert run.fail(Step.UNDO_EFFECTS, retryable=False) == "failed"
    environment = platform.environment_of(done.request_id)
    assert environment["state"] == "Declared"
    assert "Ask for it again" in platform.request(undo_id)["leftBehind"]
    assert platform.request(done.request_id)["undoneBy"] is None
    platform.admin.ok(f"/v1/workflow-requests/{undo_id}/retry", {})
    again = claimed(platform, undo_id, attempt=2)
    assert again.claim["undone"]["generation"] > run.claim["undone"]["generation"]
    assert again.fail(Step.UNDO_EFFECTS, retryable=False) == "failed"
    anew = undo_of(platform, done.request_id)
    carried_out(platform, anew)
    assert platform.request(done.request_id)["undoneBy"] == anew
    assert refused(platform.admin.post(f"/v1/workflow-requests/{undo_id}/retry", {})) == (
        "request_undone"
    )


def test_what_was_provisioned_anew_stays_in_use(platform: Platform) -> None:
    subject = platform.new_subject()
    done = provisioned(platform, subject)
    run = claimed(platform, undo_of(platform, done.request_id))
    run.fail(Step.UNDO_EFFECTS, retryable=False)
    anew = provisioned(platform, subject)
    carried_out(platform, undo_of(platform, done.request_id))
    environment = platform.environment_of(anew.request_id)
    assert environment["state"] == "Active"
    assert environment["secrets"][0]["version"] == 3


def retried(platform: Platform, run: EngineRun) -> EngineRun:
    """The run of the next attempt, which has done nothing yet."""
    platform.admin.ok(f"/v1/workflow-requests/{run.request_id}/retry", {})
    return claimed(platform, run.request_id, attempt=2)


def test_what_an_elder_request_brought_into_use_last_goes_with_that_one(
    platform: Platform,
) -> None:
    subject = platform.new_subject()
    elder = claimed(platform, platform.provision(subject))
    elder.fail(STEPS[0], retryable=False)
    younger = provisioned(platform, subject)
    carried_out(platform, undo_of(platform, younger.request_id))
    again = retried(platform, elder)
    again.do_all()
    assert again.finalize().json()["state"] == "succeeded"
    undo_id = undo_of(platform, elder.request_id)
    assert platform.environment_of(elder.request_id)["state"] == "Decommissioning"
    carried_out(platform, undo_id)
    assert platform.environment_of(elder.request_id)["state"] == "Declared"


def test_what_an_elder_onboarding_brought_into_use_last_goes_with_that_one(
    platform: Platform,
) -> None:
    subject = platform.new_subject()
    accepted = platform.admin.ok("/v1/applications", {"team": subject.team, "slug": "web"})
    path = f"/v1/applications/{accepted['applicationId']}"
    elder = claimed(platform, accepted["requestId"])
    elder.fail(Step.CREATE_CODE_REPOSITORY, retryable=False)
    younger = claimed(platform, platform.admin.ok(f"{path}/onboarding")["requestId"])
    assert younger.finalize().json()["state"] == "succeeded"
    carried_out(platform, undo_of(platform, younger.request_id))
    assert retried(platform, elder).finalize().json()["state"] == "succeeded"
    subject.application_id = accepted["applicationId"]
    done = provisioned(platform, subject)
    assert refused(ask_undo(platform, elder.request_id)) == "application_in_use"
    carried_out(platform, undo_of(platform, done.request_id))
    carried_out(platform, undo_of(platform, elder.request_id))
    assert platform.admin.seen(path)["state"] == "Approved"


def test_an_undo_that_kept_something_is_followed_by_another(platform: Platform) -> None:
    failed = failed_after(platform, Step.PROVISION_SECRETS)
    (secret,) = platform.environment_of(failed.request_id)["secrets"]
    first = undo_of(platform, failed.request_id)
    keeping(platform, first, {"item": f"secret/{secret['id']}", "effect": "kept"})
    assert platform.request(failed.request_id)["undoneBy"] == first
    retry = platform.admin.post(f"/v1/workflow-requests/{failed.request_id}/retry", {})
    assert refused(retry) == "request_undone"
    assert preview(platform, failed.request_id)["mayBeUndone"]
    second = undo_of(platform, failed.request_id)
    carried_out(platform, second)
    assert platform.request(failed.request_id)["undoneBy"] == second
    assert refused(ask_undo(platform, failed.request_id)) == "request_undone"


def test_what_an_undo_kept_is_told_and_where_it_is(platform: Platform) -> None:
    subject = platform.new_subject()
    done = provisioned(platform, subject)
    (secret,) = platform.environment_of(done.request_id)["secrets"]
    undo_id = undo_of(platform, done.request_id)
    kept = {
        "item": f"secret/{secret['id']}",
        "effect": "kept",
        "references": {"storePath": "teams/x/app-key", "version": 4},
    }
    keeping(platform, undo_id, kept)
    left = platform.request(undo_id)["leftBehind"]
    assert f"secret/{secret['id']} at teams/x/app-key" in left
    assert "repository/" not in left
    assert platform.environment_of(done.request_id)["secrets"][0]["state"] == "Declared"
    anew = provisioned(platform, subject)
    assert platform.environment_of(anew.request_id)["secrets"][0]["state"] == "Active"


@pytest.mark.parametrize("effect", ["undone", "absent", "kept"])
def test_what_asked_for_the_rotation_of_what_is_gone_asks_no_more(
    lone_platform: Platform, effect: str
) -> None:
    platform = lone_platform
    secret = secret_in_use(platform)
    platform.admin.ok(f"/v1/secrets/{secret.id}/compromised", {"reason": "seen in a log"})
    undo_id = undo_of(platform, provisioning_of(platform, secret))
    keeping(platform, undo_id, {"item": f"secret/{secret.id}", "effect": effect})
    causes = platform.engine_service.seen(ROTATION_CAUSES)["causes"]
    assert [each["secretId"] for each in causes] == ([secret.id] if effect == "kept" else [])


@pytest.mark.usefixtures("patience")
def test_a_retry_that_waited_for_an_undo_is_refused(platform: Platform) -> None:
    failed = failed_after(platform, Step.MATERIALIZE_REPOSITORIES)
    undo_id = undo_of(platform, failed.request_id)
    claimed(platform, undo_id).fail(Step.UNDO_EFFECTS, retryable=False)
    lock = text("SELECT 1 FROM workflow_requests WHERE id = :id FOR UPDATE")
    ended = text("UPDATE workflow_requests SET state = 'succeeded' WHERE id = :id")
    with ThreadPoolExecutor(1) as executor:
        with transaction(platform.engine) as connection:
            connection.execute(lock, {"id": failed.request_id})
            path = f"/v1/workflow-requests/{failed.request_id}/retry"
            answer = executor.submit(platform.admin.post, path, {})
            eventually(lambda: somebody_waits_for_a_lock(platform.engine))
            connection.execute(ended, {"id": undo_id})
        assert refused(answer.result()) == "request_undone"
    assert platform.request(failed.request_id)["state"] == "failed"


def test_an_undo_that_was_called_off_stands_in_no_rotations_way(platform: Platform) -> None:
    secret = secret_in_use(platform)
    rotation = platform.admin.ok(f"/v1/secrets/{secret.id}/rotation", {})["requestId"]
    platform.admin.ok(f"/v1/workflow-requests/{rotation}/cancel", {})
    undo_id = undo_of(platform, provisioning_of(platform, secret))
    platform.admin.ok(f"/v1/workflow-requests/{undo_id}/cancel", {})
    platform.admin.ok(f"/v1/workflow-requests/{rotation}/retry", {})


def test_a_rotation_does_not_go_on_where_the_secret_was_made_anew(platform: Platform) -> None:
    secret = secret_in_use(platform)
    rotation = platform.admin.ok(f"/v1/secrets/{secret.id}/rotation", {})["requestId"]
    platform.admin.ok(f"/v1/workflow-requests/{rotation}/cancel", {})
    carried_out(platform, undo_of(platform, provisioning_of(platform, secret)))
    provisioned(platform, secret.subject)
    retry = platform.admin.post(f"/v1/workflow-requests/{rotation}/retry", {})
    assert refused(retry) == "request_superseded"


def test_a_retry_after_a_half_undo_begins_a_new_generation(platform: Platform) -> None:
    failed = failed_after(platform, Step.APPLY_BRANCH_PROTECTION)
    undoing = undo_of(platform, failed.request_id)
    claimed(platform, undoing).fail(Step.UNDO_EFFECTS, retryable=False)
    platform.admin.ok(f"/v1/workflow-requests/{failed.request_id}/retry", {})
    again = claimed(platform, failed.request_id, attempt=2)
    assert again.claim["generation"] > failed.claim["generation"]
    assert again.claim["outcomes"] == {}
    again.do_all()
    assert again.finalize().json()["state"] == "succeeded"
    superseded = platform.admin.post(f"/v1/workflow-requests/{undoing}/retry", {})
    assert refused(superseded) == "request_superseded"


def test_a_frozen_environment_is_not_taken_back(platform: Platform) -> None:
    done = provisioned(platform)
    appenv = platform.environment_of(done.request_id)["id"]
    platform.admin.ok(f"/v1/application-environments/{appenv}/freeze")
    shown = preview(platform, done.request_id)
    assert (shown["mayBeUndone"], shown["refusal"]["code"]) == (False, "move_refused")
    answer = ask_undo(platform, done.request_id)
    assert refused(answer) == "move_refused"
    assert "Active" in answer.json()["detail"]


def test_an_environment_waits_for_its_secrets_grace(platform: Platform) -> None:
    secret = secret_in_use(platform)
    request_id = provisioning_of(platform, secret)
    rotation = in_grace(platform, secret)
    assert refused(ask_undo(platform, request_id)) == "rotation_in_grace"
    platform.sweep_after(DAY_SECONDS + 1)
    retire(platform, rotation)
    shown = {each["item"]: each for each in preview(platform, request_id)["items"]}
    kept = shown[f"secret/{secret.id}"]
    assert (kept["fate"], rotation in kept["reason"]) == ("kept", True)
    assert refused(ask_undo(platform, rotation)) == "not_undoable"
    (retired,) = [
        each for each in preview(platform, rotation)["items"] if each["fate"] == "irreversible"
    ]
    assert retired["step"] == "retire_old_credential"
    carried_out(platform, undo_of(platform, request_id))


def provisioning_of(platform: Platform, secret: SecretInUse) -> str:
    (found,) = platform.admin.seen(
        "/v1/workflow-requests",
        applicationEnvironmentId=secret.environment_id,
        workflow="ApplicationEnvironmentProvisioning",
    )["items"]
    return str(found["id"])


def test_a_preview_says_what_goes_and_changes_nothing(platform: Platform) -> None:
    done = provisioned(platform)
    before = platform.request(done.request_id)
    shown = preview(platform, done.request_id)
    assert (shown["mayBeUndone"], shown["refusal"]) == (True, None)
    assert [(each["step"], each["fate"]) for each in shown["items"]] == [
        ("create_secret_bindings", "removed"),
        ("provision_secrets", "removed"),
        ("apply_branch_protection", "removed"),
        ("materialize_repositories", "removed"),
    ]
    assert platform.request(done.request_id) == before
    assert platform.environment_of(done.request_id)["state"] == "Active"


def test_a_preview_lists_what_the_undo_does_and_no_more(platform: Platform) -> None:
    subject = platform.new_subject()
    path = f"/v1/applications/{subject.application_id}/environments"
    body = {"environment": subject.environment, "secrets": []}
    run = claimed(platform, platform.admin.ok(path, body)["requestId"])
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    items = preview(platform, run.request_id)["items"]
    undo = claimed(platform, undo_of(platform, run.request_id))
    steps = [each["step"] for each in undo.claim["desiredState"]["steps"]]
    assert [each["step"] for each in items] == steps
    assert "create_secret_bindings" not in steps, "they pin nothing and go with their repository"
    (protection,) = [each for each in items if each["step"] == "apply_branch_protection"]
    assert protection["reason"].startswith("it named nothing;"), "it succeeded all the same"


def test_a_preview_says_whose_the_rest_is(platform: Platform) -> None:
    subject = platform.new_subject()
    first = claimed(platform, platform.provision(subject))
    wanted = first.claim["desiredState"]
    repository = f"repository/{wanted['repository']['repositoryId']}"
    made = {"item": repository, "effect": "created", "createdBy": first.request_id}
    first.end(STEPS[0], result={"items": [{**made, "references": {"url": "x"}}]})
    first.start(STEPS[1])
    first.fail(STEPS[1], retryable=False)
    second = claimed(platform, platform.provision(subject))
    adopted = {**made, "effect": "adopted", "references": {"url": "x"}}
    second.end(STEPS[0], result={"items": [adopted]})
    second.do_all(STEPS[1:-1])
    assert second.finalize().json()["state"] == "succeeded"
    of_first = {each["item"]: each for each in preview(platform, first.request_id)["items"]}
    assert of_first[repository]["fate"] == "kept"
    assert second.request_id in of_first[repository]["reason"]
    assert of_first[None]["fate"] == "removed", "the step that failed may have left something"
    of_second = {each["item"]: each for each in preview(platform, second.request_id)["items"]}
    assert of_second[repository]["fate"] == "kept"
    assert first.request_id in of_second[repository]["reason"]
    carried_out(platform, undo_of(platform, second.request_id))
    free = {each["item"]: each for each in preview(platform, first.request_id)["items"]}
    assert free[repository]["fate"] == "removed", "nobody lives on it any more"


def test_an_application_is_taken_back_after_its_environments(platform: Platform) -> None:
    subject = platform.new_subject()
    (onboarding,) = platform.admin.seen(
        "/v1/workflow-requests", applicationId=subject.application_id
    )["items"]
    done = provisioned(platform, subject)
    assert refused(ask_undo(platform, onboarding["id"])) == "application_in_use"
    assert not preview(platform, onboarding["id"])["mayBeUndone"]
    carried_out(platform, undo_of(platform, done.request_id))
    undo_id = undo_of(platform, onboarding["id"])
    path = f"/v1/applications/{subject.application_id}"
    assert platform.admin.seen(path)["state"] == "Decommissioning"
    body = {"environment": subject.environment}
    assert refused(platform.admin.post(f"{path}/environments", body)) == "application_not_ready"
    run = carried_out(platform, undo_id)
    assert [each["step"] for each in run.claim["desiredState"]["steps"]] == [
        "apply_repository_protection",
        "seed_repositories",
        "create_deployment_repository",
        "create_code_repository",
    ]
    assert platform.admin.seen(path)["state"] == "Approved"
    repositories = platform.admin.seen(f"{path}/repositories")["items"]
    assert {(each["state"], each["url"]) for each in repositories} == {("Declared", None)}
    again = claimed(platform, platform.admin.ok(f"{path}/onboarding")["requestId"])
    assert again.finalize().json()["state"] == "succeeded"


def test_an_onboarding_s_undo_is_called_off_before_it_began(platform: Platform) -> None:
    subject = platform.new_subject()
    (onboarding,) = platform.admin.seen(
        "/v1/workflow-requests", applicationId=subject.application_id
    )["items"]
    undo_id = undo_of(platform, onboarding["id"])
    platform.admin.ok(f"/v1/workflow-requests/{undo_id}/cancel", {})
    path = f"/v1/applications/{subject.application_id}"
    assert platform.admin.seen(path)["state"] == "Active"


def test_a_suspended_team_takes_nothing_back(platform: Platform) -> None:
    subject = platform.new_subject()
    done = provisioned(platform, subject)
    platform.admin.ok(f"/v1/teams/{subject.team}/suspend")
    assert refused(ask_undo(platform, done.request_id)) == "team_not_active"


def test_an_undo_is_launched_by_hand(platform: Platform) -> None:
    done = provisioned(platform)
    answer = launch(
        platform, workflow="Compensation", subjectId=done.request_id, reason="wrong team"
    )
    assert answer.status_code == 200, answer.text
    run = EngineRun(platform, answer.json())
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    assert platform.request(done.request_id)["undoneBy"] == run.request_id
    assert platform.request(run.request_id)["requestedBy"] == "dagster-ui (local)"
    unknown = launch(platform, workflow="Compensation", subjectId=new_id(), reason="x")
    assert unknown.status_code == 404


def test_a_cancel_says_where_its_undo_is(platform: Platform) -> None:
    run = claimed(platform, platform.provision(platform.new_subject()))
    run.do_all(STEPS[:2])
    path = f"/v1/workflow-requests/{run.request_id}"
    told = platform.admin.post(f"{path}/cancel", {}).json()
    assert told["undo"] == f"{path}/undo"
    assert run.fail(STEPS[2], retryable=True) == "cancelled"
    assert preview(platform, run.request_id)["mayBeUndone"]
    secret = secret_in_use(platform)
    rotation = platform.admin.post(f"/v1/secrets/{secret.id}/rotation", {}).json()["requestId"]
    cancelled = platform.admin.post(f"/v1/workflow-requests/{rotation}/cancel", {}).json()
    assert cancelled["undo"] is None, "nothing takes a rotation back"


@pytest.mark.parametrize("step", STEPS[:-1])
def test_whatever_began_is_taken_back(platform: Platform, step: Step) -> None:
    run = claimed(platform, platform.provision(platform.new_subject()))
    before = STEPS[: STEPS.index(step)]
    run.do_all(before)
    run.start(step)
    platform.admin.ok(f"/v1/workflow-requests/{run.request_id}/cancel", {})
    assert run.fail(step, retryable=True) == "cancelled"
    undo_run = carried_out(platform, undo_of(platform, run.request_id))
    taken = [each["step"] for each in undo_run.claim["desiredState"]["steps"]]
    began = [each for each in (*before, step) if each != Step.VERIFY_GITOPS_RECONCILIATION]
    assert taken == began[::-1]


# ── by policy ────────────────────────────────────────────────────────────────────────────────


def let_undo_on_failure(platform: Platform, request_id: str, *, wanted: bool = True) -> str:
    """The team of the request, under that policy."""
    team = str(platform.request(request_id)["team"])
    answer = platform.admin.put(f"/v1/teams/{team}/policy", {"undoOnFailure": wanted})
    assert (answer.status_code, answer.json()["undoOnFailure"]) == (200, wanted)
    return team


def undos_of(platform: Platform, run: EngineRun) -> list[Any]:
    found = platform.admin.seen(
        "/v1/workflow-requests",
        applicationId=run.claim["applicationId"],
        workflow="Compensation",
    )
    return list(found["items"])


def test_a_failure_is_undone_by_itself_where_the_team_wants_it(platform: Platform) -> None:
    run = claimed(platform, platform.provision(platform.new_subject()))
    team = let_undo_on_failure(platform, run.request_id)
    assert platform.events(team=team).count("team_policy_changed") == 1
    let_undo_on_failure(platform, run.request_id)
    assert platform.events(team=team).count("team_policy_changed") == 1, "told once"
    run.do_all(STEPS[:2])
    run.start(STEPS[2])
    assert run.fail(STEPS[2], retryable=False) == "failed"
    (undo,) = undos_of(platform, run)
    assert (undo["undoes"], undo["state"]) == (run.request_id, "pending")
    assert undo["requestedBy"] == "team-policy"
    assert run.request_id in undo["reason"]
    carried_out(platform, undo["id"])
    assert platform.request(run.request_id)["undoneBy"] == undo["id"]


def test_a_timeout_is_a_failure_too_and_a_cancel_is_none(platform: Platform) -> None:
    run = claimed(platform, platform.provision(platform.new_subject()))
    let_undo_on_failure(platform, run.request_id)
    run.do_all(STEPS[:1])
    platform.sweep_after(DAY_SECONDS)
    assert platform.request(run.request_id)["state"] == "timed_out"
    assert [each["undoes"] for each in undos_of(platform, run)] == [run.request_id]
    other = claimed(platform, platform.provision(platform.new_subject()))
    let_undo_on_failure(platform, other.request_id)
    other.do_all(STEPS[:1])
    platform.admin.ok(f"/v1/workflow-requests/{other.request_id}/cancel", {})
    assert other.fail(STEPS[1], retryable=True) == "cancelled"
    assert undos_of(platform, other) == [], "whoever cancels decides on the undo too"


def test_a_failure_is_left_alone_unless_the_team_wants_it_undone(platform: Platform) -> None:
    run = claimed(platform, platform.provision(platform.new_subject()))
    let_undo_on_failure(platform, run.request_id)
    let_undo_on_failure(platform, run.request_id, wanted=False)
    run.do_all(STEPS[:1])
    assert run.fail(STEPS[1], retryable=False) == "failed"
    assert undos_of(platform, run) == []
    retried = platform.admin.post(f"/v1/workflow-requests/{run.request_id}/retry", {})
    assert retried.status_code == 202


def test_an_undo_that_cannot_be_is_told(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    team = let_undo_on_failure(platform, request_id)
    platform.admin.ok(f"/v1/teams/{team}/suspend")
    refused_claim = platform.engine_service.post(
        f"/internal/workflow-requests/{request_id}/claim", {"runId": new_id(), "attempt": 1}
    )
    assert refused_claim.status_code == 409
    assert platform.request(request_id)["state"] == "failed"
    (told,) = [
        each
        for each in platform.admin.seen("/v1/events", requestId=request_id)["items"]
        if each["type"] == "workflow_request_undo_refused"
    ]
    assert told["data"]["reason"] == "nothing_to_undo"


def test_a_failed_undo_is_not_undone(platform: Platform) -> None:
    failed = failed_after(platform, Step.MATERIALIZE_REPOSITORIES)
    let_undo_on_failure(platform, failed.request_id)
    run = claimed(platform, undo_of(platform, failed.request_id))
    assert run.fail(Step.UNDO_EFFECTS, retryable=False) == "failed"
    assert [each["id"] for each in undos_of(platform, failed)] == [run.request_id]


# ── attempts ─────────────────────────────────────────────────────────────────────────────────


def test_each_attempt_says_why_it_ended(platform: Platform) -> None:
    run = claimed(platform, platform.provision(platform.new_subject()))
    run.start(STEPS[0])
    assert run.fail(STEPS[0], retryable=True, code="forge_away") == "pending"
    platform.sweep_after(60)
    second = claimed(platform, run.request_id, attempt=2)
    platform.sweep_after(120)
    lost = platform.request(run.request_id)["attempts"][1]
    assert (lost["ending"], second.run_id in lost["cause"]) == ("lost", True)
    platform.engine_service.post(
        "/internal/run-reports",
        {"requestId": run.request_id, "runId": second.run_id, "attempt": 2, "ending": "failed"},
    )
    state, attempt = "pending", 2
    while state == "pending":
        attempt += 1
        platform.sweep_after(60)
        again = claimed(platform, run.request_id, attempt=attempt)
        state = again.fail(STEPS[0], retryable=True, code="forge_away")
    request = platform.request(run.request_id)
    endings = [each["ending"] for each in request["attempts"]]
    assert endings == ["failed", "lost", *["failed"] * (attempt - 2)]
    assert "it broke" in request["attempts"][0]["cause"]
    assert (request["state"], request["error"]["code"]) == ("failed", "forge_away")
    assert f"All {attempt} attempts since" in request["error"]["message"]
    assert "it broke" in request["attempts"][-1]["cause"]
