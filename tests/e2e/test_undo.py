"""What a request made is taken back; asked of the forge, the store and the agent themselves."""

from __future__ import annotations

from typing import Any

import pytest

from idp_kernel.services import DEFAULT_PORTS
from idp_kernel.wire.agent import RECONCILIATION
from idp_kernel.wire.worker import appenv_repository_name
from idp_kernel.workflows import COMPENSATION, Step
from tests.e2e import dagster_ui
from tests.e2e.failures import fails_to_provision, lets_it_provision, stranger_path
from tests.e2e.oracle import events_of
from tests.e2e.platform import Platform, Subject, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.system]


def undo(platform: Platform, request_id: str) -> dict[str, Any]:
    """The ended request that undid that one."""
    accepted = platform.ok("POST", f"/v1/workflow-requests/{request_id}/undo", {"reason": "x"})
    assert accepted["workflow"] == "Compensation"
    return platform.ended(accepted["requestId"])


def preview(platform: Platform, request_id: str) -> dict[str, Any]:
    found: dict[str, Any] = platform.ok("GET", f"/v1/workflow-requests/{request_id}/undo")
    return found


def fates(shown: dict[str, Any]) -> dict[str, set[str]]:
    """By kind of thing."""
    found: dict[str, set[str]] = {}
    for each in shown["items"]:
        found.setdefault((each["item"] or "-").partition("/")[0], set()).add(each["fate"])
    return found


def has_repository(platform: Platform, owner: str, name: str) -> bool:
    asked = platform.git(
        "ls-remote", f"{platform.forge_url}/{owner}/{name}.git", token=platform.admin_token
    )
    return asked.returncode == 0


def has_secret(platform: Platform, path: str) -> bool:
    found = platform.openbao(f"kv/metadata/{path}", platform.openbao_root_token)
    assert found.status_code in (200, 404), found.text
    return found.status_code == 200


