"""What a file would change, by what the platform has already."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from idp_cli.declarations.comparison import compare
from idp_cli.declarations.plans import Action, Command, Plan
from idp_cli.declarations.present import Present
from idp_cli.declarations.reading import read_declarations
from idp_cli.declarations.showing import plan_lines
from idp_kernel.ids import new_id
from idp_kernel.wire.api import (
    Application,
    ApplicationEnvironment,
    Environment,
    RotationPolicy,
    Secret,
    SecretSummary,
    SetTeamLimits,
    Team,
    TeamLimit,
    TeamLimits,
    TeamPolicy,
)
from idp_kernel.wire.engine import TeamRole
from idp_kernel.wire.worker import CredentialIssuerName, SecretPurpose, SecretSensitivity

NOW = datetime(2027, 1, 31, tzinfo=UTC)
REQUEST = new_id()
DAY = 24 * 3600

TEAM = "kind: Team\nslug: payments\ndisplayName: Payments\n"
ENVIRONMENT = "kind: Environment\nslug: staging\ndescription: Before production\n"
APPLICATION = "kind: Application\nteam: payments\nslug: shop\ndescription: Where customers pay\n"
APPENV = """kind: ApplicationEnvironment
team: payments
application: shop
environment: staging
secrets:
  - name: app-key
  - name: db
    issuer: postgres
    sensitivity: high
