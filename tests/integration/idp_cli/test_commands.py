"""The command line against the real control plane on a real PostgreSQL; nothing runs requests."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from idp_cli import main as entry
from idp_cli.exits import ExitCode
from idp_cli.supervision.embedded import Embedded
from idp_cli.supervision.home import Home
from idp_cli.supervision.keys import ensure_keys
from idp_cli.supervision.ports import shifted_ports
from idp_kernel.ids import new_id
from local_stack.postgres_setup import connect_as_superuser
from tests.fixtures.stack import PostgresServer, child, free_port

Idp = Callable[..., str]


@pytest.fixture(scope="module")
def control_plane(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """The API's address and the first admin's token file."""
    postgres_server.ensure_platform()
    home = Home.at(tmp_path_factory.mktemp("cli") / "idp")
    home.prepare()
    ensure_keys(home.keys)
    port = free_port()
    (settings,) = (
        each.environment
        for each in Embedded(home, shifted_ports(0)).programs()
        if each.name == "control-plane-api"
    )
    environment = {
        **settings,
        "IDP_CONTROL_PLANE_PORT": str(port),
        "IDP_CONTROL_PLANE_DATABASE_URL": postgres_server.address.url("control_plane", "idp"),
    }
    with child("control_plane.bootstrap", environment, home.logs) as bootstrap:
        assert bootstrap.wait(60) == 0
    with child("control_plane.main", environment, home.logs):
        url = f"http://127.0.0.1:{port}"
        await_ready(url)
        yield url, home.admin_token


def await_ready(url: str) -> None:
    give_up_at = time.monotonic() + 30
    while time.monotonic() < give_up_at:
        try:
            if httpx.get(f"{url}/readyz").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("the control plane is not ready")


@pytest.fixture
def idp(
    control_plane: tuple[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Idp:
    """Runs a command line as the first admin; answers all it said."""
    url, token_file = control_plane
    monkeypatch.setenv("IDP_API_URL", url)
    monkeypatch.setenv("IDP_TOKEN_FILE", str(token_file))
    for name in ("IDP_TOKEN", "IDP_HOME", "IDP_OUTPUT"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, token: str | None = None, code: ExitCode = ExitCode.OK) -> str:
        with given_token(token):
            monkeypatch.setattr(sys, "argv", ["idp", *arguments])
            with pytest.raises(SystemExit) as ended:
                entry.main()
        said = capsys.readouterr()
        assert int(ended.value.code or 0) == code, said.out + said.err
        return said.out + said.err

    return run


@contextmanager
def given_token(token: str | None) -> Iterator[None]:
    if token is None:
        yield
        return
    os.environ["IDP_TOKEN"] = token
    try:
        yield
    finally:
        del os.environ["IDP_TOKEN"]


def new_name(kind: str) -> str:
    return f"{kind}-x{new_id()[-10:]}"


@pytest.fixture
def team(idp: Idp) -> str:
    name = new_name("team")
    idp("team", "create", name, "--name", "A team")
    idp("team", "activate", name)
    return name


@pytest.fixture
def environment(idp: Idp) -> str:
    name = new_name("env")
    idp("environment", "create", name, "--description", "For tests")
    idp("environment", "activate", name)
    return name


@pytest.fixture
def application(idp: Idp, team: str) -> str:
    """Registered; its onboarding is asked for, and nothing here performs it."""
    name = new_name("app")
    idp("app", "register", team, name)
    return name


@pytest.fixture
def onboarded(idp: Idp, application: str, postgres_server: PostgresServer) -> str:
    """As if its onboarding had been performed: the request is out of the way."""
    (request,) = (
        each["id"]
        for each in read_list(idp, "request", "list", "--state", "pending")
        if each["applicationId"] == shown_json(idp, "app", "show", application)["id"]
    )
    idp("request", "cancel", request)
    with closing(connect_as_superuser(postgres_server.address, "idp")) as database:
        database.execute(
            "UPDATE control_plane.applications SET state = 'Active' WHERE slug = %s", (application,)
        )
    return application


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
    idp("team", "archive", name)
    assert "Archived" in idp("team", "show", name)


def test_an_environment_goes_through_its_states(idp: Idp, environment: str) -> None:
    assert "Frozen" in idp("environment", "freeze", environment)
    assert "Active" in idp("environment", "unfreeze", environment)
    assert environment in idp("environment", "list")
    idp("environment", "freeze", environment)
    assert "Retired" in idp("environment", "retire", environment)


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


def test_approvals_are_refused_while_nobody_could_give_one(idp: Idp, team: str) -> None:
    assert "none" in idp("team", "policy", team)
    refused = idp(
        "team", "policy", team, "--application-approval", "required", code=ExitCode.FAILED
    )
    assert "approvals_not_available" in refused
    assert "none" in idp("team", "policy", team, "--application-approval", "none")


def shown_json(idp: Idp, *arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(idp(*arguments, "--output", "json"))
    return document


def read_list(idp: Idp, *arguments: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(idp(*arguments, "--output", "json"))
    return items


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
