"""What a file would change, by what the platform has already."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from idp_cli.declarations.comparison import compare
from idp_cli.declarations.plans import Action, Plan
from idp_cli.declarations.present import Present
from idp_cli.declarations.reading import read_declarations
from idp_cli.declarations.showing import plan_lines
from idp_kernel.ids import new_id
from idp_kernel.wire.api import (
    Application,
    ApplicationEnvironment,
    Environment,
    SecretSummary,
    Team,
)
from idp_kernel.wire.engine import TeamRole
from idp_kernel.wire.worker import CredentialIssuerName, SecretPurpose, SecretSensitivity

NOW = datetime(2027, 1, 31, tzinfo=UTC)
REQUEST = new_id()

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
ALL = f"{APPENV}---\n{APPLICATION}---\n{ENVIRONMENT}---\n{TEAM}"


@dataclass
class Had:
    """What the platform has; nothing at first."""

    teams: dict[str, Team] = field(default_factory=dict)
    members: dict[str, TeamRole] = field(default_factory=dict)
    environments: dict[str, Environment] = field(default_factory=dict)
    applications: dict[tuple[str, str], Application] = field(default_factory=dict)
    appenvs: dict[str, ApplicationEnvironment] = field(default_factory=dict)

    def team(self, slug: str) -> Team | None:
        return self.teams.get(slug)

    def roles(self, _slug: str) -> dict[str, TeamRole]:
        return self.members

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
    (register,) = (
        command.body
        for change in plan.changes
        for command in change.commands
        if command.path == "/v1/applications"
    )
    assert register is not None
    (environment,) = register.model_dump()["environments"]
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
    (change,) = plan_of(APPENV, had).changes
    body = change.commands[0].body
    assert body is not None
    assert body.model_dump()["secrets"][1]["purpose"] == "external_integration"
    assert change.action == Action.CHANGE


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
        (
            f"{APPENV}  - name: more\n",
            everything(),
            "secrets[2]: payments/shop/staging has no secret more, and gets none once it is pro",
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
    assert [command.if_match for command in change.commands] == ['"/v1/teams/payments"', None]