"""
SECRET = """kind: Secret
team: payments
application: shop
environment: staging
name: mailer
purpose: external_integration
"""
DB = SECRET.replace("mailer", "db").replace("purpose: external_integration\n", "")
ALL = f"{APPENV}---\n{APPLICATION}---\n{ENVIRONMENT}---\n{TEAM}"


@dataclass
class Had:
    """What the platform has; nothing at first."""

    teams: dict[str, Team] = field(default_factory=dict)
    members: dict[str, TeamRole] = field(default_factory=dict)
    environments: dict[str, Environment] = field(default_factory=dict)
    applications: dict[tuple[str, str], Application] = field(default_factory=dict)
    appenvs: dict[str, ApplicationEnvironment] = field(default_factory=dict)
    policies: TeamPolicy = field(default_factory=TeamPolicy)
    own_limits: SetTeamLimits = field(default_factory=SetTeamLimits)
    rotation: RotationPolicy = field(
        default_factory=lambda: RotationPolicy(interval_seconds=30 * DAY, grace_seconds=3600)
    )

    def team(self, slug: str) -> Team | None:
        return self.teams.get(slug)

    def roles(self, _slug: str) -> dict[str, TeamRole]:
        return self.members

    def policy(self, _slug: str) -> TeamPolicy:
        return self.policies

    def limits(self, _slug: str) -> TeamLimits:
        own = dict(self.own_limits)
        return TeamLimits(**{name: TeamLimit(own=value, used=3) for name, value in own.items()})

    def secret(self, secret_id: str) -> Secret:
        """Of a summary, with the rotation that all have."""
        appenv = next(iter(self.appenvs.values()))
        summary = next(each for each in appenv.secrets if each.id == secret_id)
        return Secret(
            id=summary.id,
            team=appenv.team,
            application_id=appenv.application_id,
            application=appenv.application,
            application_environment_id=appenv.id,
            environment=appenv.environment,
            name=summary.name,
            purpose=summary.purpose,
            sensitivity=summary.sensitivity,
            issuer=summary.issuer,
            state=summary.state,
            rotation_policy=self.rotation,
            active_request_id=appenv.active_request_id,
            created_at=NOW,
        )

    def environment(self, slug: str) -> Environment | None:
        return self.environments.get(slug)

    def application(self, team: str, slug: str) -> Application | None:
        return self.applications.get((team, slug))

    def application_environment(self, _id: str, slug: str) -> ApplicationEnvironment | None:
        return self.appenvs.get(slug)

    def tag(self, path: str) -> str:
        return f'"{path}"'

    def has_team(self, state: str = "Active", name: str = "Payments") -> Had:
        self.teams["payments"] = Team(
            id=new_id(), slug="payments", display_name=name, state=state, created_at=NOW
        )
        return self

    def has_environment(self, state: str = "Active") -> Had:
        self.environments["staging"] = Environment(
            id=new_id(),
            slug="staging",
            description="Before production",
            state=state,
            created_at=NOW,
        )
        return self

    def has_application(self, state: str = "Active", request: str | None = None) -> Had:
        self.applications["payments", "shop"] = Application(
            id=new_id(),
            team="payments",
            slug="shop",
            description="Where customers pay",
            state=state,
            active_request_id=request,
            created_at=NOW,
        )
        return self

    def has_appenv(self, state: str = "Active", request: str | None = None, **changed: Any) -> Had:
        application = self.applications["payments", "shop"]
        self.appenvs["staging"] = ApplicationEnvironment(
            id=new_id(),
            application_id=application.id,
            team="payments",
            application="shop",
            environment="staging",
            state=state,
            repository_name="appenv-x",
            secrets=(secret("app-key"), secret("db", high_login=True, **changed)),
            active_request_id=request,
            created_at=NOW,
        )
        return self

    def has_db(self, state: str, **changed: Any) -> Had:
        """Its login in another state."""
        appenv = self.appenvs["staging"]
        key, login = appenv.secrets
        secrets = (key, login.model_copy(update={"state": state, **changed}))
        self.appenvs["staging"] = appenv.model_copy(update={"secrets": secrets})
        return self


def secret(name: str, *, high_login: bool = False, **changed: Any) -> SecretSummary:
    login, high = CredentialIssuerName.POSTGRES, SecretSensitivity.HIGH
    return SecretSummary(
        id=new_id(),
        name=name,
        purpose=SecretPurpose.RUNTIME,
        sensitivity=high if high_login else SecretSensitivity.MEDIUM,
        issuer=login if high_login else CredentialIssuerName.OPENBAO,
        state="Active",
        binding_id=new_id(),
        binding_state="Active",
    ).model_copy(update=changed)


def everything(**states: str) -> Had:
    """As the file declares it, but for these states."""
    return (
        Had()
        .has_team(states.get("team", "Active"))
        .has_environment(states.get("environment", "Active"))
        .has_application(states.get("application", "Active"))
        .has_appenv(states.get("appenv", "Active"))
    )


def plan_of(text: str, had: Had) -> Plan:
    return compare(read_declarations(text, "x.yaml"), cast("Present", had))


def commands_of(plan: Plan) -> list[str]:
    """`POST /v1/teams` and so on, in order, ids left out."""
    return [
        f"{command.method} {'/'.join('ID' if len(p) == 36 else p for p in command.path.split('/'))}"
        for change in plan.changes
        for command in change.commands
    ]


def body_at(plan: Plan, path: str) -> Any:
    """What is sent to the path that ends so."""
    (command,) = (
        command
        for change in plan.changes
        for command in change.commands
        if command.path.endswith(path)
    )
    assert isinstance(command, Command)
    assert command.body is not None
    return command.body.model_dump(mode="json")


def told(plan: Plan) -> str:
    return "\n".join(plan_lines(plan))


def test_what_is_not_there_is_made_in_the_order_it_needs() -> None:
    plan = plan_of(ALL, Had())
    assert [change.action for change in plan.changes] == [Action.CREATE] * 4
    assert commands_of(plan) == [
        "POST /v1/teams",
        "POST /v1/teams/payments/activate",
        "POST /v1/environments",
        "POST /v1/environments/staging/activate",
        "POST /v1/applications",
    ]
    (environment,) = body_at(plan, "/v1/applications")["environments"]
    assert environment["provision"]
    assert [each["name"] for each in environment["secrets"]] == ["app-key", "db"]
    assert told(plan).endswith("4 to create.")


def test_what_is_as_declared_is_left_alone() -> None:
    plan = plan_of(ALL, everything())
    assert (plan.changes, plan.refusals, plan.under_way) == ([], [], [])
    assert told(plan) == "Nothing to do: 4 as declared."


@pytest.mark.parametrize(
    ("had", "commands"),
    [
        (Had().has_team("Draft"), ["POST /v1/teams/payments/activate"]),
        (Had().has_team(name="Pay"), ["PUT /v1/teams/payments"]),
        (Had().has_team("Suspended"), []),
    ],
    ids=["left in draft by a crash", "called otherwise", "suspended by somebody"],
)
def test_a_team_is_changed_where_it_differs(had: Had, commands: list[str]) -> None:
    assert commands_of(plan_of(TEAM, had)) == commands


@pytest.mark.parametrize(
    ("text", "had", "commands"),
    [
        (f"{TEAM}state: Active\n", Had().has_team("Suspended"), ["POST /v1/teams/payments/resume"]),
        (f"{TEAM}state: Suspended\n", Had().has_team(), ["POST /v1/teams/payments/suspend"]),
        (
            f"{ENVIRONMENT}state: Frozen\n",
            Had().has_environment(),
            ["POST /v1/environments/staging/freeze"],
        ),
        (
            f"{ENVIRONMENT}state: Active\n",
            Had().has_environment("Frozen"),
            ["POST /v1/environments/staging/unfreeze"],
        ),
        (
            f"{APPENV}state: Frozen\n",
            everything(),
            ["POST /v1/application-environments/ID/freeze"],
        ),
        (
            f"{APPENV}state: Active\n",
            everything(appenv="Frozen"),
            ["POST /v1/application-environments/ID/unfreeze"],
        ),
    ],
)
def test_a_state_that_is_declared_is_brought_about(
    text: str, had: Had, commands: list[str]
) -> None:
    assert commands_of(plan_of(text, had)) == commands


def test_members_get_their_roles_and_others_keep_theirs() -> None:
    members = (
        "members:\n- {principal: ana, role: team-maintainer}\n"
        "- {principal: bo, role: team-viewer}\n"
    )
    had = Had(members={"ana": TeamRole.TEAM_VIEWER, "bo": TeamRole.TEAM_VIEWER})
    plan = plan_of(f"{TEAM}{members}", had.has_team())
    assert commands_of(plan) == ["POST /v1/teams/payments/members"]
    assert "team-viewer [dim]→[/] team-maintainer" in told(plan)


def test_an_application_whose_onboarding_was_given_up_is_onboarded_again() -> None:
    had = Had().has_team().has_environment().has_application("Approved")
    plan = plan_of(ALL, had)
    assert commands_of(plan) == ["POST /v1/applications/ID/onboarding"]
    (waiting,) = plan.unsettled
    assert waiting.subject == "payments/shop/staging"


def test_what_an_onboarding_leads_to_is_compared_after_it() -> None:
    had = Had().has_team().has_environment().has_application("Onboarding", REQUEST)
    plan = plan_of(ALL, had)
    assert not plan.changes
    assert [each.request_id for each in plan.under_way] == [REQUEST, REQUEST]
    assert [each.is_settled for each in plan.under_way] == [True, False]


def test_what_is_proposed_waits_for_its_approval() -> None:
    had = Had().has_team().has_environment().has_application("Proposed", REQUEST)
    plan = plan_of(ALL, had)
    assert plan.changes == []
    proposed_id = had.applications["payments", "shop"].id
    assert [(each.proposed_id, each.is_settled) for each in plan.under_way] == [
        (proposed_id, True),
        (proposed_id, False),
    ]
    had = Had().has_team().has_environment().has_application("Proposed")
    assert commands_of(plan_of(ALL, had)) == ["POST /v1/applications/ID/onboarding"]
    (refusal,) = plan_of(APPENV, had).refusals
    assert "is Proposed and not onboarded yet" in refusal


def test_a_missing_environment_of_an_active_application_is_provisioned() -> None:
    plan = plan_of(APPENV, Had().has_team().has_environment().has_application())
    assert commands_of(plan) == ["POST /v1/applications/ID/environments"]
    assert "secret db" in told(plan)


def test_one_that_was_only_declared_is_provisioned_with_what_is_left_out_as_it_was() -> None:
    had = Had().has_team().has_environment().has_application()
    had.has_appenv("Declared", purpose=SecretPurpose.EXTERNAL_INTEGRATION)
    plan = plan_of(APPENV, had)
    secrets = body_at(plan, "/environments")["secrets"]
    assert secrets[1]["purpose"] == "external_integration"
    assert [change.action for change in plan.changes] == [Action.CHANGE]


def test_a_provisioning_under_way_is_waited_for() -> None:
    had = Had().has_team().has_environment().has_application().has_appenv("Provisioning", REQUEST)
    plan = plan_of(APPENV, had)
    assert not plan.changes
    assert [(each.request_id, each.is_settled) for each in plan.under_way] == [(REQUEST, True)]


@pytest.mark.parametrize(
    ("text", "had", "told"),
    [
        (
            APPENV,
            everything().has_appenv(issuer=CredentialIssuerName.OPENBAO),
            "line 8, secrets[1].issuer: it is openbao and cannot become postgres; write openbao",
        ),
        (
            APPENV,
            everything().has_appenv(sensitivity=SecretSensitivity.LOW),
            "line 9, secrets[1].sensitivity: it is low and cannot become high",
        ),
        (APPENV, Had(), "line 3, application: there is no application payments/shop"),
        (APPLICATION, Had(), "line 2, team: there is no team payments"),
        (
            APPLICATION,
            Had().has_team("Suspended"),
            "team payments is Suspended and starts no workflow; declare it with `state: Active`",
        ),
        (
            f"{APPLICATION}---\n{TEAM}state: Suspended\n",
            Had().has_team(),
            "team payments is Suspended and starts no workflow",
        ),
        (
            APPENV,
            Had().has_team().has_application(),
            "line 4, environment: there is no environment staging",
        ),
        (
            APPENV,
            Had().has_team().has_environment("Frozen").has_application(),
            "environment staging is Frozen and nothing is provisioned in it",
        ),
        (
            APPENV,
            Had().has_team().has_environment().has_application("Approved"),
            "payments/shop is Approved and not onboarded yet; type `",
        ),
        (APPENV, everything(appenv="Retired"), "it is Retired, which is for good"),
        (APPENV, everything(appenv="Decommissioning"), "when that request has ended"),
        (
            APPENV,
            Had().has_team().has_environment().has_application("Deprecated"),
            "payments/shop is Deprecated and gets no environment; take this document out",
        ),
        (TEAM, Had().has_team("Archived"), "it is Archived, which is for good"),
        (ENVIRONMENT, Had().has_environment("Retired"), "it is Retired, which is for good"),
        (APPLICATION, Had().has_application("Archived"), "it is Archived, which is for good"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place_and_what_to_do(
    text: str, had: Had, told: str
) -> None:
    plan = plan_of(text, had)
    assert any(told in refusal for refusal in plan.refusals), plan.refusals


def test_a_new_environment_that_is_to_be_frozen_is_frozen_once_it_is_there() -> None:
    plan = plan_of(f"{APPENV}state: Frozen\n", Had().has_team().has_environment().has_application())
    assert commands_of(plan) == ["POST /v1/applications/ID/environments"]
    assert [each.subject for each in plan.unsettled] == ["payments/shop/staging"]


def test_only_the_first_command_is_bound_to_what_was_compared() -> None:
    had = Had().has_team("Draft", name="Paying")
    (change,) = plan_of(TEAM, had).changes
    sent = [command for command in change.commands if isinstance(command, Command)]
    assert [command.if_match for command in sent] == ['"/v1/teams/payments"', None]


# ── a team's policy, limits and former members ───────────────────────────────────────────────


def test_of_a_policy_and_limits_only_what_is_given_is_changed() -> None:
    text = f"{TEAM}policy: {{undoOnFailure: true}}\nlimits: {{maxApplications: 20}}\n"
    had = Had(own_limits=SetTeamLimits(max_applications=5, max_active_requests=3)).has_team()
    plan = plan_of(text, had)
    assert commands_of(plan) == ["PUT /v1/teams/payments/policy", "PUT /v1/teams/payments/limits"]
    wanted = TeamPolicy(undo_on_failure=True)
    assert body_at(plan, "/policy") == wanted.model_dump(mode="json")
    assert body_at(plan, "/limits") == {
        "maxApplications": 20,
        "maxApplicationEnvironments": None,
        "maxActiveRequests": 3,
    }
    assert "policy.undoOnFailure  [/]  false [dim]→[/] true" in told(plan)
    assert "limits.maxApplications[/]  5 [dim]→[/] 20" in told(plan)
    (change,) = plan.changes
    sent = [command for command in change.commands if isinstance(command, Command)]
    assert [command.if_match for command in sent] == [f'"{command.path}"' for command in sent]


@pytest.mark.parametrize(
    "given", ["policy: {undoOnFailure: false}\n", "limits: {maxApplications: 5}\n", "policy: {}\n"]
)
def test_a_policy_and_limits_that_hold_already_change_nothing(given: str) -> None:
    had = Had(own_limits=SetTeamLimits(max_applications=5)).has_team()
    assert not plan_of(f"{TEAM}{given}", had).changes


def test_a_limit_goes_back_to_the_platform_s() -> None:
    had = Had(own_limits=SetTeamLimits(max_applications=5)).has_team()
    plan = plan_of(f"{TEAM}limits: {{maxApplications: null}}\n", had)
    assert body_at(plan, "/limits")["maxApplications"] is None
    assert "5 [dim]→[/] the platform's" in told(plan)


def test_a_new_team_gets_its_policy_once_it_is_there() -> None:
    text = f"{TEAM}policy: {{undoOnFailure: true}}\nlimits: {{maxActiveRequests: 2}}\n"
    assert commands_of(plan_of(text, Had())) == [
        "POST /v1/teams",
        "POST /v1/teams/payments/activate",
        "PUT /v1/teams/payments/policy",
        "PUT /v1/teams/payments/limits",
    ]


def test_who_is_no_member_any_more_goes() -> None:
    text = f"{TEAM}formerMembers: [ana, kim]\n"
    had = Had(members={"ana": TeamRole.TEAM_VIEWER, "bo": TeamRole.TEAM_VIEWER}).has_team()
    plan = plan_of(text, had)
    assert commands_of(plan) == ["DELETE /v1/teams/payments/members/ana"]
    assert "team-viewer [dim]→[/] no member" in told(plan)


# ── secrets of an environment that is in use ─────────────────────────────────────────────────

MORE = f"{APPENV}  - name: mailer\n    purpose: external_integration\n"


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        (MORE, "1 to change."),
        (f"{APPENV}---\n{SECRET}", "1 to create, 1 to change."),
        (f"{SECRET}---\n{DB}", "1 to create, 1 to change, 1 as declared."),
    ],
    ids=["among its secrets", "in a document of its own", "in that alone"],
)
def test_what_an_environment_in_use_lacks_is_added(text: str, counted: str) -> None:
    plan = plan_of(text, everything())
    assert commands_of(plan) == ["POST /v1/application-environments/ID/secrets"]
    (secret,) = body_at(plan, "/secrets")["secrets"]
    assert (secret["name"], secret["purpose"]) == ("mailer", "external_integration")
    assert "openbao, external_integration, medium" in told(plan)
    assert told(plan).endswith(counted)
    assert not plan.under_way


def test_all_that_it_lacks_is_added_by_one_request() -> None:
    other = SECRET.replace("mailer", "images") + "issuer: harbor\n"
    plan = plan_of(f"{MORE}---\n{other}", everything())
    assert [each["name"] for each in body_at(plan, "/secrets")["secrets"]] == ["mailer", "images"]


def test_one_that_came_to_nothing_is_added_again_and_may_be_another() -> None:
    had = everything().has_db("Declared", sensitivity=SecretSensitivity.LOW)
    plan = plan_of(APPENV, had)
    (again,) = body_at(plan, "/secrets")["secrets"]
    assert (again["name"], again["sensitivity"]) == ("db", "high")


def test_what_is_under_way_in_it_is_waited_for() -> None:
    plan = plan_of(
        MORE, Had().has_team().has_environment().has_application().has_appenv("Active", REQUEST)
    )
    assert not plan.changes
    assert [(each.request_id, each.is_settled) for each in plan.under_way] == [(REQUEST, False)]


def test_a_secret_on_its_way_is_compared_to_its_end() -> None:
    had = everything()
    coming = secret("mailer", state="Provisioning", purpose=SecretPurpose.EXTERNAL_INTEGRATION)
    had.appenvs["staging"] = had.appenvs["staging"].model_copy(
        update={"secrets": (coming,), "active_request_id": REQUEST}
    )
    plan = plan_of(SECRET, had)
    assert [(each.request_id, each.is_settled) for each in plan.under_way] == [(REQUEST, True)]
    plan = plan_of(f"{SECRET}rotation: {{interval: 7d}}\n", had)
    assert not plan.changes
    assert [each.is_settled for each in plan.under_way] == [False]


def test_it_is_unfrozen_first_and_frozen_last() -> None:
    assert commands_of(plan_of(f"{MORE}state: Active\n", everything(appenv="Frozen"))) == [
        "POST /v1/application-environments/ID/unfreeze",
        "POST /v1/application-environments/ID/secrets",
    ]
    plan = plan_of(f"{MORE}state: Frozen\n", everything())
    assert commands_of(plan) == ["POST /v1/application-environments/ID/secrets"]
    assert [each.subject for each in plan.unsettled] == ["payments/shop/staging"]


@pytest.mark.parametrize(
    ("text", "had", "told"),
    [
        (MORE, everything(appenv="Frozen"), "line 10, secrets[2]: payments/shop/staging is Frozen"),
        (SECRET, everything(appenv="Frozen"), "line 1: payments/shop/staging is Frozen and gets"),
        (SECRET, everything(environment="Frozen"), "line 4, environment: environment staging is F"),
        (SECRET, everything(team="Suspended"), "line 2, team: team payments is Suspended and sta"),
        (
            SECRET,
            everything(application="Deprecated"),
            "line 3, application: payments/shop is Deprecated and its environments get no secret",
        ),
        (
            SECRET,
            Had(),
            "line 4, environment: there is no application environment payments/shop/st",
        ),
        (SECRET, everything(appenv="Declared"), "is Declared and not provisioned; declare it with"),
        (SECRET, everything(appenv="Retired"), "payments/shop/staging is Retired, which is for go"),
        (
            f"{DB}issuer: openbao\n",
            everything(),
            "another name (what one issuer made no other takes back)",
        ),
        (
            f"{APPENV}---\n{DB}purpose: runtime\nsensitivity: high\n",
            everything().has_appenv(sensitivity=SecretSensitivity.LOW),
            "line 9, secrets[1].sensitivity: it is low and cannot become high",
        ),
        (
            f"{APPENV}---\n{DB}purpose: external_integration\n",
            everything(),
            "line 16, purpose: it is runtime and cannot become external_integration",
        ),
        (DB, everything().has_db("Revoked"), "line 1: db is Revoked, which is for good"),
        (APPENV, everything().has_db("Archived"), "line 7, secrets[1]: db is Archived"),
    ],
)
def test_a_secret_that_cannot_be_is_refused_with_its_place(text: str, had: Had, told: str) -> None:
    plan = plan_of(text, had)
    assert any(told in refusal for refusal in plan.refusals), plan.refusals


# ── secrets in documents of their own ────────────────────────────────────────────────────────


def test_a_new_environment_gets_the_secrets_of_all_documents() -> None:
    rotation = "rotation: {interval: 7d}\n"
    plan = plan_of(f"{ALL}---\n{SECRET}{rotation}---\n{DB}", Had())
    (environment,) = body_at(plan, "/v1/applications")["environments"]
    assert [each["name"] for each in environment["secrets"]] == ["app-key", "db", "mailer"]
    assert environment["secrets"][2]["purpose"] == "external_integration"
    assert [each.subject for each in plan.unsettled] == ["payments/shop/staging/mailer"]
    assert told(plan).endswith("6 to create, 1 under way.")


def test_it_waits_with_its_application_for_somebody_to_approve_that() -> None:
    had = Had().has_team().has_environment().has_application("Proposed", REQUEST)
    plan = plan_of(f"{ALL}---\n{SECRET}", had)
    *_, secret = plan.under_way
    assert (secret.subject, secret.request_id) == ("payments/shop/staging/mailer", REQUEST)
    assert secret.proposed_id == had.applications["payments", "shop"].id


def test_its_rotation_is_changed_where_it_differs() -> None:
    text = f"{DB}rotation: {{interval: 7d, window: mon-fri 22-06 Europe/Madrid}}\n"
    plan = plan_of(text, everything())
    assert commands_of(plan) == ["PUT /v1/secrets/ID/rotation-policy"]
    policy = body_at(plan, "/rotation-policy")
    assert (policy["intervalSeconds"], policy["graceSeconds"]) == (7 * DAY, 3600)
    assert policy["window"]["timeZone"] == "Europe/Madrid"
    assert "rotation.interval[/]  30d [dim]→[/] 7d" in told(plan)
    assert "any time [dim]→[/] mon-fri 22-06 Europe/Madrid" in told(plan)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "rotation: {interval: 720h, grace: 60m, window: any}\n",
        "rotation: {}\n",
        "state: Active\n",
    ],
)
def test_a_rotation_that_holds_already_changes_nothing(given: str) -> None:
    assert told(plan_of(f"{DB}{given}", everything())) == "Nothing to do: 1 as declared."


def test_it_is_suspended_and_resumed() -> None:
    plan = plan_of(f"{DB}state: Suspended\nrotation: {{grace: 0s}}\n", everything())
    assert commands_of(plan) == [
        "PUT /v1/secrets/ID/rotation-policy",
        "POST /v1/secrets/ID/suspend",
    ]
    suspended = everything().has_db("Suspended")
    assert commands_of(plan_of(f"{DB}state: Active\n", suspended)) == ["POST /v1/secrets/ID/resume"]
    assert not plan_of(DB, suspended).changes


def test_a_rotation_under_way_is_over_before_it_is_suspended() -> None:
    plan = plan_of(f"{DB}state: Suspended\n", everything().has_db("Rotating"))
    assert not plan.changes
    assert [each.subject for each in plan.unsettled] == ["payments/shop/staging/db"]
