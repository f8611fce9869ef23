"""Random commands, runs and clocks: every invariant of the domain holds in the database after each.

Hypothesis chooses who is asked for what; whether it is allowed is not known here. The invariants
are SQL of their own (`invariants.py`).
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from idp_kernel.ids import new_id
from idp_kernel.workflows import Step
from tests.integration.control_plane.conftest import Platform
from tests.integration.control_plane.engine_run import EngineRun, ask_claim, offers
from tests.integration.control_plane.rotations import RotationRun, rotation_of, secret_in_use
from tests.property.invariants import Snapshot, broken_now

pick = st.integers(min_value=0, max_value=7)
"""Which of the things there are, counted round."""
amount = st.none() | st.integers(min_value=0, max_value=4)
GRACE_SECONDS = 5


class Commands(RuleBasedStateMachine):
    """Two teams and environments, an application in use, and everything that can be asked."""

    platform: Platform

    def __init__(self) -> None:
        super().__init__()
        self.teams: list[str] = []
        self.environments: list[str] = []
        self.applications: list[str] = []
        self.requests: list[str] = []
        self.runs: list[EngineRun] = []
        self.before = self._look()

    @initialize()
    def an_application_in_use(self) -> None:
        for _ in range(2):
            mark = new_id()[-10:]
            self.teams.append(f"team-{mark}")
            self.environments.append(f"env-{mark}")
            self.ask("/v1/teams", {"slug": f"team-{mark}", "displayName": "Team"})
            self.ask(f"/v1/teams/team-{mark}/activate")
            self.ask("/v1/environments", {"slug": f"env-{mark}"})
            self.ask(f"/v1/environments/env-{mark}/activate")
        self.before = self._look()
        self.register(which=0, slug="shop", count=1)
        for _ in range(2):  # the onboarding, then the provisioning that it asks for
            self.what_is_offered_is_done()
        for secret in self._own("secrets"):
            policy = {"graceSeconds": GRACE_SECONDS}
            path = f"/v1/secrets/{secret}/rotation-policy"
            assert self.platform.admin.put(path, policy).status_code == 200

    # ── commands ─────────────────────────────────────────────────────────────────────────────

    @rule(which=pick, action=st.sampled_from(("suspend", "resume", "resume", "activate")))
    def move_team(self, which: int, action: str) -> None:
        self.ask(f"/v1/teams/{self._one(self.teams, which)}/{action}")

    @rule(which=pick, action=st.sampled_from(("freeze", "unfreeze", "unfreeze", "activate")))
    def move_environment(self, which: int, action: str) -> None:
        self.ask(f"/v1/environments/{self._one(self.environments, which)}/{action}")

    @rule(which=pick, most=st.tuples(amount, amount, amount))
    def limit_team(self, which: int, most: tuple[int | None, int | None, int | None]) -> None:
        names = ("maxApplications", "maxApplicationEnvironments", "maxActiveRequests")
        path = f"/v1/teams/{self._one(self.teams, which)}/limits"
        answer = self.platform.admin.put(path, dict(zip(names, most, strict=True)))
        assert answer.status_code == 200

    @rule(which=pick, undoes=st.booleans(), approval=st.sampled_from(("none", "required")))
    def set_policy(self, which: int, approval: str, *, undoes: bool) -> None:
        path = f"/v1/teams/{self._one(self.teams, which)}/policy"
        policy = {"undoOnFailure": undoes, "applicationApproval": approval}
        answer = self.platform.admin.put(path, policy)
        assert answer.status_code == 200

    @rule(which=pick, slug=st.sampled_from(("shop", "web")), count=st.integers(0, 2))
    def register(self, which: int, slug: str, count: int) -> None:
        environments = [
            {"environment": each, "provision": True} for each in self.environments[:count]
        ]
        team = self._one(self.teams, which)
        self.ask("/v1/applications", {"team": team, "slug": slug, "environments": environments})

    @rule(which=pick, action=st.sampled_from(("deprecate", "onboarding", "decommission")))
    def move_application(self, which: int, action: str) -> None:
        if self.applications:
            self.ask(f"/v1/applications/{self._one(self.applications, which)}/{action}")

    @rule(which=pick, action=st.sampled_from(("approve", "reject")))
    def decide(self, which: int, action: str) -> None:
        if self.applications:
            path = f"/v1/applications/{self._one(self.applications, which)}/{action}"
            self.ask(path, {"reason": "It was looked at."})

    @rule(which=pick, where=pick)
    def provision(self, which: int, where: int) -> None:
        if self.applications:
            path = f"/v1/applications/{self._one(self.applications, which)}/environments"
            self.ask(path, {"environment": self._one(self.environments, where)})

    @rule(which=pick, names=st.sets(st.sampled_from(("db", "mailer")), min_size=1))
    def add_secrets(self, which: int, names: set[str]) -> None:
        if found := self._own("application_environments"):
            path = f"/v1/application-environments/{self._one(found, which)}/secrets"
            self.ask(path, {"secrets": [{"name": name} for name in sorted(names)]})

    @rule(which=pick, action=st.sampled_from(("freeze", "unfreeze", "decommission")))
    def move_application_environment(self, which: int, action: str) -> None:
        if found := self._own("application_environments"):
            self.ask(f"/v1/application-environments/{self._one(found, which)}/{action}")

    @rule(which=pick, action=st.sampled_from(("suspend", "resume", "archive")))
    def move_secret(self, which: int, action: str) -> None:
        if found := self._own("secrets"):
            self.ask(f"/v1/secrets/{self._one(found, which)}/{action}")

    @rule(which=pick, action=st.sampled_from(("suspend", "resume")))
    def move_binding(self, which: int, action: str) -> None:
        if found := self._own("secret_bindings"):
            self.ask(f"/v1/secret-bindings/{self._one(found, which)}/{action}")

    @rule(which=pick, emergency=st.booleans())
    def rotate(self, which: int, *, emergency: bool) -> None:
        if found := self._own("secrets"):
            path = f"/v1/secrets/{self._one(found, which)}/rotation"
            self.ask(path, {"emergency": emergency})

    @rule(which=pick)
    def revoke(self, which: int) -> None:
        if found := self._own("secrets"):
            self.ask(f"/v1/secrets/{self._one(found, which)}/revoke", {"reason": "It ends."})

    @rule(which=pick, action=st.sampled_from(("cancel", "retry", "undo", "undo")))
    def steer(self, which: int, action: str) -> None:
        if self.requests:
            self.ask(f"/v1/workflow-requests/{self._one(self.requests, which)}/{action}", {})

    # ── runs and time ────────────────────────────────────────────────────────────────────────

    @rule()
    def claim_what_is_offered(self) -> None:
        for offer in offers(self.platform).values():
            self._check()
            answer = ask_claim(self.platform, offer["requestId"], new_id(), offer["attempt"])
            assert answer.status_code in (200, 409), answer.text
            if answer.status_code == 200:
                self.runs.append(self._run(answer.json()))

    @rule()
    def what_is_offered_is_done(self) -> None:
        self.claim_what_is_offered()
        for _ in range(len(self.runs)):
            self.a_run_goes_well(which=0)
            self._check()

    @rule(which=pick, keeps=st.booleans())
    def a_run_goes_well(self, which: int, *, keeps: bool = False) -> None:
        if not self.runs:
            return
        run = self.runs.pop(which % len(self.runs))
        if self._ends_before_approval(run):
            return
        for step in run.steps:
            result = run.results().get(step, {})
            if keeps and step == Step.UNDO_EFFECTS:
                result = {"items": [{**each, "effect": "kept"} for each in result["items"]]}
            told = run.say(f"steps/{step}/outcome", retryNumber=0, result=result)
            if step == "declare_application_environments" and told.status_code == 200:
                told = run.say("declare-environments")
            if told.status_code != 200:
                assert told.status_code in (401, 409), told.text
                return
            self._check()
        is_first_of_two = run.claim["workflow"] == "SecretRotation" and run.claim["phase"] == 1
        ended = run.end_phase() if is_first_of_two else run.finalize()
        # One that had no step left has not been told yet that its token is too old.
        assert ended.status_code in (200, 401, 409, 422), ended.text

    @rule(which=pick, at=pick, retryable=st.booleans())
    def a_run_fails(self, which: int, at: int, *, retryable: bool) -> None:
        if not self.runs:
            return
        run = self.runs.pop(which % len(self.runs))
        if self._ends_before_approval(run):
            return
        for step in run.steps[: at % len(run.steps)]:
            run.say(f"steps/{step}/outcome", retryNumber=0, result=run.results().get(step, {}))
        error = {"code": "boom", "message": "it broke", "retryable": retryable}
        step = run.steps[at % len(run.steps)]
        told = run.say(f"steps/{step}/outcome", retryNumber=1, result={}, error=error)
        assert told.status_code in (200, 401, 409), told.text

    @rule(seconds=st.sampled_from((1.0, 20.0, 20.0, GRACE_SECONDS + 1.0, 2000.0)))
    def time_passes(self, seconds: float) -> None:
        self.platform.sweep_after(seconds)

    # ── what must hold ───────────────────────────────────────────────────────────────────────

    @invariant()
    def holds(self) -> None:
        self._check()

    def _check(self) -> None:
        now = self._look()
        with self.platform.engine.connect() as connection:
            broken = broken_now(connection)
        broken += now.broken_since(self.before)
        assert broken == []
        self.before = now

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    def ask(self, path: str, body: Any = None) -> None:
        """A command, sent twice under one key: it is done once, or refused with a reason."""
        key = new_id()
        answer = self.platform.admin.post(path, body, key=key)
        assert answer.status_code in (200, 201, 202, 409), answer.text
        if answer.status_code == 409:
            assert answer.json()["detail"]
            return
        again = self.platform.admin.post(path, body, key=key)
        assert (again.status_code, again.content) == (answer.status_code, answer.content)
        if answer.status_code == 202:
            self.requests.append(answer.json()["requestId"])
            application = answer.json()["applicationId"]
            self.applications = list(dict.fromkeys([*self.applications, application]))

    def _ends_before_approval(self, run: EngineRun) -> bool:
        if not run.claim["desiredState"].get("needsApproval"):
            return False
        told = run.say("await-approval")
        assert told.status_code in (200, 401, 409), told.text
        return told.status_code != 200 or bool(told.json()["waits"])

    def _run(self, claim: Any) -> EngineRun:
        if claim["workflow"] != "SecretRotation":
            return EngineRun(self.platform, claim)
        known = claim["outcomes"].get("update_secret_bindings")
        if known is not None:
            return RotationRun(self.platform, claim, known["items"][0]["references"]["version"])
        version = self.platform.admin.seen(f"/v1/secrets/{claim['secretId']}")["version"]
        return RotationRun(self.platform, claim, version + 1)

    def _look(self) -> Snapshot:
        with self.platform.engine.connect() as connection:
            return Snapshot.take(connection)

    def _own(self, table: str) -> list[str]:
        """Ids of the newest eight things of a kind: those of earlier examples are older."""
        return sorted(self.before.states[table])[-8:]

    def _one(self, things: list[str], which: int) -> str:
        return things[which % len(things)]


def run(platform: Platform, *, examples: int, steps: int) -> None:
    Commands.platform = platform
    with platform.engine.begin() as connection:  # whose days go by in seconds here
        connection.execute(text("UPDATE tokens SET expires_at = now() + interval '100 years'"))
    run_state_machine_as_test(
        Commands,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            print_blob=True,
        ),
    )


PLANTED = {
    "a binding that is active needs": "UPDATE secrets SET state = 'Suspended'",
    "a binding pins the version": "UPDATE secret_bindings SET version = 9",
    "what is marked as held is held": (
        "UPDATE workflow_subjects SET active = true WHERE kind = 'application'"
    ),
    "one request is at work on a thing": "UPDATE workflow_requests SET state = 'running'",
    "an application is being onboarded": "UPDATE applications SET state = 'Onboarding'",
    "nothing waits for an approval": (
        "UPDATE workflow_requests SET state = 'waiting', waiting_reason = 'approval_pending'"
    ),
    "nothing is made before an approval": "UPDATE applications SET state = 'Proposed'",
    "an environment is being provisioned": (
        "UPDATE application_environments SET state = 'Provisioning'"
    ),
    "a secret is being rotated": "UPDATE secrets SET state = 'Rotating'",
    "a secret is being provisioned": "UPDATE secrets SET state = 'Provisioning'",
    "an environment that gets secrets": (
        "WITH added AS (UPDATE workflow_requests SET state = 'pending', desired_state ="
        " desired_state || jsonb_build_object('addsSecrets', true)"
        " WHERE workflow = 'ApplicationEnvironmentProvisioning')"
        " UPDATE application_environments SET state = 'Declared'"
    ),
    "a secret in use is not undone": (
        "UPDATE workflow_requests SET state = 'succeeded', undoes = (SELECT id FROM"
        " workflow_requests WHERE workflow = 'ApplicationEnvironmentProvisioning')"
        " WHERE workflow = 'SecretRotation'"
    ),
    "no secret is in use in an environment": (
        "UPDATE application_environments SET state = 'Declared'"
    ),
    "a secret that is about to end": "UPDATE workflow_requests SET workflow = 'SecretRevocation'"
    ", state = 'pending' WHERE workflow = 'SecretRotation'",
    "nothing of a retired environment": ("UPDATE application_environments SET state = 'Retired'"),
    "a secret ends with its binding": "UPDATE secret_bindings SET state = 'Revoked'",
    "an environment goes out of use by": (
        "UPDATE application_environments SET state = 'Decommissioning'"
    ),
    "an environment ends with all": (
        "WITH declared AS (UPDATE secrets SET state = 'Declared'), ended AS (UPDATE"
        " workflow_requests SET workflow = 'ApplicationEnvironmentDecommissioning', desired_state ="
        " jsonb_build_object('secrets', jsonb_build_array()), state = 'succeeded'"
        " WHERE workflow = 'SecretRotation')"
        " UPDATE application_environments SET state = 'Retired'"
    ),
    "an application goes out of use by": "UPDATE applications SET state = 'Decommissioning'",
    "an application ends with all it has": "UPDATE applications SET state = 'Archived'",
    "nothing of an application that is gone": "UPDATE applications SET state = 'Approved'",
    "a secret without a value": "UPDATE secrets SET state = 'Declared'",
    "a request is undone once": (
        "UPDATE workflow_requests SET state = 'succeeded', undoes = (SELECT id FROM"
        " workflow_requests WHERE workflow = 'ApplicationOnboarding')"
        " WHERE workflow = 'SecretRotation'"
    ),
    "what was undone does not go on": (
        "UPDATE workflow_requests SET state = 'pending', undoes = (SELECT id FROM"
        " workflow_requests WHERE workflow = 'ApplicationOnboarding')"
    ),
    "an environment in use is not undone": (
        "UPDATE workflow_requests SET state = 'succeeded', undoes = (SELECT id FROM"
        " workflow_requests WHERE workflow = 'ApplicationEnvironmentProvisioning')"
        " WHERE workflow = 'SecretRotation'"
    ),
    "an application in use is not undone": (
        "UPDATE workflow_requests SET state = 'succeeded', undoes = (SELECT id FROM"
        " workflow_requests WHERE workflow = 'ApplicationOnboarding')"
        " WHERE workflow = 'SecretRotation'"
    ),
    "an ended request has told its end": "UPDATE outbox_events SET subject = 'x'",
    "success is told once": "UPDATE outbox_events SET type = 'workflow_x_completed'",
    "the projection counts": "DELETE FROM outbox_events",
}


def test_what_is_broken_is_noticed(platform: Platform) -> None:
    secret = secret_in_use(platform)
    for _ in range(2):
        request_id = rotation_of(platform, secret)
        platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {})
    with platform.engine.connect() as connection:
        assert broken_now(connection) == []
        for name, statement in PLANTED.items():
            connection.execute(text(statement))
            assert [each for each in broken_now(connection) if each.startswith(name)], name
            connection.rollback()


def test_every_invariant_holds_after_each_of_random_commands(platform: Platform) -> None:
    run(platform, examples=3, steps=25)


@pytest.mark.endurance
@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_every_invariant_holds_after_each_of_many_random_commands(platform: Platform) -> None:
    run(platform, examples=int(os.environ.get("IDP_TEST_EXAMPLES", "15")), steps=60)
