"""The command line against the real control plane on a real PostgreSQL; nothing runs requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from idp_cli.api import Api
from idp_cli.exits import ExitCode
from idp_kernel.wire.api import Secret, SetRotationPolicy, SetTeamLimits, TeamLimits, TeamPolicy
from tests.integration.idp_cli.commands.conftest import (
    Idp,
    Perform,
    new_name,
    read_list,
    shown_json,
    typed,
)


def test_a_team_goes_through_its_states(idp: Idp) -> None:
    name = new_name("team")
    assert "Draft" in idp("team", "create", name)
    assert "Active" in idp("team", "activate", name)
    refused = idp("team", "activate", name, code=ExitCode.FAILED)
    assert "move_refused" in refused
    assert "Suspended" in idp("team", "suspend", name)
    assert "Active" in idp("team", "resume", name)
    assert name in idp("team", "list")
    idp("team", "suspend", name)
    idp("team", "archive", name, "--yes")
    assert "Archived" in idp("team", "show", name)


def test_an_environment_goes_through_its_states(idp: Idp, environment: str) -> None:
    assert "Frozen" in idp("environment", "freeze", environment)
    assert "Active" in idp("environment", "unfreeze", environment)
    assert environment in idp("environment", "list")
    idp("environment", "freeze", environment)
    assert "Retired" in idp("environment", "retire", environment, "--yes")


def test_a_member_works_with_a_token_until_it_is_revoked(idp: Idp, team: str) -> None:
    person = new_name("ana")
    idp("team", "member", "add", team, person, "--role", "team-maintainer")
    assert person in idp("team", "member", "list", team)
    created = json.loads(idp("token", "create", person, "--output", "json"))
    me = idp("whoami", token=created["token"])
    assert person in me
    assert "team-maintainer" in me
    refused = idp("team", "create", new_name("team"), token=created["token"], code=ExitCode.FAILED)
    assert "not_allowed" in refused
    assert created["token"] not in idp("token", "list")
    assert "no longer" in idp("token", "revoke", created["id"])
    gone = idp("whoami", token=created["token"], code=ExitCode.FAILED)
    assert "token_revoked" in gone
    assert "idp token create" in gone


def test_an_onboarding_is_asked_for_seen_and_cancelled(
    idp: Idp, team: str, environment: str
) -> None:
    name = new_name("app")
    accepted = json.loads(
        idp(
            *("app", "register", team, name, "--provision", environment),
            *("--secret", "db:postgres:high", "--output", "json"),
        )
    )
    request = accepted["requestId"]
    assert accepted["workflow"] == "ApplicationOnboarding"
    application = shown_json(idp, "app", "show", name)
    assert (application["id"], application["state"]) == (accepted["applicationId"], "Onboarding")
    assert application["activeRequestId"] == request
    assert {each["name"] for each in application["repositories"]} == {name, f"{name}-deploy"}
    assert request in idp("request", "list", "--team", team, "--state", "pending")
    assert "create_code_repository" in idp("request", "show", request)
    idp("env", "provision", name, environment, code=ExitCode.FAILED)
    idp("request", "cancel", request, "--reason", "it was a test")
    assert shown_json(idp, "app", "show", name)["state"] == "Approved"
    watched = idp("request", "watch", request, code=ExitCode.REQUEST_FAILED)
    assert "cancelled" in watched
    assert f"idp request retry {request}" in watched
    idp("request", "retry", request)
    assert shown_json(idp, "request", "show", request)["state"] == "pending"
    offered = idp("request", "cancel", request)
    assert f"idp request undo {request} --preview" in offered
    assert "a pull request that it waited for: close that" in " ".join(offered.split())
    shown = shown_json(idp, "request", "undo", request, "--preview")
    assert (shown["mayBeUndone"], shown["items"]) == (False, [])
    assert "nothing_to_undo" in idp("request", "undo", request, "--preview")
    assert "nothing_to_undo" in idp("request", "undo", request, code=ExitCode.FAILED)
    assert shown_json(idp, "app", "onboard", name)["workflow"] == "ApplicationOnboarding"


def new_maintainer(idp: Idp, team: str) -> str:
    """The token of one who may decide in the team."""
    person = new_name("ana")
    idp("team", "member", "add", team, person, "--role", "team-maintainer")
    return str(json.loads(idp("token", "create", person, "--output", "json"))["token"])


def test_an_application_is_proposed_and_somebody_else_decides(idp: Idp, team: str) -> None:
    assert "required" in idp("team", "policy", team, "--application-approval", "required")
    proposer, other = new_maintainer(idp, team), new_maintainer(idp, team)
    wanted, unwanted = new_name("app"), new_name("app")
    said = idp("app", "register", team, wanted, token=proposer)
    proposed = shown_json(idp, "app", "show", wanted)
    assert "The application is to be approved first" in said
    assert f"idp app approve {proposed['id']}" in said
    assert proposed["state"] == "Proposed"
    refused = idp("app", "approve", wanted, token=proposer, code=ExitCode.FAILED)
    assert "own_proposal" in refused
    assert f"idp team member list {team} --role team-maintainer" in refused
    approved = idp("app", "approve", wanted, "--reason", "We agreed", token=other)
    assert "Onboarding" in approved
    assert f"idp request watch {proposed['activeRequestId']}" in approved

    request = json.loads(idp("app", "register", team, unwanted, "--output", "json"))["requestId"]
    assert "Archived" in idp("app", "reject", unwanted, "--reason", "Not that one", token=other)
    assert shown_json(idp, "request", "show", request)["state"] == "cancelled"
    assert "application_exists" in idp("app", "register", team, unwanted, code=ExitCode.FAILED)


def test_an_onboarding_that_waits_for_an_approval_is_not_sat_out(
    idp: Idp, team: str, wait_for_approval: Perform
) -> None:
    idp("team", "policy", team, "--application-approval", "required")
    name = new_name("app")
    request = json.loads(idp("app", "register", team, name, "--output", "json"))["requestId"]
    wait_for_approval(team, name)
    assert request in idp("request", "list", "--team", team, "--waiting-for", "approval_pending")
    assert request not in idp("request", "list", "--team", team, "--waiting-for", "circuit_open")
    idp("request", "cancel", request)
    again = json.loads(idp("app", "onboard", name, "--output", "json"))
    assert again["needsApproval"]


def test_an_environment_is_asked_for_once(idp: Idp, onboarded: str, environment: str) -> None:
    accepted = json.loads(
        idp(
            *("env", "provision", onboarded, environment, "--secret", "db:postgres:high"),
            *("--secret", "pull:container_registry", "--output", "json"),
        )
    )
    request, appenv = accepted["requestId"], accepted["applicationEnvironmentId"]
    second = idp("env", "provision", onboarded, environment, code=ExitCode.FAILED)
    assert "workflow_active" in second
    assert f"idp request watch {request}" in second
    listed = idp("env", "list", onboarded)
    assert appenv in listed
    assert request in listed
    secrets = {each["name"]: each for each in shown_json(idp, "env", "show", appenv)["secrets"]}
    assert (secrets["db"]["sensitivity"], secrets["db"]["issuer"]) == ("high", "postgres")
    assert secrets["pull"]["purpose"] == "container_registry"


def test_a_secret_is_found_and_its_policy_kept(
    idp: Idp, team: str, onboarded: str, environment: str
) -> None:
    idp("env", "provision", onboarded, environment, "--secret", "db:postgres:high")
    db = f"{team}/{onboarded}/{environment}/db"
    secret = shown_json(idp, "secret", "show", db)
    assert secret["issuer"] == "postgres"
    assert db in idp("secret", "list", "--team", team, "--app", onboarded)
    assert "none" in idp("secret", "list", "--team", team, "--due")
    (binding,) = read_list(idp, "secret", "bindings", db)
    assert binding["secretId"] == secret["id"]
    default = shown_json(idp, "secret", "policy", db)
    changed = shown_json(
        idp, "secret", "policy", db, "--grace", "2s", "--window", "mon-fri 22-06 Europe/Madrid"
    )
    assert changed["graceSeconds"] == 2
    assert changed["intervalSeconds"] == default["intervalSeconds"]
    assert changed["window"]["timeZone"] == "Europe/Madrid"
    assert shown_json(idp, "secret", "policy", db, "--default") == default
    refused = idp("secret", "rotate", db, code=ExitCode.FAILED)
    assert "workflow_active" in refused or "secret_not_active" in refused


def test_of_a_policy_what_is_left_out_stays(idp: Idp, team: str) -> None:
    assert "none" in idp("team", "policy", team)
    assert "required" in idp("team", "policy", team, "--application-approval", "required")
    assert shown_json(idp, "team", "policy", team, "--undo-on-failure")["undoOnFailure"]
    kept = shown_json(idp, "team", "policy", team)
    assert (kept["applicationApproval"], kept["undoOnFailure"]) == ("required", True)
    kept = shown_json(idp, "team", "policy", team, "--application-approval", "none")
    assert (kept["applicationApproval"], kept["undoOnFailure"]) == ("none", True)
    assert not shown_json(idp, "team", "policy", team, "--keep-on-failure")["undoOnFailure"]


def test_a_policy_that_somebody_changed_meanwhile_is_left_alone(
    idp: Idp, team: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Api.put

    def overtaken(api: Api, path: str, *arguments: Any, **more: Any) -> Any:
        put(api, path, TeamPolicy, TeamPolicy(undo_on_failure=True))
        return put(api, path, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Api, "put", overtaken)
        said = idp("team", "policy", team, "--application-approval", "none", code=ExitCode.FAILED)
    assert "precondition_failed" in said
    assert shown_json(idp, "team", "policy", team)["undoOnFailure"], "theirs stands"


def test_limits_and_rotation_policies_that_somebody_changed_meanwhile_are_left_alone(
    idp: Idp, team: str, onboarded: str, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    idp("env", "provision", onboarded, environment, "--secret", "db:postgres:high")
    db = f"{team}/{onboarded}/{environment}/db"
    put = Api.put
    theirs: dict[str, Any] = {
        "limits": (TeamLimits, SetTeamLimits(max_applications=7)),
        "rotation-policy": (Secret, SetRotationPolicy(grace_seconds=9)),
    }

    def overtaken(api: Api, path: str, *arguments: Any, **more: Any) -> Any:
        put(api, path, *theirs[path.rpartition("/")[2]])
        return put(api, path, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Api, "put", overtaken)
        for change in (("team", "limits", team, "--requests", "3"),
                       ("secret", "policy", db, "--interval", "30d")):  # fmt: skip
            assert "precondition_failed" in idp(*change, code=ExitCode.FAILED)
    assert shown_json(idp, "team", "limits", team)["maxApplications"]["own"] == 7
    assert shown_json(idp, "secret", "policy", db)["graceSeconds"] == 9


def test_one_slug_in_two_teams_has_to_be_told_apart(idp: Idp, team: str) -> None:
    other, name = new_name("team"), new_name("app")
    idp("team", "create", other)
    idp("team", "activate", other)
    for owner in (team, other):
        idp("app", "register", owner, name)
    assert "--team" in idp("app", "show", name, code=ExitCode.FAILED)
    assert other in idp("app", "show", name, "--team", other)
    assert "not_found" in idp("app", "show", new_name("app"), code=ExitCode.FAILED)


def test_events_are_told_in_order_and_in_lines_for_pipelines(
    idp: Idp, onboarded: str, environment: str
) -> None:
    request = shown_json(idp, "env", "provision", onboarded, environment)["requestId"]
    lines = idp("events", "--request", str(request), "--output", "json").splitlines()
    sequences = [json.loads(line)["sequence"] for line in lines]
    assert sequences == sorted(set(sequences))
    assert sequences
    plain = idp("events", "--request", str(request))
    assert "application_environment_provisioning_requested" in plain


def test_draining_and_resuming(idp: Idp) -> None:
    assert "yes" in idp("drain")
    assert "no" in idp("resume")


@pytest.mark.parametrize("odd", ["../../whoami", "%00", "😀", "x" * 300, "a/b"])
def test_odd_names_get_a_plain_answer(idp: Idp, odd: str) -> None:
    said = idp("team", "show", odd, code=ExitCode.FAILED)
    assert "code" in said
    assert "invariant_broken" not in said


def test_a_team_is_called_otherwise_and_limited(idp: Idp, team: str) -> None:
    assert "Payments" in idp("team", "describe", team, "--name", "Payments")
    limits = idp("team", "limits", team)
    assert "the platform" in limits
    assert "2" in idp("team", "limits", team, "--applications", "2", "--requests", "5")
    kept = shown_json(idp, "team", "limits", team, "--requests", "default")
    assert kept["maxApplications"]["own"] == 2
    assert kept["maxActiveRequests"]["own"] is None
    for _ in range(2):
        idp("app", "register", team, new_name("app"))
    refused = idp("app", "register", team, new_name("app"), code=ExitCode.FAILED)
    assert "quota_exceeded" in refused
    assert f"`idp team limits {team}`" in refused
    assert "neither a number" in idp(
        "team", "limits", team, "--requests", "many", code=ExitCode.FAILED
    )


def test_an_environment_is_shown_and_described(idp: Idp, environment: str) -> None:
    assert "For tests" in idp("environment", "show", environment)
    assert "Otherwise" in idp("environment", "describe", environment, "--description", "Otherwise")


def test_a_member_leaves_a_team(idp: Idp, team: str) -> None:
    person = new_name("ana")
    idp("team", "member", "add", team, person)
    assert person in idp("team", "member", "list", team, "--role", "team-viewer")
    assert "none" in idp("team", "member", "list", team, "--role", "team-maintainer")
    for _ in range(2):
        assert f"{person} is not in team {team}" in idp("team", "member", "remove", team, person)
    assert person not in idp("team", "member", "list", team)


def test_a_token_expires_as_asked_and_tells_its_last_use(idp: Idp) -> None:
    person = new_name("ci")
    created = shown_json(idp, "token", "create", person, "--expires", "1d12h")
    idp("whoami", token=created["token"])
    (listed,) = read_list(idp, "token", "list", "--principal", person)
    assert listed["lastUsedAt"] is not None
    shown = idp("token", "show", created["id"])
    assert created["token"] not in shown
    assert "last used" in shown
    refused = idp("token", "create", person, "--expires", "3 weeks", code=ExitCode.FAILED)
    assert "duration_invalid" in refused


def test_an_application_is_described_looked_into_and_deprecated(
    idp: Idp, team: str, onboarded: str
) -> None:
    described = idp("app", "describe", onboarded, "--description", "Where customers pay")
    assert "Where customers pay" in described
    code, deployment = sorted(
        read_list(idp, "repository", "list", onboarded), key=lambda each: str(each["kind"])
    )
    assert (code["kind"], deployment["kind"]) == ("code", "deployment")
    assert f"{team}/{onboarded}" in idp("repository", "show", code["id"])
    assert "none" in idp("repository", "list", onboarded, "--kind", "application_environment")
    (integration,) = read_list(idp, "integration", "list", onboarded)
    assert deployment["id"] in idp("integration", "show", integration["id"])
    assert "Deprecated" in idp("app", "deprecate", onboarded)


def test_an_application_is_decommissioned_once_its_environments_have_ended(
    idp: Idp, team: str, onboarded: str, environment: str, perform: Perform, retire: Perform
) -> None:
    idp("env", "provision", onboarded, environment)
    perform(team, onboarded)
    idp("app", "deprecate", onboarded)
    refused = idp("app", "decommission", onboarded, code=ExitCode.FAILED)
    assert "irreversible" in refused
    decommission = ("app", "decommission", onboarded, "--reason", "Over", "--yes")
    refused = idp(*decommission, code=ExitCode.FAILED)
    assert "application_in_use" in refused
    assert f"{environment} (Active: decommission" in refused
    assert f"idp env list {shown_json(idp, 'app', 'show', onboarded)['id']}" in refused
    retire(team, onboarded)
    accepted = shown_json(idp, *decommission)
    assert accepted["workflow"] == "ApplicationDecommissioning"
    assert "Decommissioning" in idp("app", "show", onboarded)
    assert "archiving" in idp("request", "list", "--app", accepted["applicationId"])
    idp("request", "cancel", accepted["requestId"])
    assert "Deprecated" in idp("app", "show", onboarded)


def test_an_application_environment_is_frozen_and_unfrozen(
    idp: Idp, team: str, onboarded: str, environment: str, perform: Perform
) -> None:
    accepted = shown_json(idp, "env", "provision", onboarded, environment)
    appenv = accepted["applicationEnvironmentId"]
    perform(team, onboarded)
    assert "Frozen" in idp("env", "freeze", appenv)
    refused = idp("env", "decommission", appenv, code=ExitCode.FAILED)
    assert "irreversible" in refused
    accepted = shown_json(idp, "env", "decommission", appenv, "--reason", "Over", "--yes")
    assert accepted["workflow"] == "ApplicationEnvironmentDecommissioning"
    assert "Decommissioning" in idp("env", "show", appenv)
    idp("request", "cancel", accepted["requestId"])
    assert "Active" in idp("env", "unfreeze", appenv)
    assert appenv in idp("env", "list", "--team", team, "--environment", environment)
    assert "none" in idp("env", "list", onboarded, "--state", "Frozen")


def test_a_secret_and_its_binding_are_suspended_and_go_on(
    idp: Idp, team: str, onboarded: str, environment: str, perform: Perform
) -> None:
    idp("env", "provision", onboarded, environment, "--secret", "app-key")
    perform(team, onboarded)
    address = f"{team}/{onboarded}/{environment}/app-key"
    (binding,) = read_list(idp, "secret", "bindings", address)
    assert binding["id"] in idp("binding", "show", binding["id"])
    assert "Suspended" in idp("binding", "suspend", binding["id"])
    assert "Active" in idp("binding", "resume", binding["id"])
    assert "Suspended" in idp("secret", "suspend", address)
    assert "Active" in idp("secret", "resume", address)
    assert address in idp("secret", "list", "--environment", environment, "--prefix", "app")
    reported = ("secret", "compromised", address, "--reason", "It was in a log")
    assert "secret_without_value" in idp(*reported, code=ExitCode.FAILED)


def test_a_secret_is_revoked_once_that_is_agreed_to(
    idp: Idp, team: str, onboarded: str, environment: str, perform: Perform
) -> None:
    idp("env", "provision", onboarded, environment, "--secret", "app-key")
    perform(team, onboarded)
    address = f"{team}/{onboarded}/{environment}/app-key"
    reason = ("--reason", "It is over")
    refused = idp("secret", "revoke", address, *reason, code=ExitCode.FAILED)
    assert "irreversible" in refused
    assert "Active" in idp("secret", "show", address)
    accepted = shown_json(idp, "secret", "revoke", address, *reason, "--yes")
    assert accepted["workflow"] == "SecretRevocation"
    assert "Suspended" in idp("secret", "show", address)
    assert "move_refused" in idp("secret", "archive", address, code=ExitCode.FAILED)
    idp("request", "cancel", accepted["requestId"])
    assert "Active" in idp("secret", "show", address)


def test_lists_end_at_their_limit_and_follow_pages_without_one(
    idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = new_name("many")
    for number in range(3):
        idp("environment", "create", f"{prefix}-n{number}")
    monkeypatch.setattr("idp_cli.api.PAGE_SIZE", 2)
    assert len(read_list(idp, "environment", "list", "--prefix", prefix)) == 3
    assert len(read_list(idp, "environment", "list", "--prefix", prefix, "--limit", "1")) == 1


def test_lists_are_narrowed_by_when_things_came_to_be(idp: Idp, team: str) -> None:
    assert team in idp("team", "list", "--after", "1h", "--state", "Active")
    assert "none" in idp("team", "list", "--before", "2020-01-01")
    assert "time_invalid" in idp("team", "list", "--after", "yesterday", code=ExitCode.FAILED)
    events = idp("events", "--team", team, "--type", "team_created", "--output", "yaml")
    (event,) = yaml.safe_load_all(events)
    assert event["type"] == "team_created"
    assert idp("events", "--team", team, "--limit", "1").count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        "whoami", "team list", "team limits TEAM", "token list --limit 3", "environment list",
        "app list --team TEAM", "app show APP", "env list", "secret list", "request list",
        "repository list APP",
    ],
)  # fmt: skip
def test_yaml_says_what_json_says(command: str, idp: Idp, team: str, onboarded: str) -> None:
    arguments = command.replace("TEAM", team).replace("APP", onboarded).split()
    as_json = json.loads(idp(*arguments, "--output", "json"))
    assert yaml.safe_load(idp(*arguments, "--output", "yaml")) == as_json


def test_a_refusal_is_one_document_for_a_program(idp: Idp) -> None:
    problem = yaml.safe_load(
        idp("team", "show", new_name("none"), "--output", "yaml", code=ExitCode.FAILED)
    )
    assert problem["code"] == "not_found"
    assert "next" in problem


@pytest.mark.parametrize(
    ("before", "told"), [("drain", "the platform is draining"), ("resume", "no run has taken it")]
)
def test_whoever_watches_is_told_why_nothing_happens(
    before: str,
    told: str,
    idp: Idp,
    control_plane: tuple[str, Path],
    team: str,
    application: str,
) -> None:
    found = shown_json(idp, "app", "show", application, "--team", team)["id"]
    (request,) = read_list(idp, "request", "list", "--app", found)
    idp(before)
    try:
        with typed(control_plane, "request", "watch", request["id"]) as terminal:
            terminal.read_until(told)
            idp("request", "cancel", request["id"])
            _said, ended = terminal.read_to_end()
    finally:
        idp("resume")
    assert ended == ExitCode.REQUEST_FAILED