def is_listed(platform: Platform, owner: str, name: str) -> bool:
    token = (platform.home / "keys" / "gitops-agent-reader.token").read_text().strip()
    path = RECONCILIATION.format(owner=owner, name=name)
    answer = platform.client.get(
        platform.url(DEFAULT_PORTS.local_gitops_agent, path),
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code in (200, 404), answer.text
    return answer.status_code == 200


def assert_standing(
    platform: Platform, subject: Subject, request: dict[str, Any], *, there: bool
) -> None:
    """Whether forge, store and agent have what the provisioning made."""
    name = appenv_repository_name(request["applicationEnvironmentId"])
    assert has_repository(platform, subject.team, name) is there
    assert is_listed(platform, subject.team, name) is there
    assert has_secret(platform, stranger_path(subject, request)) is there


def appenv_state(platform: Platform, request: dict[str, Any]) -> str:
    appenv_id = request["applicationEnvironmentId"]
    return str(platform.ok("GET", f"/v1/application-environments/{appenv_id}")["state"])


def test_what_was_provisioned_is_taken_back_and_can_be_asked_for_anew(
    platform: Platform, subject: Subject
) -> None:
    first = platform.ended(platform.provision(subject)["requestId"])
    assert_standing(platform, subject, first, there=True)
    shown = preview(platform, first["id"])
    assert shown["mayBeUndone"]
    assert fates(shown) == {
        kind: {"removed"} for kind in ("bindings", "secret", "protection", "repository")
    }

    undone = undo(platform, first["id"])

    assert undone["state"] == "succeeded", undone
    assert (undone["undoes"], platform.request(first["id"])["undoneBy"]) == (
        first["id"],
        undone["id"],
    )
    assert_standing(platform, subject, first, there=False)
    appenv_id = first["applicationEnvironmentId"]
    appenv = platform.ok("GET", f"/v1/application-environments/{appenv_id}")
    assert appenv["state"] == "Declared"
    (secret,) = appenv["secrets"]
    assert (secret["state"], secret["version"]) == ("Declared", None)
    assert events_of(platform, undone["id"]) == [
        "workflow_request_undo_requested",
        "workflow_compensation_completed",
    ]
    again = platform.api("POST", f"/v1/workflow-requests/{first['id']}/undo", {})
    assert (again.status_code, again.json()["code"]) == (409, "request_undone")

    second = platform.ended(platform.provision(subject)["requestId"])
    assert second["state"] == "succeeded", second
    assert second["applicationEnvironmentId"] == appenv_id
    assert_standing(platform, subject, second, there=True)


def test_what_a_failed_request_left_is_taken_back(platform: Platform, subject: Subject) -> None:
    failed = fails_to_provision(platform, subject)
    name = appenv_repository_name(failed["applicationEnvironmentId"])
    assert has_repository(platform, subject.team, name)

    undone = undo(platform, failed["id"])

    assert undone["state"] == "succeeded", undone
    assert not has_repository(platform, subject.team, name)
    assert not is_listed(platform, subject.team, name)
    assert has_secret(platform, stranger_path(subject, failed)), "the stranger's own stays"
    assert appenv_state(platform, failed) == "Declared"


def test_what_a_later_request_lives_on_stays(platform: Platform, subject: Subject) -> None:
    failed = fails_to_provision(platform, subject)
    lets_it_provision(platform, subject, failed)
    second = platform.ended(platform.provision(subject)["requestId"])
    assert second["state"] == "succeeded", second
    shown = preview(platform, failed["id"])
    assert fates(shown)["repository"] == {"kept"}
    assert any(second["id"] in each["reason"] for each in shown["items"])

    undone = undo(platform, failed["id"])

    assert undone["state"] == "succeeded", undone
    assert_standing(platform, subject, second, there=True)
    assert appenv_state(platform, second) == "Active"
    assert "repository/" in undone["leftBehind"]

    assert undo(platform, second["id"])["state"] == "succeeded"
    name = appenv_repository_name(failed["applicationEnvironmentId"])
    assert has_repository(platform, subject.team, name), "it is not the second one's own"
    last = undo(platform, failed["id"])

    assert last["state"] == "succeeded", last
    assert_standing(platform, subject, failed, there=False)
    assert platform.request(failed["id"])["undoneBy"] == last["id"]


def test_an_undo_is_launched_from_the_launchpad(platform: Platform, subject: Subject) -> None:
    first = platform.ended(platform.provision(subject)["requestId"])
    config = {"request_id": first["id"], "reason": "asked for by phone"}
    run_id = dagster_ui.launch(platform, config, COMPENSATION.phase(1).job_name)
    run = dagster_ui.ended_run(platform, run_id)
    assert run["status"] == "SUCCESS", dagster_ui.messages(run)
    undone = platform.request(platform.request(first["id"])["undoneBy"])
    assert (undone["requestedBy"], undone["reason"]) == (
        "dagster-ui (local)",
        "asked for by phone",
    )
    assert_standing(platform, subject, first, there=False)
    again = dagster_ui.launch(platform, config, COMPENSATION.phase(1).job_name)
    refused = dagster_ui.ended_run(platform, again)
    assert refused["status"] == "FAILURE"
    assert undone["id"] in dagster_ui.messages(refused)


def test_an_onboarding_is_taken_back_once_its_environments_are(platform: Platform) -> None:
    subject = platform.new_subject()
    application = platform.ok("GET", f"/v1/applications/{subject.application_id}")
    (onboarding,) = platform.ok(
        "GET",
        f"/v1/workflow-requests?applicationId={subject.application_id}"
        "&workflow=ApplicationOnboarding",
    )["items"]
    provisioning = platform.ended(platform.provision(subject)["requestId"])
    refused = platform.api("POST", f"/v1/workflow-requests/{onboarding['id']}/undo", {})
    assert (refused.status_code, refused.json()["code"]) == (409, "application_in_use")
    assert undo(platform, provisioning["id"])["state"] == "succeeded"

    undone = undo(platform, onboarding["id"])

    assert undone["state"] == "succeeded", undone
    slug = application["slug"]
    assert not has_repository(platform, subject.team, slug)
    assert not has_repository(platform, subject.team, f"{slug}-deploy")
    path = f"/v1/applications/{subject.application_id}"
    assert platform.ok("GET", path)["state"] == "Approved"
    onboarded = platform.ended(platform.ok("POST", f"{path}/onboarding")["requestId"])
    assert onboarded["state"] == "succeeded", onboarded


def test_an_undo_is_cancelled_and_asked_for_again(platform: Platform, subject: Subject) -> None:
    first = platform.ended(platform.provision(subject)["requestId"])
    hit = platform.arm(f"workflow-engine.{Step.UNDO_EFFECTS}.before_call")
    path = f"/v1/workflow-requests/{first['id']}/undo"
    accepted = platform.ok("POST", path, {})
    eventually(hit.exists, what="the undo is in the middle of a step")
    second = platform.api("POST", path, {})
    assert (second.status_code, second.json()["code"]) == (409, "workflow_active")
    platform.ok("POST", f"/v1/workflow-requests/{accepted['requestId']}/cancel", {})
    assert platform.ended(accepted["requestId"], within_seconds=15)["state"] == "cancelled"
    hit.unlink(missing_ok=True)
    assert appenv_state(platform, first) == "Declared"
    assert undo(platform, first["id"])["state"] == "succeeded"
    assert_standing(platform, subject, first, there=False)


def test_a_failure_is_undone_by_itself_where_the_team_wants_it(platform: Platform) -> None:
    subject = platform.new_subject()
    changed = platform.idp("team", "policy", subject.team, "--undo-on-failure")
    assert changed.returncode == 0, changed.stdout + changed.stderr
    failed = fails_to_provision(platform, subject)
    undone_by = eventually(
        lambda: platform.request(failed["id"])["undoneBy"], what="the failed request is undone"
    )
    assert platform.request(undone_by)["requestedBy"] == "team-policy"
    name = appenv_repository_name(failed["applicationEnvironmentId"])
    assert not has_repository(platform, subject.team, name)
    assert has_secret(platform, stranger_path(subject, failed)), "the stranger's own stays"


def test_a_killed_undo_goes_on_in_its_next_attempt(platform: Platform, subject: Subject) -> None:
    first = platform.ended(platform.provision(subject)["requestId"])
    platform.arm(f"workflow-engine.{Step.UNDO_EFFECTS}.after_call")
    accepted = platform.ok("POST", f"/v1/workflow-requests/{first['id']}/undo", {})
    platform.kill_at(f"workflow-engine.{Step.UNDO_EFFECTS}.after_call")
    undone = platform.ended(accepted["requestId"])
    assert undone["state"] == "succeeded", undone
    killed, last = undone["attempts"]
    assert killed["ending"] in ("lost", "failed"), "whoever notices first"
    assert killed["cause"]
    assert last["ending"] == "succeeded"
    assert_standing(platform, subject, first, there=False)
