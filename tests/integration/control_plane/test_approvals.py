"""An application that its team wants approved: it waits, and somebody else decides."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from idp_kernel.ids import new_id
from idp_kernel.retention import LONGEST_APPROVAL
from idp_kernel.workflows import APPLICATION_ONBOARDING
from tests.integration.control_plane.conftest import Caller, Platform
from tests.integration.control_plane.engine_run import EngineRun, claimed, offers
from tests.integration.control_plane.rows import counts
from tests.integration.control_plane.test_commands import assert_problem
from tests.integration.control_plane.test_onboarding import (
    ACTIVE,
    AT_WORK,
    application_of,
    environments_of,
    states,
)

STEPS = APPLICATION_ONBOARDING.steps
PROPOSED = ("Proposed", {"Declared"}, "Declared")
REJECTED = ("Archived", {"Archived"}, "Removed")
SECONDS_OF_A_DAY = 24 * 3600.0


@dataclass
class Proposal:
    """An application that waits for its approval, and those it concerns."""

    platform: Platform
    team: str
    environment: str
    proposer: Caller
    other: Caller
    """Another maintainer of the team."""
    request_id: str
    path: str
    """Of the application."""

    @property
    def request(self) -> Any:
        return self.platform.request(self.request_id)

    @property
    def stands(self) -> Any:
        return states(self.platform, self.request_id)

    def run(self, attempt: int = 1) -> EngineRun:
        """A run that holds the request."""
        return claimed(self.platform, self.request_id, attempt=attempt)

    def waits(self) -> EngineRun:
        """The first run, which ended since the application is to be approved."""
        run = self.run()
        run.start(STEPS[0])
        assert run.await_approval()
        return run

    def ends_well(self, attempt: int) -> None:
        """A run of that attempt goes on to the end."""
        run = self.run(attempt)
        run.start(STEPS[0])
        assert not run.await_approval()
        run.do_all()
        run.declare_environments()
        assert run.finalize().json()["state"] == "succeeded"


def ask_for_approvals(platform: Platform, team: str, wanted: str = "required") -> None:
    answer = platform.admin.put(f"/v1/teams/{team}/policy", {"applicationApproval": wanted})
    assert (answer.status_code, answer.json()["applicationApproval"]) == (200, wanted)


@pytest.fixture
def proposal(platform: Platform) -> Proposal:
    subject = platform.new_subject()
    ask_for_approvals(platform, subject.team)
    proposer, other = (platform.member(subject.team, "team-maintainer") for _ in range(2))
    environments = [{"environment": subject.environment, "provision": True}]
    body = {"team": subject.team, "slug": "web", "environments": environments}
    accepted = proposer.ok("/v1/applications", body)
    assert accepted["needsApproval"]
    return Proposal(
        platform, subject.team, subject.environment, proposer, other,
        accepted["requestId"], f"/v1/applications/{accepted['applicationId']}",
    )  # fmt: skip


def name_of(caller: Caller) -> str:
    return str(caller.seen("/v1/whoami")["principal"])


# ── the wait ─────────────────────────────────────────────────────────────────────────────────


def test_a_policy_is_kept_and_told(platform: Platform) -> None:
    team = platform.new_subject().team
    path = f"/v1/teams/{team}/policy"
    before = counts(platform)
    assert_problem(platform.admin.put(path, {"applicationApproval": "odd"}), 422, "invalid_input")
    assert counts(platform) == before
    for policy in (
        {"applicationApproval": "required", "undoOnFailure": False},
        {"applicationApproval": "required", "undoOnFailure": True},
        {"applicationApproval": "none", "undoOnFailure": True},
    ):
        for answer in (platform.admin.put(path, policy), platform.admin.get(path)):
            assert (answer.status_code, answer.json()) == (200, policy)
        told = platform.admin.seen("/v1/events", team=team)["items"][-1]
        assert told["type"] == "team_policy_changed"
        assert told["data"] == {
            "applicationApproval": policy["applicationApproval"],
            "undoOnFailure": "yes" if policy["undoOnFailure"] else "no",
        }


def test_without_the_policy_nothing_waits(platform: Platform) -> None:
    subject = platform.new_subject()
    accepted = platform.admin.ok("/v1/applications", {"team": subject.team, "slug": "web"})
    assert not accepted["needsApproval"]
    run = claimed(platform, accepted["requestId"])
    assert not run.claim["desiredState"]["needsApproval"], "so that it does not even ask"
    assert states(platform, run.request_id) == AT_WORK


def test_a_proposed_application_waits_without_a_run_and_says_who_decides(
    proposal: Proposal,
) -> None:
    platform = proposal.platform
    assert proposal.stands == PROPOSED
    assert proposal.request["state"] == "pending"
    run = proposal.waits()
    request = proposal.request
    assert (request["state"], request["waitingReason"]) == ("waiting", "approval_pending")
    assert request["waitingFor"] == (
        f"Application web is Proposed: a maintainer of team {proposal.team} other than"
        f" {name_of(proposal.proposer)}, or a platform-admin, approves or rejects it."
    )
    assert [each["ending"] for each in request["attempts"]] == ["waiting"]
    assert run.await_approval(), "its repeat hears the same"
    assert run.say("finalize", outcomes={}).status_code == 409
    assert proposal.stands == PROPOSED
    assert proposal.request_id not in offers(platform)

    application_id = request["applicationId"]
    (seen,) = proposal.other.seen("/v1/applications", state="Proposed")["items"]
    assert (seen["id"], seen["activeRequestId"]) == (application_id, proposal.request_id)
    waiting = proposal.other.seen("/v1/workflow-requests", waitingReason="approval_pending")
    assert [each["id"] for each in waiting["items"]] == [proposal.request_id]
    assert proposal.other.seen("/v1/workflow-requests", waitingReason="circuit_open")["items"] == []


def test_what_is_not_approved_can_be_asked_nothing_of(proposal: Proposal) -> None:
    proposal.waits()
    asked = {"environment": proposal.environment}
    refused = proposal.proposer.post(f"{proposal.path}/environments", asked)
    assert_problem(refused, 409, "application_not_ready")
    for action in ("deprecate", "decommission"):
        assert_problem(proposal.proposer.post(f"{proposal.path}/{action}"), 409, "move_refused")
    assert_problem(proposal.proposer.post(f"{proposal.path}/onboarding"), 409, "workflow_active")


def test_only_an_onboarding_waits_for_an_approval(platform: Platform) -> None:
    run = claimed(platform, platform.provision(platform.new_subject()))
    assert_problem(run.say("await-approval"), 422, "wrong_workflow")


# ── approval ─────────────────────────────────────────────────────────────────────────────────


def test_an_approval_wakes_the_request_at_once(proposal: Proposal) -> None:
    platform = proposal.platform
    proposal.waits()
    platform.clock.advance(3 * SECONDS_OF_A_DAY)
    approved = proposal.other.ok(f"{proposal.path}/approve", {"reason": "We agreed."})
    assert (approved["state"], approved["activeRequestId"]) == ("Onboarding", proposal.request_id)
    assert proposal.stands == AT_WORK
    assert proposal.request["state"] == "pending", "no sweep was needed"
    assert offers(platform)[proposal.request_id]["attempt"] == 2
    proposal.ends_well(attempt=2)
    assert proposal.stands == ACTIVE
    assert set(environments_of(platform, proposal.request_id)) == {proposal.environment}

    told = platform.admin.seen("/v1/events", requestId=proposal.request_id)["items"]
    (event,) = [each for each in told if each["type"] == "application_approved"]
    assert (event["actor"], event["data"]["reason"]) == (name_of(proposal.other), "We agreed.")
    assert audited(platform, proposal, "application_approved") == [
        (name_of(proposal.other), "We agreed.")
    ]


def audited(platform: Platform, proposal: Proposal, action: str) -> list[tuple[str, str]]:
    """Who did that to the application, and why."""
    subject = proposal.path.replace("/v1/applications/", "application/")
    with platform.engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT actor, reason FROM audit_log WHERE subject = %s AND action = %s",
            (subject, action),
        )
        return [(row.actor, row.reason) for row in rows]


def test_the_run_that_hears_of_the_approval_goes_on_itself(proposal: Proposal) -> None:
    run = proposal.run()
    proposal.other.ok(f"{proposal.path}/approve")
    assert proposal.request["state"] == "running"
    assert not run.await_approval()
    run.do_all()
    run.declare_environments()
    assert run.finalize().json()["state"] == "succeeded"
    assert proposal.stands == ACTIVE


def test_who_proposed_it_does_not_decide(proposal: Proposal) -> None:
    platform = proposal.platform
    proposal.waits()
    for action in ("approve", "reject"):
        refused = proposal.proposer.post(f"{proposal.path}/{action}", {"reason": "I want it."})
        assert_problem(refused, 403, "own_proposal")
        assert name_of(proposal.proposer) in refused.json()["detail"]
    assert proposal.stands == PROPOSED

    platform.admin.ok(f"/v1/workflow-requests/{proposal.request_id}/cancel", {})
    proposal.other.ok(f"{proposal.path}/onboarding")
    again = proposal.proposer.post(f"{proposal.path}/approve")
    assert_problem(again, 403, "own_proposal")
    assert proposal.other.ok(f"{proposal.path}/approve")["state"] == "Onboarding"


def test_a_platform_admin_approves_what_they_proposed(platform: Platform) -> None:
    team = platform.new_subject().team
    ask_for_approvals(platform, team)
    accepted = platform.admin.ok("/v1/applications", {"team": team, "slug": "web"})
    path = f"/v1/applications/{accepted['applicationId']}"
    assert platform.admin.ok(f"{path}/approve")["state"] == "Onboarding"


@pytest.mark.usefixtures("patience")
def test_a_decision_is_made_once(proposal: Proposal) -> None:
    proposal.waits()
    key = new_id()
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(
                lambda _: proposal.other.post(f"{proposal.path}/approve", {}, key=key), range(4)
            )
        )
    assert {(answer.status_code, answer.content) for answer in answers} == {
        (200, answers[0].content)
    }
    assert proposal.request["attempt"] == 2, "it is woken once"
    assert audited(proposal.platform, proposal, "application_approved") == [
        (name_of(proposal.other), "")
    ]
    for action in ("approve", "reject"):
        refused = proposal.other.post(f"{proposal.path}/{action}", {"reason": "Why?"})
        assert_problem(refused, 409, "move_refused")
        assert refused.json()["current"] == "Onboarding"


def test_an_approval_is_of_what_was_seen(proposal: Proposal) -> None:
    proposal.waits()
    tag = proposal.other.get(proposal.path).headers["ETag"]
    described = proposal.proposer.put(proposal.path, {"description": "Something else"})
    assert described.status_code == 200
    answer = proposal.platform.client.post(
        f"{proposal.path}/approve",
        headers={
            "Authorization": f"Bearer {proposal.other.token}",
            "Idempotency-Key": new_id(),
            "If-Match": tag,
        },
    )
    assert_problem(answer, 412, "precondition_failed")
    assert proposal.stands == PROPOSED


def test_what_is_made_is_what_was_approved(proposal: Proposal) -> None:
    proposal.waits()
    proposal.proposer.put(proposal.path, {"description": "Described anew"})
    proposal.other.ok(f"{proposal.path}/approve")
    assert proposal.run(2).claim["desiredState"]["description"] == "Described anew"


def test_a_suspended_team_gets_nothing_approved_but_may_reject(proposal: Proposal) -> None:
    platform = proposal.platform
    proposal.waits()
    platform.admin.ok(f"/v1/teams/{proposal.team}/suspend")
    assert_problem(proposal.other.post(f"{proposal.path}/approve"), 409, "team_not_active")
    assert (proposal.stands, proposal.request["state"]) == (PROPOSED, "waiting")
    platform.admin.ok(f"/v1/teams/{proposal.team}/resume")
    assert proposal.other.ok(f"{proposal.path}/approve")["state"] == "Onboarding"

    accepted = proposal.proposer.ok("/v1/applications", {"team": proposal.team, "slug": "api"})
    platform.admin.ok(f"/v1/teams/{proposal.team}/suspend")
    path = f"/v1/applications/{accepted['applicationId']}"
    assert proposal.other.ok(f"{path}/reject", {"reason": "No."})["state"] == "Archived"


def test_what_is_proposed_needs_its_approval_whatever_the_policy_becomes(
    proposal: Proposal,
) -> None:
    platform = proposal.platform
    ask_for_approvals(platform, proposal.team, "none")
    proposal.waits()
    accepted = proposal.proposer.ok("/v1/applications", {"team": proposal.team, "slug": "api"})
    assert not accepted["needsApproval"]
    platform.admin.ok(f"/v1/workflow-requests/{proposal.request_id}/cancel", {})
    assert proposal.proposer.ok(f"{proposal.path}/onboarding")["needsApproval"]
    assert proposal.other.ok(f"{proposal.path}/approve")["state"] == "Onboarding"


# ── rejection ────────────────────────────────────────────────────────────────────────────────


def test_a_rejected_application_is_archived_and_its_request_cancelled(proposal: Proposal) -> None:
    platform = proposal.platform
    proposal.waits()
    assert_problem(proposal.other.post(f"{proposal.path}/reject", {}), 422, "invalid_input")
    reason = "The store does this already."
    rejected = proposal.other.ok(f"{proposal.path}/reject", {"reason": reason})
    assert (rejected["state"], rejected["activeRequestId"]) == ("Archived", None)
    assert proposal.stands == REJECTED
    assert proposal.request["state"] == "cancelled"
    told = platform.admin.seen("/v1/events", requestId=proposal.request_id)["items"]
    by_type = {each["type"]: each["data"] for each in told}
    assert by_type["application_rejected"]["reason"] == reason
    assert by_type["workflow_application_onboarding_failed"]["message"] == reason
    assert audited(platform, proposal, "application_rejected") == [
        (name_of(proposal.other), reason)
    ]

    for path in (f"{proposal.path}/approve", f"{proposal.path}/onboarding"):
        assert_problem(proposal.other.post(path), 409, "move_refused")
    retry = f"/v1/workflow-requests/{proposal.request_id}/retry"
    assert_problem(proposal.other.post(retry, {}), 409, "move_refused")
    body = {"team": proposal.team, "slug": "web"}
    assert_problem(proposal.proposer.post("/v1/applications", body), 409, "application_exists")


def test_a_run_that_had_begun_ends_when_its_application_is_rejected(proposal: Proposal) -> None:
    run = proposal.run()
    proposal.other.ok(f"{proposal.path}/reject", {"reason": "No."})
    assert (proposal.stands, proposal.request["state"]) == (REJECTED, "running")
    assert_problem(run.say("await-approval"), 409, "cancel_requested")
    assert run.fail(STEPS[0], retryable=True, code="run_interrupted") == "cancelled"
    assert proposal.stands == REJECTED


def test_a_team_ends_with_what_it_proposed_rejected(proposal: Proposal) -> None:
    platform = proposal.platform
    team = platform.new_subject().team
    before = platform.admin.seen(f"/v1/teams/{team}/limits")["maxApplications"]["used"]
    ask_for_approvals(platform, team)
    accepted = platform.admin.ok("/v1/applications", {"team": team, "slug": "web"})
    limits = platform.admin.seen(f"/v1/teams/{team}/limits")
    assert limits["maxApplications"]["used"] == before + 1, "a proposal takes its place"
    path = f"/v1/applications/{accepted['applicationId']}"
    platform.admin.ok(f"{path}/reject", {"reason": "No."})
    limits = platform.admin.seen(f"/v1/teams/{team}/limits")
    assert limits["maxApplications"]["used"] == before


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("rival", ["reject", "cancel"])
def test_of_two_decisions_at_once_one_counts(proposal: Proposal, rival: str) -> None:
    """Whoever comes second finds what the first has made of it, and nobody waits in a circle."""
    proposal.waits()
    paths = {
        "approve": f"{proposal.path}/approve",
        "reject": f"{proposal.path}/reject",
        "cancel": f"/v1/workflow-requests/{proposal.request_id}/cancel",
    }
    asked = ["approve", rival] * 2
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(
            pool.map(lambda each: proposal.other.post(paths[each], {"reason": "Now."}), asked)
        )
    codes = [answer.json().get("code", "done") for answer in answers]
    approved = codes[0::2].count("done")
    assert {*codes} <= {"done", "move_refused"}
    ends = (approved, proposal.stands[0], proposal.request["state"])
    if rival == "reject":
        assert codes.count("done") == 1
        assert ends in {(1, "Onboarding", "pending"), (0, "Archived", "cancelled")}
    else:
        assert ends == (1, "Approved", "cancelled")


# ── no decision ──────────────────────────────────────────────────────────────────────────────


def test_a_cancelled_proposal_can_be_made_again(proposal: Proposal) -> None:
    platform = proposal.platform
    proposal.waits()
    cancelled = proposal.proposer.ok(f"/v1/workflow-requests/{proposal.request_id}/cancel", {})
    assert cancelled["state"] == "cancelled"
    assert proposal.stands == PROPOSED
    assert application_of(platform, proposal.request_id)["activeRequestId"] is None

    again = proposal.proposer.ok(f"{proposal.path}/onboarding")
    assert again["needsApproval"]
    elder, proposal.request_id = proposal.request_id, again["requestId"]
    wanted = proposal.waits().claim["desiredState"]
    assert [each["environment"] for each in wanted["environments"]] == [proposal.environment]
    retry = proposal.proposer.post(f"/v1/workflow-requests/{elder}/retry", {})
    assert_problem(retry, 409, "workflow_active")
    proposal.other.ok(f"{proposal.path}/approve")
    proposal.ends_well(attempt=2)
    assert proposal.stands == ACTIVE


def test_a_cancelled_request_that_is_retried_waits_again(proposal: Proposal) -> None:
    proposal.waits()
    path = f"/v1/workflow-requests/{proposal.request_id}"
    proposal.proposer.ok(f"{path}/cancel", {})
    proposal.platform.clock.advance(10 * SECONDS_OF_A_DAY)
    proposal.proposer.ok(f"{path}/retry", {})
    assert proposal.stands == PROPOSED
    assert proposal.run(attempt=2).await_approval()
    proposal.platform.sweep_after(10 * SECONDS_OF_A_DAY)
    assert proposal.request["state"] == "waiting", "its time began anew"


def test_what_is_approved_while_nothing_waits_begins_when_it_is_asked_for(
    proposal: Proposal,
) -> None:
    proposal.waits()
    proposal.proposer.ok(f"/v1/workflow-requests/{proposal.request_id}/cancel", {})
    approved = proposal.other.ok(f"{proposal.path}/approve")
    assert (approved["state"], approved["activeRequestId"]) == ("Approved", None)
    asked = proposal.proposer.ok(f"{proposal.path}/onboarding")
    assert not asked["needsApproval"]
    assert states(proposal.platform, asked["requestId"]) == AT_WORK


def test_after_its_time_the_request_fails_and_the_application_stays_proposed(
    proposal: Proposal,
) -> None:
    platform = proposal.platform
    proposal.waits()
    whole = LONGEST_APPROVAL.total_seconds()
    platform.sweep_after(whole - SECONDS_OF_A_DAY)
    assert proposal.request["state"] == "waiting", "nobody looks before"
    platform.sweep_after(SECONDS_OF_A_DAY)
    assert proposal.request["state"] == "pending"
    run = proposal.run(attempt=2)
    run.start(STEPS[0])
    refused = run.say("await-approval")
    assert_problem(refused, 409, "approval_not_given")
    assert "14 days" in refused.json()["detail"]
    assert run.fail(STEPS[0], retryable=False, code="approval_not_given") == "failed"
    assert proposal.stands == PROPOSED
    assert proposal.request["error"]["code"] == "approval_not_given"

    assert proposal.proposer.ok(f"{proposal.path}/onboarding")["needsApproval"]
    assert proposal.other.ok(f"{proposal.path}/approve")["state"] == "Onboarding"


def test_an_approval_that_comes_with_the_end_of_the_wait_counts(proposal: Proposal) -> None:
    proposal.waits()
    proposal.platform.sweep_after(LONGEST_APPROVAL.total_seconds())
    proposal.other.ok(f"{proposal.path}/approve")
    assert proposal.request["attempt"] == 2, "it was awake already"
    proposal.ends_well(attempt=2)
    assert proposal.stands == ACTIVE


def test_a_decision_waits_for_the_undo_of_an_onboarding(proposal: Proposal) -> None:
    platform = proposal.platform
    run = proposal.run()
    run.start(STEPS[1])
    run.end(STEPS[1])
    assert run.await_approval()
    proposal.proposer.ok(f"/v1/workflow-requests/{proposal.request_id}/cancel", {})
    undo = proposal.proposer.ok(f"/v1/workflow-requests/{proposal.request_id}/undo", {})
    for action in ("approve", "reject"):
        refused = proposal.other.post(f"{proposal.path}/{action}", {"reason": "Why?"})
        assert_problem(refused, 409, "workflow_active")
        assert refused.json()["activeRequestId"] == undo["requestId"]
    undoing = claimed(platform, undo["requestId"])
    undoing.do_all()
    assert undoing.finalize().json()["state"] == "succeeded"
    assert proposal.stands == PROPOSED
    approved = proposal.other.ok(f"{proposal.path}/approve")
    assert approved["state"] == "Approved"
