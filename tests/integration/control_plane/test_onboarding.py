"""An application is registered and onboarded, whatever comes between."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from control_plane.adapters.database import transaction
from control_plane.failpoints import FINALIZE_BEFORE_COMMIT
from idp_kernel.ids import new_id
from idp_kernel.workflows import APPLICATION_ONBOARDING
from tests.integration.control_plane.conftest import Platform, Subject
from tests.integration.control_plane.engine_run import (
    EngineRun,
    ask_claim,
    claimed,
    launch,
    offers,
    report,
)
from tests.integration.control_plane.held import arm
from tests.integration.control_plane.rows import counts
from tests.integration.control_plane.test_commands import assert_problem

STEPS = APPLICATION_ONBOARDING.steps
ONBOARDING = "ApplicationOnboarding"


@pytest.fixture
def subject(platform: Platform) -> Subject:
    return platform.new_subject()


def another_environment(platform: Platform) -> str:
    slug = f"env-{new_id()[-10:]}"
    platform.admin.ok("/v1/environments", {"slug": slug})
    platform.admin.ok(f"/v1/environments/{slug}/activate")
    return slug


def registered(platform: Platform, subject: Subject, *environments: Any, slug: str = "web") -> str:
    """The id of the request that onboards a new application."""
    body = {"team": subject.team, "slug": slug, "environments": list(environments)}
    return str(platform.admin.ok("/v1/applications", body)["requestId"])


def application_of(platform: Platform, request_id: str) -> Any:
    application_id = platform.request(request_id)["applicationId"]
    return platform.admin.seen(f"/v1/applications/{application_id}")


def environments_of(platform: Platform, request_id: str) -> Any:
    application_id = platform.request(request_id)["applicationId"]
    found = platform.admin.seen(f"/v1/applications/{application_id}/environments")["items"]
    return {each["environment"]: each for each in found}


def states(platform: Platform, request_id: str) -> tuple[str, set[str], str]:
    """Of the application, its repositories and its integration."""
    application = application_of(platform, request_id)
    with transaction(platform.engine) as connection:
        query = text("SELECT state FROM gitops_integrations WHERE application_id = :id")
        integration = connection.execute(query, {"id": application["id"]}).scalar_one()
    repositories = {each["state"] for each in application["repositories"]}
    return application["state"], repositories, str(integration)


APPROVED = ("Approved", {"Declared"}, "Declared")
AT_WORK = ("Onboarding", {"Provisioning"}, "Connecting")
ACTIVE = ("Active", {"Active"}, "Active")


# ── success ──────────────────────────────────────────────────────────────────────────────────


def test_a_command_becomes_an_active_application_with_its_environments(
    platform: Platform, subject: Subject
) -> None:
    declared = another_environment(platform)
    body = {
        "team": subject.team,
        "slug": "web",
        "description": "Shop front",
        "environments": [
            {
                "environment": subject.environment,
                "provision": True,
                "secrets": [{"name": "db", "issuer": "postgres", "sensitivity": "high"}],
            },
            {"environment": declared},
        ],
    }
    answer = platform.admin.post("/v1/applications", body)
    assert answer.status_code == 202
    accepted = answer.json()
    request_id = accepted["requestId"]
    assert answer.headers["Location"] == f"/v1/workflow-requests/{request_id}"
    assert (accepted["workflow"], accepted["state"]) == (ONBOARDING, "pending")
    application = application_of(platform, request_id)
    assert application["id"] == accepted["applicationId"]
    assert application["activeRequestId"] == request_id
    assert states(platform, request_id) == AT_WORK
    assert environments_of(platform, request_id) == {}

    offer = offers(platform)[request_id]
    assert (offer["workflow"], offer["applicationId"]) == (ONBOARDING, application["id"])
    assert offer["applicationEnvironmentId"] is None
    run = claimed(platform, request_id)
    wanted = run.claim["desiredState"]
    assert wanted["description"] == "Shop front"
    assert [(wanted[each]["kind"], wanted[each]["owner"], wanted[each]["name"]) for each in (
        "codeRepository", "deploymentRepository",
    )] == [("code", subject.team, "web"), ("deployment", subject.team, "web-deploy")]  # fmt: skip
    run.do_all(STEPS[:5])
    run.start(STEPS[5])
    ids = run.declare_environments()
    assert set(ids) == {subject.environment, declared}
    run.end(STEPS[5])
    assert {each["state"] for each in environments_of(platform, request_id).values()} == {
        "Declared"
    }
    assert run.finalize().json()["state"] == "succeeded"

    assert states(platform, request_id) == ACTIVE
    application = application_of(platform, request_id)
    assert application["activeRequestId"] is None
    assert {(each["kind"], each["url"]) for each in application["repositories"]} == {
        ("code", f"http://forge/{subject.team}/web.git"),
        ("deployment", f"http://forge/{subject.team}/web-deploy.git"),
    }
    environments = environments_of(platform, request_id)
    assert {slug: each["id"] for slug, each in environments.items()} == ids
    assert environments[declared]["state"] == "Declared"
    assert environments[declared]["activeRequestId"] is None
    assert [each["name"] for each in environments[declared]["secrets"]] == ["app-key"]
    assert environments[subject.environment]["state"] == "Provisioning"
    assert platform.events(requestId=request_id) == [
        "application_created",
        "git_repository_created",
        "git_repository_created",
        "git_repository_seeded",
        "git_branch_protection_applied",
        "application_environment_declared",
        "application_environment_declared",
        "workflow_application_onboarding_completed",
    ]
    created = platform.admin.seen("/v1/events", requestId=request_id)["items"][1]
    assert created["subject"] == f"application/{application['id']}"

    provisioning = claimed(platform, environments[subject.environment]["activeRequestId"])
    secrets = provisioning.claim["desiredState"]["secrets"]
    assert [(each["name"], each["issuer"]) for each in secrets] == [("db", "postgres")]
    provisioning.do_all()
    assert provisioning.finalize().json()["state"] == "succeeded"
    (secret,) = environments_of(platform, request_id)[subject.environment]["secrets"]
    assert (secret["issuer"], secret["sensitivity"]) == ("postgres", "high")


def test_the_provisioning_it_asks_for_is_by_the_same_person_in_the_same_trace(
    platform: Platform, subject: Subject
) -> None:
    maintainer = platform.member(subject.team, "team-maintainer")
    body = {
        "team": subject.team,
        "slug": "web",
        "environments": [{"environment": subject.environment, "provision": True}],
    }
    run = claimed(platform, maintainer.ok("/v1/applications", body)["requestId"])
    run.declare_environments()
    run.finalize()
    appenv = environments_of(platform, run.request_id)[subject.environment]
    provisioning = platform.request(appenv["activeRequestId"])
    assert provisioning["requestedBy"] == maintainer.seen("/v1/whoami")["principal"]
    assert run.request_id in provisioning["reason"]
    claim = claimed(platform, provisioning["id"]).claim
    assert claim["traceparent"] == run.claim["traceparent"]


def test_finalize_fills_in_what_no_hook_told_and_repeats_change_nothing(
    platform: Platform, subject: Subject
) -> None:
    wanted = {"environment": subject.environment, "provision": True}
    run = claimed(platform, registered(platform, subject, wanted))
    run.declare_environments()
    before = counts(platform)
    for _ in range(2):
        assert run.finalize().json()["state"] == "succeeded"
    assert counts(platform)["workflow_requests"] == before["workflow_requests"] + 1
    request = platform.request(run.request_id)
    assert [step["state"] for step in request["steps"]] == ["succeeded"] * len(STEPS)


def test_the_provisioning_is_asked_for_when_the_onboarding_succeeds_and_not_before(
    platform: Platform, subject: Subject, failpoints: Path
) -> None:
    wanted = {"environment": subject.environment, "provision": True}
    run = claimed(platform, registered(platform, subject, wanted))
    run.declare_environments()
    held = arm(failpoints, FINALIZE_BEFORE_COMMIT)
    with ThreadPoolExecutor(1) as pool:
        finalized = pool.submit(run.finalize)
        held.wait()
        assert states(platform, run.request_id) == AT_WORK
        (appenv,) = environments_of(platform, run.request_id).values()
        assert (appenv["state"], appenv["activeRequestId"]) == ("Declared", None)
        held.let_go()
    assert finalized.result().json()["state"] == "succeeded"
    (appenv,) = environments_of(platform, run.request_id).values()
    assert appenv["activeRequestId"] in offers(platform)


def test_finalize_needs_every_outcome_and_every_environment(
    platform: Platform, subject: Subject
) -> None:
    run = claimed(platform, registered(platform, subject, {"environment": subject.environment}))
    refused = run.say("finalize", outcomes={})
    assert (refused.status_code, refused.json()["code"]) == (422, "outcomes_missing")
    undeclared = run.finalize()
    assert (undeclared.status_code, undeclared.json()["code"]) == (422, "outcomes_missing")
    nowhere = run.say("finalize", outcomes={step: {} for step in STEPS[:-1]})
    assert (nowhere.status_code, nowhere.json()["code"]) == (422, "outcomes_missing")
    assert states(platform, run.request_id) == AT_WORK
    assert platform.request(run.request_id)["steps"] == []


# ── environments ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("patience")
def test_environments_are_declared_once_however_often_it_is_asked(
    platform: Platform, subject: Subject
) -> None:
    more = another_environment(platform)
    wanted = [{"environment": subject.environment}, {"environment": more}]
    request_id = registered(platform, subject, *wanted)
    run = claimed(platform, request_id)
    first = run.declare_environments()
    before = counts(platform)
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda _: run.declare_environments(), range(4)))
    assert again == [first] * 4
    run.fail(STEPS[5], retryable=True)
    platform.clock.advance(1.1)
    next_run = claimed(platform, request_id, attempt=2)
    assert next_run.declare_environments() == first
    after = counts(platform)
    for table in ("application_environments", "appenv_repositories", "secrets", "secret_bindings"):
        assert after[table] == before[table], table
    events = platform.events(requestId=request_id)
    assert events.count("application_environment_declared") == 2
    late = run.say("declare-environments")
    assert (late.status_code, late.json()["code"]) == (409, "claim_lost")


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({}, ["cache", "db"]),
        ({"secrets": None}, ["cache", "db"]),
        ({"secrets": []}, ["cache", "db"]),
        ({"secrets": [{"name": "app-key"}]}, ["app-key", "cache", "db"]),
        ({"secrets": [{"name": "db", "sensitivity": "high"}]}, ["cache", "db"]),
    ],
)
def test_provisioning_later_brings_every_secret_that_was_declared(
    platform: Platform, subject: Subject, named: Any, expected: list[str]
) -> None:
    wanted = {
        "environment": subject.environment,
        "secrets": [{"name": "db", "issuer": "postgres"}, {"name": "cache"}],
    }
    request_id = registered(platform, subject, wanted)
    onboarding = claimed(platform, request_id)
    onboarding.declare_environments()
    onboarding.finalize()
    application_id = platform.request(request_id)["applicationId"]
    path = f"/v1/applications/{application_id}/environments"
    body = {"environment": subject.environment, **named}
    run = claimed(platform, platform.admin.ok(path, body)["requestId"])
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    appenv = environments_of(platform, request_id)[subject.environment]
    assert appenv["state"] == "Active"
    assert {each["name"]: each["state"] for each in appenv["secrets"]} == dict.fromkeys(
        expected, "Active"
    )
    (db,) = [each for each in appenv["secrets"] if each["name"] == "db"]
    assert db["issuer"] == "postgres"


def test_a_new_environment_gets_a_key_unless_told_otherwise(
    platform: Platform, subject: Subject
) -> None:
    path = f"/v1/applications/{subject.application_id}/environments"
    for named, expected in (({}, ["app-key"]), ({"secrets": []}, [])):
        body = {"environment": another_environment(platform), **named}
        run = claimed(platform, platform.admin.ok(path, body)["requestId"])
        assert [each["name"] for each in run.claim["desiredState"]["secrets"]] == expected


def test_only_an_onboarding_declares_environments(platform: Platform, subject: Subject) -> None:
    run = claimed(platform, platform.provision(subject))
    refused = run.say("declare-environments")
    assert (refused.status_code, refused.json()["code"]) == (422, "wrong_workflow")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/environments/{environment}/freeze", "environment_not_active"),
        ("/v1/teams/{team}/suspend", "team_not_active"),
    ],
)
def test_what_cannot_be_provisioned_by_then_stays_declared_and_is_told(
    platform: Platform, subject: Subject, path: str, code: str
) -> None:
    free = another_environment(platform)
    wanted = [{"environment": slug, "provision": True} for slug in (subject.environment, free)]
    run = claimed(platform, registered(platform, subject, *wanted))
    platform.admin.ok(path.format(environment=subject.environment, team=subject.team))
    run.declare_environments()
    assert run.finalize().json()["state"] == "succeeded"
    assert states(platform, run.request_id) == ACTIVE
    environments = environments_of(platform, run.request_id)
    refused = environments[subject.environment]
    assert (refused["state"], refused["activeRequestId"]) == ("Declared", None)
    told = platform.admin.seen(
        "/v1/events",
        subject=f"application_environment/{refused['id']}",
        type="application_environment_provisioning_refused",
    )["items"]
    assert [event["data"]["reason"] for event in told] == [code]
    assert told[0]["data"]["message"]
    if code == "environment_not_active":
        assert environments[free]["state"] == "Provisioning"


def test_an_application_gets_environments_only_once_it_is_onboarded(
    platform: Platform, subject: Subject
) -> None:
    request_id = registered(platform, subject)
    application_id = platform.request(request_id)["applicationId"]
    path = f"/v1/applications/{application_id}/environments"
    body = {"environment": subject.environment}
    assert_problem(platform.admin.post(path, body), 409, "application_not_ready")
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {})
    assert_problem(platform.admin.post(path, body), 409, "application_not_ready")
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/retry", {})
    claimed(platform, request_id, attempt=2).finalize()
    assert platform.admin.post(path, body).status_code == 202


def test_a_secret_keeps_the_issuer_it_was_declared_with(
    platform: Platform, subject: Subject
) -> None:
    path = f"/v1/applications/{subject.application_id}/environments"
    for issuer in ("postgres", "openbao"):
        secrets = [{"name": "db", "issuer": issuer, "sensitivity": "low"}]
        body = {"environment": subject.environment, "secrets": secrets}
        request_id = platform.admin.ok(path, body)["requestId"]
        run = claimed(platform, request_id)
        (secret,) = run.claim["desiredState"]["secrets"]
        assert (secret["issuer"], secret["sensitivity"]) == ("postgres", "low")
        run.fail(run.steps[0], retryable=False)


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_any_step_gives_the_application_back_and_a_retry_succeeds(
    platform: Platform, subject: Subject, step: Any
) -> None:
    wanted = {"environment": subject.environment, "provision": True}
    request_id = registered(platform, subject, wanted)
    run = claimed(platform, request_id)
    for done in STEPS[: STEPS.index(step)]:
        run.start(done)
        if done is STEPS[5]:
            run.declare_environments()
        run.end(done)
    run.start(step)
    assert run.fail(step, retryable=False) == "failed"
    assert states(platform, request_id) == APPROVED
    assert application_of(platform, request_id)["activeRequestId"] is None
    assert {each["state"] for each in environments_of(platform, request_id).values()} <= {
        "Declared"
    }
    assert platform.events(requestId=request_id)[-1] == "workflow_application_onboarding_failed"

    platform.admin.ok(f"/v1/workflow-requests/{request_id}/retry", {"reason": "repaired"})
    assert states(platform, request_id) == AT_WORK
    again = claimed(platform, request_id, attempt=2)
    assert set(again.claim["outcomes"]) == set(STEPS[: STEPS.index(step)])
    assert again.claim["desiredState"] == run.claim["desiredState"]
    again.declare_environments()
    assert again.finalize().json()["state"] == "succeeded"
    assert states(platform, request_id) == ACTIVE
    appenv = environments_of(platform, request_id)[subject.environment]
    assert appenv["state"] == "Provisioning"
    refused = platform.admin.post(f"/v1/workflow-requests/{request_id}/retry", {})
    assert_problem(refused, 409, "move_refused")


def test_a_cancelled_onboarding_gives_the_application_back(
    platform: Platform, subject: Subject
) -> None:
    request_id = registered(platform, subject)
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {"reason": "typo"})
    assert states(platform, request_id) == APPROVED
    assert request_id not in offers(platform)

    running = registered(platform, subject, slug="other")
    run = claimed(platform, running)
    run.start(STEPS[0])
    platform.admin.ok(f"/v1/workflow-requests/{running}/cancel", {"reason": "typo"})
    refused = run.say("declare-environments")
    assert (refused.status_code, refused.json()["code"]) == (409, "cancel_requested")
    assert report(platform, run, "canceled") == {"accepted": True, "state": "cancelled"}
    assert states(platform, running) == APPROVED


def test_a_lost_run_leaves_its_onboarding_to_the_next(platform: Platform, subject: Subject) -> None:
    request_id = registered(platform, subject)
    run = claimed(platform, request_id)
    run.do_all(STEPS[:2])
    platform.sweep_after(16)
    assert platform.request(request_id)["state"] == "pending"
    assert states(platform, request_id) == AT_WORK
    report(platform, run, "failed")
    again = claimed(platform, request_id, attempt=2)
    assert set(again.claim["outcomes"]) == set(STEPS[:2])
    assert again.finalize().json()["state"] == "succeeded"


def test_an_onboarding_past_its_deadline_gives_the_application_back(
    platform: Platform, subject: Subject
) -> None:
    request_id = registered(platform, subject)
    platform.sweep_after(30 * 60 + 1)
    assert platform.request(request_id)["state"] == "timed_out"
    assert states(platform, request_id) == APPROVED


def test_a_team_suspended_since_the_command_fails_the_claim_and_refuses_a_retry(
    platform: Platform, subject: Subject
) -> None:
    request_id = registered(platform, subject)
    platform.admin.ok(f"/v1/teams/{subject.team}/suspend")
    assert_problem(ask_claim(platform, request_id, new_id()), 409, "team_not_active")
    assert states(platform, request_id) == APPROVED
    retry = f"/v1/workflow-requests/{request_id}/retry"
    assert_problem(platform.admin.post(retry, {}), 409, "team_not_active")
    assert states(platform, request_id) == APPROVED


# ── by hand ──────────────────────────────────────────────────────────────────────────────────


def test_a_launch_by_hand_onboards_an_approved_application_as_it_was_asked_for(
    platform: Platform, subject: Subject
) -> None:
    wanted = {"environment": subject.environment, "provision": True}
    first = registered(platform, subject, wanted)
    application_id = platform.request(first)["applicationId"]
    by_hand = {"workflow": ONBOARDING, "subjectId": application_id, "reason": "try"}
    busy = launch(platform, **by_hand)
    assert (busy.status_code, busy.json()["code"]) == (409, "workflow_active")
    assert busy.json()["activeRequestId"] == first
    old = claimed(platform, first)
    old.declare_environments()
    old.fail(STEPS[0], retryable=False)

    assert_problem(launch(platform, **{**by_hand, "reason": ""}), 422, "reason_required")
    assert_problem(launch(platform, **{**by_hand, "subjectId": None}), 422, "subject_required")
    assert_problem(launch(platform, **{**by_hand, "subjectId": new_id()}), 404)
    assert_problem(launch(platform, **by_hand, phase=2), 409, "wrong_phase")
    assert states(platform, first) == APPROVED

    run_id = new_id()
    launched = launch(platform, **by_hand, runId=run_id)
    assert launched.status_code == 200, launched.text
    assert (
        launch(platform, **by_hand, runId=run_id).json()["requestId"]
        == (launched.json()["requestId"])
    )
    assert launched.json()["requestId"] != first
    assert launched.json()["desiredState"] == old.claim["desiredState"]
    newer = launch(platform, workflow=ONBOARDING, parentRunId=old.run_id)
    assert (newer.status_code, newer.json()["code"]) == (409, "workflow_active")

    run = EngineRun(platform, launch(platform, **by_hand, runId=run_id).json())
    run.declare_environments()
    assert run.finalize().json()["state"] == "succeeded"
    assert states(platform, first) == ACTIVE
    request = platform.request(run.request_id)
    assert (request["requestedBy"], request["reason"]) == ("dagster-ui (local)", "try")
    assert_problem(launch(platform, **by_hand), 409, "move_refused")
    assert_problem(platform.admin.post(f"/v1/workflow-requests/{first}/retry", {}), 409)


def test_a_launch_by_hand_checks_what_the_command_checked(
    platform: Platform, subject: Subject
) -> None:
    request_id = registered(platform, subject, {"environment": subject.environment})
    claimed(platform, request_id).fail(STEPS[0], retryable=False)
    platform.admin.ok(f"/v1/environments/{subject.environment}/freeze")
    application_id = platform.request(request_id)["applicationId"]
    by_hand = {"workflow": ONBOARDING, "subjectId": application_id, "reason": "try"}
    assert_problem(launch(platform, **by_hand), 409, "environment_not_active")
    assert states(platform, request_id) == APPROVED
    requests = platform.admin.seen("/v1/workflow-requests", applicationId=application_id)["items"]
    assert [each["id"] for each in requests] == [request_id]


def test_an_application_from_before_onboarding_is_onboarded_by_hand(
    platform: Platform, subject: Subject
) -> None:
    application_id = new_id()
    with transaction(platform.engine) as connection:
        query = text(
            "INSERT INTO applications (id, team_id, slug, description, state, created_at)"
            " SELECT :id, id, 'elder', '', 'Approved', now() FROM teams WHERE slug = :team"
        )
        connection.execute(query, {"id": application_id, "team": subject.team})
    launched = launch(platform, workflow=ONBOARDING, subjectId=application_id, reason="upgrade")
    assert launched.status_code == 200, launched.text
    run = EngineRun(platform, launched.json())
    assert run.finalize().json()["state"] == "succeeded"
    assert states(platform, run.request_id) == ACTIVE


# ── by command ───────────────────────────────────────────────────────────────────────────────


def test_an_onboarding_that_was_given_up_is_asked_for_again(
    platform: Platform, subject: Subject
) -> None:
    wanted = {"environment": subject.environment, "provision": True}
    first = registered(platform, subject, wanted)
    path = f"/v1/applications/{platform.request(first)['applicationId']}/onboarding"
    busy = platform.admin.post(path)
    assert_problem(busy, 409, "workflow_active")
    assert busy.json()["activeRequestId"] == first
    platform.admin.ok(f"/v1/workflow-requests/{first}/cancel", {"reason": "typo"})

    maintainer, key = platform.member(subject.team, "team-maintainer"), new_id()
    answer = maintainer.post(path, key=key)
    assert answer.status_code == 202
    accepted = answer.json()
    assert answer.headers["Location"] == f"/v1/workflow-requests/{accepted['requestId']}"
    assert (accepted["workflow"], accepted["state"]) == (ONBOARDING, "pending")
    assert maintainer.post(path, key=key).json() == accepted
    assert accepted["requestId"] != first
    assert states(platform, first) == AT_WORK
    run = claimed(platform, accepted["requestId"])
    run.declare_environments()
    assert run.finalize().json()["state"] == "succeeded"
    assert environments_of(platform, first)[subject.environment]["state"] == "Provisioning"
    assert_problem(maintainer.post(path), 409, "move_refused")


def test_asking_for_an_onboarding_checks_what_registering_checked(
    platform: Platform, subject: Subject
) -> None:
    request_id = registered(platform, subject, {"environment": subject.environment})
    path = f"/v1/applications/{platform.request(request_id)['applicationId']}/onboarding"
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {})
    environment = f"/v1/environments/{subject.environment}"
    platform.admin.ok(f"{environment}/freeze")
    assert_problem(platform.admin.post(path), 409, "environment_not_active")
    platform.admin.ok(f"{environment}/unfreeze")
    platform.admin.ok(f"/v1/teams/{subject.team}/suspend")
    assert_problem(platform.admin.post(path), 409, "team_not_active")
    assert states(platform, request_id) == APPROVED


def test_a_re_run_asks_for_the_next_attempt(platform: Platform, subject: Subject) -> None:
    request_id = registered(platform, subject)
    parent = claimed(platform, request_id)
    parent.fail(STEPS[2], retryable=False)
    wrong = launch(platform, parentRunId=parent.run_id)
    assert (wrong.status_code, wrong.json()["code"]) == (409, "wrong_phase")
    assert states(platform, request_id) == APPROVED
    answer = launch(platform, workflow=ONBOARDING, parentRunId=parent.run_id)
    assert (answer.json()["requestId"], answer.json()["attempt"]) == (request_id, 2)
    assert states(platform, request_id) == AT_WORK


# ── bad input ────────────────────────────────────────────────────────────────────────────────


def test_what_cannot_be_onboarded_is_refused_and_leaves_nothing(
    platform: Platform, subject: Subject
) -> None:
    ours, frozen, planned = subject.environment, another_environment(platform), f"p{new_id()[-9:]}"
    platform.admin.ok(f"/v1/environments/{frozen}/freeze")
    platform.admin.ok("/v1/environments", {"slug": planned})
    twice = [{"name": "app-key"}, {"name": "app-key"}]
    many = [{"name": f"s-{number}"} for number in range(51)]
    environments: list[tuple[list[Any], int, str]] = [
        ([{"environment": "no-such-env"}], 404, "not_found"),
        ([{"environment": ours}, {"environment": "no-such-env"}], 404, "not_found"),
        ([{"environment": frozen}], 409, "environment_not_active"),
        ([{"environment": ours}, {"environment": planned}], 409, "environment_not_active"),
        ([{"environment": ours}, {"environment": ours}], 422, "declared_twice"),
        ([{"environment": ours, "secrets": twice}], 422, "declared_twice"),
        ([{"environment": ours, "secrets": many}], 422, "invalid_input"),
        ([{"environment": ours, "secrets": [{"name": "a", "issuer": "x"}]}], 422, "invalid_input"),
        ([{"environment": ours, "surprise": 1}], 422, "invalid_input"),
        ([{"environment": "../x"}], 422, "invalid_input"),
        ([{"environment": f"e-{number}"} for number in range(21)], 422, "invalid_input"),
    ]
    before = counts(platform)
    for wanted, status, code in environments:
        body = {"team": subject.team, "slug": "web", "environments": wanted}
        assert_problem(platform.admin.post("/v1/applications", body), status, code)
    for bad in ({"slug": "web"}, {"team": subject.team}, {"team": subject.team, "slug": "a\x00"}):
        assert_problem(platform.admin.post("/v1/applications", bad), 422, "invalid_input")
    taken = {"team": subject.team, "slug": f"{subject.application}-deploy"}
    assert_problem(platform.admin.post("/v1/applications", taken), 409, "repository_name_taken")
    for reserved in ("appenv", "appenv-billing"):
        body = {"team": subject.team, "slug": reserved}
        assert_problem(platform.admin.post("/v1/applications", body), 422, "slug_reserved")
    again = {"team": subject.team, "slug": subject.application}
    assert_problem(platform.admin.post("/v1/applications", again), 409, "application_exists")
    assert counts(platform) == before


@pytest.mark.usefixtures("patience")
def test_the_same_registration_acts_once(platform: Platform, subject: Subject) -> None:
    body, key = {"team": subject.team, "slug": "web"}, new_id()
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: platform.admin.post("/v1/applications", body, key=key), range(8))
        )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1


# ── looking ──────────────────────────────────────────────────────────────────────────────────


def test_applications_and_requests_can_be_picked_out(platform: Platform, subject: Subject) -> None:
    request_id = registered(platform, subject)
    listed = platform.admin.seen("/v1/applications", team=subject.team)["items"]
    assert [each["slug"] for each in listed] == ["shop", "web"]
    assert [len(each["repositories"]) for each in listed] == [2, 2]
    assert listed[1] == application_of(platform, request_id)
    (at_work,) = platform.admin.seen("/v1/applications", team=subject.team, state="Onboarding")[
        "items"
    ]
    assert (at_work["slug"], at_work["activeRequestId"]) == ("web", request_id)
    (found,) = platform.admin.seen("/v1/workflow-requests", applicationId=at_work["id"])["items"]
    assert found["id"] == request_id
    assert platform.admin.seen("/v1/workflow-requests", secretId=new_id())["items"] == []
    assert_problem(platform.admin.get("/v1/applications", state="odd"), 422, "invalid_input")
