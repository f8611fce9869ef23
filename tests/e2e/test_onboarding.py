"""An application is onboarded; repositories and environments are looked at from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from idp_kernel.workflows import APPLICATION_ONBOARDING, Step, WaitingReason
from tests.e2e.oracle import commits, events_of
from tests.e2e.platform import Platform, Subject, all_but_one_for_long, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.endurance]

EVENTS_IN_ORDER = [
    "application_created",
    "git_repository_created",
    "git_repository_created",
    "git_repository_seeded",
    "git_repository_seeded",
    "git_branch_protection_applied",
    "git_branch_protection_applied",
    "workflow_application_onboarding_completed",
]


def _register(platform: Platform, subject: Subject, slug: str, **body: Any) -> dict[str, Any]:
    wanted = {"team": subject.team, "slug": slug, "description": "A shop", **body}
    accepted: dict[str, Any] = platform.ok("POST", "/v1/applications", wanted)
    return accepted


def _clone(platform: Platform, url: str, folder: Path, token: str) -> Path:
    cloned = platform.git("clone", url, str(folder), token=token)
    assert cloned.returncode == 0, cloned.stderr
    return folder


def test_an_application_gets_its_repositories_and_environments(
    platform: Platform, onboarded: Subject, tmp_path: Path
) -> None:
    dev, prod = platform.new_environment(), platform.new_environment()
    accepted = _register(
        platform,
        onboarded,
        f"store-{dev[5:]}",
        environments=[
            {"environment": dev, "provision": True},
            {"environment": prod, "provision": False},
        ],
    )
    request = platform.ended(accepted["requestId"])
    assert request["state"] == "succeeded", request
    assert [step["step"] for step in request["steps"]] == list(APPLICATION_ONBOARDING.steps)
    told = events_of(platform, request["id"])
    assert [each for each in told if each in EVENTS_IN_ORDER] == EVENTS_IN_ORDER

    application = platform.ok("GET", f"/v1/applications/{accepted['applicationId']}")
    assert application["state"] == "Active"
    developer = platform.new_member(onboarded, "team-maintainer")
    for repository in application["repositories"]:
        assert repository["state"] == "Active"
        folder = tmp_path / repository["name"]
        clone = _clone(platform, repository["url"], folder, developer)
        assert len(commits(clone)) == 1, "seeded in one commit"
        (clone / "notes.md").write_text("mine\n")
        platform.git("add", ".", token=developer, cwd=clone)
        platform.git("commit", "-m", "Note", token=developer, cwd=clone)
        refused = platform.git("push", "origin", "HEAD:main", token=developer, cwd=clone)
        assert refused.returncode != 0
        assert "protected" in refused.stderr
        welcome = platform.git("push", "origin", "HEAD:notes", token=developer, cwd=clone)
        assert welcome.returncode == 0, welcome.stderr
    code = next(each for each in application["repositories"] if each["kind"] == "code")
    catalog = yaml.safe_load((tmp_path / code["name"] / "catalog-info.yaml").read_text())
    assert (catalog["kind"], catalog["metadata"]["name"]) == ("Component", application["slug"])

    page = platform.ok("GET", f"/v1/applications/{application['id']}/environments")
    environments = {each["environment"]: each for each in page["items"]}
    assert environments[prod]["state"] == "Declared"
    provisioning = eventually(
        lambda: platform.ok(
            "GET", f"/v1/workflow-requests?applicationEnvironmentId={environments[dev]['id']}"
        )["items"],
        what="finalize asked for the provisioning",
    )
    assert platform.ended(provisioning[0]["id"])["state"] == "succeeded"


@pytest.mark.parametrize(
    "step", all_but_one_for_long(APPLICATION_ONBOARDING, Step.SEED_REPOSITORIES)
)
def test_a_killed_step_is_done_once(
    platform: Platform, onboarded: Subject, tmp_path: Path, step: Step
) -> None:
    place = f"workflow-engine.{step}.after_call"
    platform.arm(place)
    accepted = _register(platform, onboarded, f"k-{platform.new_environment()[5:]}")
    platform.kill_at(place)
    request = platform.ended(accepted["requestId"])
    assert request["state"] == "succeeded", request
    assert events_of(platform, request["id"]) == EVENTS_IN_ORDER
    application = platform.ok("GET", f"/v1/applications/{accepted['applicationId']}")
    for repository in application["repositories"]:
        folder = tmp_path / repository["name"]
        clone = _clone(platform, repository["url"], folder, platform.admin_token)
        assert len(commits(clone)) == 1


def test_what_the_team_wants_approved_waits_for_somebody_else(
    platform: Platform, subject: Subject
) -> None:
    policy = f"/v1/teams/{subject.team}/policy"
    platform.ok("PUT", policy, {"applicationApproval": "required"})
    proposer, other = (platform.new_member(subject, "team-maintainer") for _ in range(2))
    body = {"team": subject.team, "slug": "proposed", "description": "A shop"}
    accepted = platform.ok("POST", "/v1/applications", body, token=proposer)
    assert accepted["needsApproval"]
    path = f"/v1/applications/{accepted['applicationId']}"

    def waits() -> bool:
        request = platform.request(accepted["requestId"])
        return bool(request["waitingReason"] == WaitingReason.APPROVAL_PENDING)

    eventually(waits, what="the request waits for the approval")
    assert platform.ok("GET", path)["state"] == "Proposed"
    own = platform.api("POST", f"{path}/approve", {}, token=proposer)
    assert (own.status_code, own.json()["code"]) == (403, "own_proposal")

    platform.ok("POST", f"{path}/approve", {"reason": "We agreed"}, token=other)
    request = platform.ended(accepted["requestId"])
    assert request["state"] == "succeeded", request
    assert [each["ending"] for each in request["attempts"]] == ["waiting", "succeeded"]
    assert platform.ok("GET", path)["state"] == "Active"
