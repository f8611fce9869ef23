"""An application is decommissioned after its environments, over HTTP, on real PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest

from idp_kernel.retention import REPEATABLE_FOR
from idp_kernel.workflows import APPLICATION_DECOMMISSIONING, Step
from tests.integration.control_plane.conftest import Platform, Subject
from tests.integration.control_plane.engine_run import (
    EngineRun,
    ask_claim,
    claimed,
    keeping,
    launch,
    offers,
    report,
)
from tests.integration.control_plane.rotations import secret_in_use
from tests.integration.control_plane.test_appenv_decommissioning import decommissioned
from tests.integration.control_plane.test_revocation import refused

REASON = {"reason": "Nobody sells there any more."}


def ask(platform: Platform, subject: Subject, action: str = "decommission") -> Any:
    """The raw answer to a command on the application."""
    body = REASON if action == "decommission" else None
    return platform.admin.post(f"/v1/applications/{subject.application_id}/{action}", body)


def deprecated(platform: Platform) -> Subject:
    """A deprecated application that never had an environment."""
    subject = platform.new_subject()
    assert ask(platform, subject, "deprecate").status_code == 200
    return subject


def decommissioning_of(platform: Platform, subject: Subject) -> str:
    """The id of a new decommissioning of a deprecated application."""
    answer = ask(platform, subject)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["requestId"])


def standing(platform: Platform, subject: Subject) -> tuple[str, set[str], str]:
    """The states of the application, of its repositories and of its integration."""
    path = f"/v1/applications/{subject.application_id}"
    repositories = platform.admin.seen(f"{path}/repositories")["items"]
    (integration,) = platform.admin.seen(f"{path}/gitops-integrations")["items"]
    own = [each for each in repositories if each["kind"] != "application_environment"]
    return (
        platform.admin.seen(path)["state"],
        {each["state"] for each in own},
        integration["state"],
    )


def environments(platform: Platform, subject: Subject) -> list[str]:
    path = f"/v1/applications/{subject.application_id}/environments"
    return [each["state"] for each in platform.admin.seen(path)["items"]]


def failed_early(platform: Platform, request_id: str, attempt: int = 1) -> None:
    """A run began and archived nothing."""
    run = claimed(platform, request_id, attempt=attempt)
    run.start(run.steps[0])
    assert run.fail(run.steps[0], retryable=False) == "failed"


def finished(run: EngineRun) -> None:
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"


def test_it_ends_after_its_environments_with_all_it_has(platform: Platform) -> None:
    secret = secret_in_use(platform)
    subject = secret.subject
    decommissioned(platform, secret)
    assert ask(platform, subject, "deprecate").status_code == 200
    request_id = decommissioning_of(platform, subject)
    assert standing(platform, subject) == ("Decommissioning", {"Active"}, "Suspended")
    assert offers(platform)[request_id]["workflow"] == "ApplicationDecommissioning"

    run = claimed(platform, request_id)
    wanted = run.claim["desiredState"]
    kinds = sorted(each["kind"] for each in wanted["repositories"])
    assert kinds == ["application_environment", "code", "deployment"]
    (ended,) = wanted["endedSecrets"]
    assert ended["secret"]["secretId"] == secret.id
    assert ended["storePath"]
    finished(run)

    assert standing(platform, subject) == ("Archived", {"Archived"}, "Removed")
    assert environments(platform, subject) == ["Retired"]
    assert platform.request(request_id)["reason"] == REASON["reason"]
    assert platform.events(requestId=request_id) == [
        "application_decommissioning_requested",
        "git_repository_archived",
        "workflow_application_decommissioning_completed",
    ]


def test_only_a_deprecated_one_is_decommissioned_and_it_never_comes_back(
    platform: Platform,
) -> None:
    subject = platform.new_subject()
    assert refused(ask(platform, subject)) == "move_refused"
    assert ask(platform, subject, "deprecate").status_code == 200
    finished(claimed(platform, decommissioning_of(platform, subject)))
    for action in ("decommission", "deprecate", "onboarding"):
        answer = ask(platform, subject, action)
        assert (refused(answer), answer.json()["current"]) == ("move_refused", "Archived")
    path = f"/v1/applications/{subject.application_id}/environments"
    again = platform.admin.post(path, {"environment": subject.environment})
    assert refused(again) == "application_not_ready"
    anew = platform.admin.post("/v1/applications", {"team": subject.team, "slug": "shop"})
    assert refused(anew) == "application_exists"


@pytest.mark.parametrize("state", ["Active", "Frozen"])
def test_environments_that_have_not_ended_are_named(platform: Platform, state: str) -> None:
    secret = secret_in_use(platform)
    environment = f"/v1/application-environments/{secret.environment_id}"
    if state == "Frozen":
        platform.admin.ok(f"{environment}/freeze")
    assert ask(platform, secret.subject, "deprecate").status_code == 200
    answer = ask(platform, secret.subject)
    assert refused(answer) == "application_in_use"
    problem = answer.json()
    assert (problem["current"], problem["needed"]) == (state, ["Retired"])
    assert problem["applicationEnvironmentId"] == secret.environment_id
    assert f"{secret.subject.environment} ({state}: decommission" in problem["detail"]
    assert standing(platform, secret.subject) == ("Deprecated", {"Active"}, "Active")


def test_nothing_is_at_work_on_its_environments(platform: Platform) -> None:
    secret = secret_in_use(platform)
    environment = f"/v1/application-environments/{secret.environment_id}"
    platform.admin.ok(f"{environment}/freeze")
    ending = platform.admin.ok(f"{environment}/decommission", REASON)["requestId"]
    assert ask(platform, secret.subject, "deprecate").status_code == 200
    answer = ask(platform, secret.subject)
    assert (refused(answer), answer.json()["activeRequestId"]) == ("workflow_active", ending)


def left_by_a_failure(platform: Platform, subject: Subject) -> EngineRun:
    """A provisioning that made something and failed: the environment is Declared again."""
    run = claimed(platform, platform.provision(subject, "app-key"))
    run.do_all(run.steps[:3])
    assert run.fail(run.steps[3], retryable=False) == "failed"
    return run


def test_what_a_failed_provisioning_left_is_undone_first(platform: Platform) -> None:
    subject = platform.new_subject()
    left = left_by_a_failure(platform, subject)
    called_off = platform.provision(subject)
    platform.admin.ok(f"/v1/workflow-requests/{called_off}/cancel", {})
    assert ask(platform, subject, "deprecate").status_code == 200
    answer = ask(platform, subject)
    assert (refused(answer), answer.json()["current"]) == ("application_in_use", "Declared")
    assert f"undo request {left.request_id} first" in answer.json()["detail"]

    undo = platform.admin.ok(f"/v1/workflow-requests/{left.request_id}/undo", {})["requestId"]
    assert refused(ask(platform, subject)) == "workflow_active"
    finished(claimed(platform, undo))
    finished(claimed(platform, decommissioning_of(platform, subject)))
    assert environments(platform, subject) == ["Retired"]


def test_what_an_undo_kept_is_the_elder_requests_to_take(platform: Platform) -> None:
    subject = platform.new_subject()
    elder = left_by_a_failure(platform, subject)
    adopter = claimed(platform, platform.provision(subject, "app-key"))
    finished(adopter)
    (secret,) = platform.environment_of(adopter.request_id)["secrets"]
    undo = platform.admin.ok(f"/v1/workflow-requests/{adopter.request_id}/undo", {})["requestId"]
    keeping(platform, undo, {"item": f"secret/{secret['id']}", "effect": "kept"})
    assert "goes with the undo of that one" in platform.request(undo)["leftBehind"]
    assert ask(platform, subject, "deprecate").status_code == 200
    assert f"undo request {elder.request_id} first" in ask(platform, subject).json()["detail"]

    for request_id in (elder.request_id, adopter.request_id):
        undo = platform.admin.ok(f"/v1/workflow-requests/{request_id}/undo", {})["requestId"]
        finished(claimed(platform, undo))
    finished(claimed(platform, decommissioning_of(platform, subject)))
    assert environments(platform, subject) == ["Retired"]


def test_what_is_too_old_to_be_undone_is_no_obstacle(platform: Platform) -> None:
    subject = platform.new_subject()
    left_by_a_failure(platform, subject)
    assert ask(platform, subject, "deprecate").status_code == 200
    platform.clock.advance(REPEATABLE_FOR.total_seconds())
    run = claimed(platform, decommissioning_of(platform, subject))
    kinds = {each["kind"] for each in run.claim["desiredState"]["repositories"]}
    assert "application_environment" in kinds, "its repository is archived all the same"
    finished(run)
    assert environments(platform, subject) == ["Retired"]


def test_nothing_else_begins_on_it_meanwhile(platform: Platform) -> None:
    subject = deprecated(platform)
    request_id = decommissioning_of(platform, subject)
    answer = ask(platform, subject)
    assert (refused(answer), answer.json()["current"]) == ("move_refused", "Decommissioning")
    onboarding = platform.admin.seen(
        "/v1/workflow-requests",
        applicationId=subject.application_id,
        workflow="ApplicationOnboarding",
    )["items"][0]["id"]
    answer = platform.admin.post(f"/v1/workflow-requests/{onboarding}/undo", {})
    assert (refused(answer), answer.json()["activeRequestId"]) == ("workflow_active", request_id)


def test_cancelled_before_a_run_began_it_is_as_before(platform: Platform) -> None:
    subject = deprecated(platform)
    request_id = decommissioning_of(platform, subject)
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {})
    assert standing(platform, subject) == ("Deprecated", {"Active"}, "Active")
    assert platform.request(request_id)["leftBehind"] is None
    retry = platform.admin.post(f"/v1/workflow-requests/{request_id}/retry", {})
    assert refused(retry) == "request_never_begun"
    decommissioning_of(platform, subject)


@pytest.mark.parametrize("again", ["retry", "anew"])
def test_one_that_failed_halfway_says_what_is_left_and_goes_on(
    platform: Platform, again: str
) -> None:
    subject = deprecated(platform)
    request_id = decommissioning_of(platform, subject)
    run = claimed(platform, request_id)
    run.do_all((Step.ARCHIVE_APPLICATION_REPOSITORIES,))
    run.start(Step.VERIFY_APPLICATION_ENDED)
    assert run.fail(Step.VERIFY_APPLICATION_ENDED, retryable=False) == "failed"
    assert standing(platform, subject) == ("Deprecated", {"Active"}, "Active")
    assert "may be archived" in platform.request(request_id)["leftBehind"]
    if again == "retry":
        platform.admin.ok(f"/v1/workflow-requests/{request_id}/retry", {})
        last = claimed(platform, request_id, attempt=2)
    else:
        last = claimed(platform, decommissioning_of(platform, subject))
    finished(last)
    assert standing(platform, subject) == ("Archived", {"Archived"}, "Removed")


def test_one_that_was_asked_for_anew_is_not_retried(platform: Platform) -> None:
    subject = deprecated(platform)
    elder = decommissioning_of(platform, subject)
    failed_early(platform, elder)
    newer = decommissioning_of(platform, subject)
    failed_early(platform, newer)
    answer = platform.admin.post(f"/v1/workflow-requests/{elder}/retry", {})
    assert (refused(answer), answer.json()["activeRequestId"]) == ("request_superseded", newer)
    platform.admin.ok(f"/v1/workflow-requests/{newer}/retry", {})


def test_a_suspended_team_ends_nothing(platform: Platform) -> None:
    subject = deprecated(platform)
    request_id = decommissioning_of(platform, subject)
    platform.admin.ok(f"/v1/teams/{subject.team}/suspend")
    answer = ask_claim(platform, request_id, "r" * 36)
    assert refused(answer) == "team_not_active"
    assert platform.request(request_id)["state"] == "failed"
    assert standing(platform, subject) == ("Deprecated", {"Active"}, "Active")
    assert refused(ask(platform, subject)) == "team_not_active"


def test_neither_it_nor_what_it_ended_is_undone(platform: Platform) -> None:
    subject = deprecated(platform)
    run = claimed(platform, decommissioning_of(platform, subject))
    finished(run)
    answer = platform.admin.post(f"/v1/workflow-requests/{run.request_id}/undo", {})
    assert refused(answer) == "not_undoable"
    assert "nothing it ended comes back" in answer.json()["detail"]
    preview = platform.admin.seen(f"/v1/workflow-requests/{run.request_id}/undo")
    assert {each["fate"] for each in preview["items"]} == {"irreversible"}


def test_a_launch_from_the_ui_decommissions(platform: Platform) -> None:
    subject = platform.new_subject()
    name, reason = APPLICATION_DECOMMISSIONING.name, "It is over."
    body = {"workflow": name, "subjectId": subject.application_id, "reason": reason}
    assert refused(launch(platform, **body)) == "move_refused"
    assert ask(platform, subject, "deprecate").status_code == 200
    answer = launch(platform, **body)
    assert answer.status_code == 200, answer.text
    finished(EngineRun(platform, answer.json()))
    assert standing(platform, subject)[0] == "Archived"


def test_a_cancelled_run_gives_it_back_as_deprecated(platform: Platform) -> None:
    subject = deprecated(platform)
    run = claimed(platform, decommissioning_of(platform, subject))
    run.start(run.steps[0])
    platform.admin.ok(f"/v1/workflow-requests/{run.request_id}/cancel", {})
    assert report(platform, run, "canceled")["state"] == "cancelled"
    assert standing(platform, subject) == ("Deprecated", {"Active"}, "Active")
    assert "may be archived" in platform.request(run.request_id)["leftBehind"]


def test_an_archived_application_makes_place_for_another(platform: Platform) -> None:
    subject = deprecated(platform)
    path = f"/v1/teams/{subject.team}/limits"
    assert platform.admin.seen(path)["maxApplications"]["used"] == 1
    finished(claimed(platform, decommissioning_of(platform, subject)))
    assert platform.admin.seen(path)["maxApplications"]["used"] == 0
