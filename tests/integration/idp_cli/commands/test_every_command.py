"""Every command there is does its part against the real control plane, group by group.

What a group's tests run is seen where Typer runs it, and held against the tree of commands: a new
command without a line here fails. What another party answers is refused here, where there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from idp_cli.command_tree import commands_of
from idp_cli.exits import ExitCode
from idp_cli.main import app
from idp_cli.supervision.home import Home
from local_stack.postgres_setup import connect_as_superuser
from tests.fixtures.stack import PostgresServer
from tests.integration.idp_cli.commands.conftest import (
    Idp,
    Perform,
    new_name,
    read_list,
    shown_json,
)

COMMANDS = [words for words, _command in commands_of(cast("TyperGroup", get_command(app)))]
WITH_VALUES = (
    """UPDATE control_plane.secrets SET version = 1, store_path = 'teams/x/appenv/y/' || name
       WHERE application_environment_id = %s""",
    "UPDATE control_plane.secret_bindings SET version = 1 WHERE application_environment_id = %s",
)
REVOKED = (
    "UPDATE control_plane.secrets SET state = 'Revoked' WHERE application_environment_id = %s",
    """UPDATE control_plane.secret_bindings SET state = 'Revoked'
       WHERE application_environment_id = %s""",
)


@dataclass
class World:
    """An active team with an application in use, and an environment."""

    idp: Idp
    team: str
    application: str
    environment: str
    perform: Perform
    retire: Perform
    server: PostgresServer
    folder: Path

    def says(self, expected: str, *arguments: str) -> None:
        """The command goes well, and says that too."""
        assert expected in self.idp(*arguments)

    def refuses(
        self,
        code: str,
        *arguments: str,
        token: str | None = None,
        exit_code: ExitCode = ExitCode.FAILED,
    ) -> None:
        """The platform, or the command itself, refuses it with that code."""
        assert code in self.idp(*arguments, token=token, code=exit_code)

    def accepted(self, *arguments: str) -> dict[str, Any]:
        return shown_json(self.idp, *arguments)

    def provisioned(self, *secrets: str) -> str:
        """The id of the application environment, as if it was provisioned."""
        named = [word for each in secrets for word in ("--secret", each)]
        words = ("env", "provision", self.application, self.environment)
        accepted = self.accepted(*words, *named)
        self.perform(self.team, self.application)
        return str(accepted["applicationEnvironmentId"])

    def execute(self, statements: tuple[str, ...], subject_id: str) -> None:
        with closing(connect_as_superuser(self.server.address, "idp")) as database:
            for statement in statements:
                database.execute(statement, (subject_id,))


@pytest.fixture
def world(
    idp: Idp,
    team: str,
    onboarded: str,
    environment: str,
    perform: Perform,
    retire: Perform,
    postgres_server: PostgresServer,
    tmp_path: Path,
) -> World:
    return World(idp, team, onboarded, environment, perform, retire, postgres_server, tmp_path)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The commands whose bodies Typer has run since, as they are typed."""
    seen: set[str] = set()
    invoke = TyperCommand.invoke

    def noting(command: TyperCommand, context: Any) -> Any:
        seen.add(context.command_path.partition(" ")[2])
        return invoke(command, context)

    monkeypatch.setattr(TyperCommand, "invoke", noting)
    return seen


# ── what each group does ─────────────────────────────────────────────────────────────────────


def of_this_machine(world: World) -> None:
    """Its home is held by another, and then nothing runs there."""
    place = Home.at(world.folder / "idp")
    home = ("--home", str(place.root))
    place.prepare()
    with place.locked():
        world.refuses("already_running", "up", *home)
    nobody = world.accepted("token", "create", new_name("nobody"))["token"]
    world.refuses("not_allowed", "demo", *home, token=nobody)
    world.refuses("not_running", "status", *home, exit_code=ExitCode.UNREACHABLE)
    world.idp("down", *home)
    world.says("you are admin", "doctor", *home)
    world.says("complete", "completion", "bash")
    world.says("yes", "drain")
    world.says("no", "resume")
    world.says("platform admin", "whoami")
    world.says("team_created", "events", "--team", world.team)
    declared, team = world.folder / "declared.yaml", new_name("team")
    declared.write_text(f"kind: Team\nslug: {team}\n")
    world.says(f"+ Team {team}", "apply", "-f", str(declared), "--dry-run")


def of_teams(world: World) -> None:
    team, person = new_name("team"), new_name("ana")
    world.says("Draft", "team", "create", team)
    world.says("Active", "team", "activate", team)
    world.says(team, "team", "list", "--prefix", team)
    world.says("Otherwise", "team", "describe", team, "--name", "Otherwise")
    world.says("Otherwise", "team", "show", team)
    world.says("none", "team", "policy", team)
    world.says("7", "team", "limits", team, "--applications", "7")
    world.says(person, "team", "member", "add", team, person)
    world.says(person, "team", "member", "list", team)
    world.says("is not in team", "team", "member", "remove", team, person)
    world.says("Suspended", "team", "suspend", team)
    world.says("Active", "team", "resume", team)
    world.idp("team", "suspend", team)
    world.says("Archived", "team", "archive", team, "--yes")


def of_tokens(world: World) -> None:
    person = new_name("ci")
    created = world.accepted("token", "create", person)
    world.says(created["id"], "token", "list", "--principal", person)
    world.says(person, "token", "show", created["id"])
    world.says("no longer", "token", "revoke", created["id"])


def of_admins(world: World) -> None:
    person = new_name("root")
    world.says("opens everything", "token", "create", person, "--platform-admin")
    token = world.accepted("token", "create", person)["token"]
    world.says(person, "admin", "list")
    world.refuses("irreversible", "admin", "remove", person, token=token)
    assert "is no platform admin" in world.idp("admin", "remove", person, "--yes", token=token)
    assert person not in world.idp("admin", "list")
    world.says("is no platform admin", "admin", "remove", person)


def of_environments(world: World) -> None:
    name = new_name("env")
    world.says("Planned", "environment", "create", name)
    world.says("Active", "environment", "activate", name)
    world.says("Last", "environment", "describe", name, "--description", "Last")
    world.says("Last", "environment", "show", name)
    world.says(name, "environment", "list", "--prefix", name)
    world.says("Frozen", "environment", "freeze", name)
    world.says("Active", "environment", "unfreeze", name)
    world.idp("environment", "freeze", name)
    world.says("Retired", "environment", "retire", name, "--yes")


def of_applications(world: World) -> None:
    name = new_name("app")
    request = world.accepted("app", "register", world.team, name)["requestId"]
    world.idp("request", "cancel", request)
    assert world.accepted("app", "onboard", name)["workflow"] == "ApplicationOnboarding"
    world.says(name, "app", "list", "--team", world.team)
    world.says("Sells", "app", "describe", name, "--description", "Sells")
    world.says("Onboarding", "app", "show", name)
    world.perform(world.team, name)
    world.says("Deprecated", "app", "deprecate", name)
    ending = world.accepted("app", "decommission", name, "--yes")
    assert ending["workflow"] == "ApplicationDecommissioning"
    wanted, unwanted = new_name("app"), new_name("app")
    world.says("required", "team", "policy", world.team, "--application-approval", "required")
    for proposed in (wanted, unwanted):
        assert world.accepted("app", "register", world.team, proposed)["needsApproval"]
    world.says("none", "team", "policy", world.team, "--application-approval", "none")
    world.says("Onboarding", "app", "approve", wanted)
    world.says("Archived", "app", "reject", unwanted, "--reason", "No")


def of_application_environments(world: World) -> None:
    id_ = world.provisioned()
    world.says(id_, "env", "list", world.application)
    world.says("Active", "env", "show", id_)
    world.says("Frozen", "env", "freeze", id_)
    world.says("Active", "env", "unfreeze", id_)
    world.idp("env", "freeze", id_)
    ending = world.accepted("env", "decommission", id_, "--yes")
    assert ending["workflow"] == "ApplicationEnvironmentDecommissioning"


def of_secrets(world: World) -> None:
    id_ = world.provisioned("app-key")
    world.execute(WITH_VALUES, id_)
    address = f"{world.team}/{world.application}/{world.environment}/app-key"
    world.says(address, "secret", "list", "--team", world.team)
    world.says("Active", "secret", "show", address)
    world.says(world.environment, "secret", "bindings", address)
    world.says("2", "secret", "policy", address, "--grace", "2s")
    world.says("read it", "secret", "login", address)
    world.says("Suspended", "secret", "suspend", address)
    world.says("Active", "secret", "resume", address)
    rotation = world.accepted("secret", "rotate", address)
    assert rotation["workflow"] == "SecretRotation"
    world.idp("request", "cancel", rotation["requestId"])
    world.idp("secret", "compromised", address, "--reason", "It was in a log")
    addition = world.accepted("secret", "add", world.application, world.environment, "mailer")
    assert addition["applicationEnvironmentId"] == id_
    world.idp("request", "cancel", addition["requestId"])
    revocation = world.accepted("secret", "revoke", address, "--reason", "Over", "--yes")
    assert revocation["workflow"] == "SecretRevocation"
    world.idp("request", "cancel", revocation["requestId"])
    world.execute(REVOKED, id_)
    world.says("Archived", "secret", "archive", address)


def of_bindings(world: World) -> None:
    world.provisioned("app-key")
    address = f"{world.team}/{world.application}/{world.environment}/app-key"
    (binding,) = read_list(world.idp, "secret", "bindings", address)
    world.says("Active", "binding", "show", binding["id"])
    world.says("Suspended", "binding", "suspend", binding["id"])
    world.says("Active", "binding", "resume", binding["id"])


def of_repositories(world: World) -> None:
    code, _ = read_list(world.idp, "repository", "list", world.application)
    world.says(world.application, "repository", "show", code["id"])
    merge = ("repository", "merge", f"{world.team}/{world.application}", "topic")
    nowhere = ("--forge-url", "http://127.0.0.1:1")
    world.refuses("local-forge gave no", *nowhere, *merge, exit_code=ExitCode.UNREACHABLE)


def of_integrations(world: World) -> None:
    (found,) = read_list(world.idp, "integration", "list", world.application)
    world.says(found["repositoryId"], "integration", "show", found["id"])


def of_requests(world: World) -> None:
    accepted = world.accepted("env", "provision", world.application, world.environment)
    id_ = accepted["requestId"]
    world.says(id_, "request", "list", "--app", accepted["applicationId"])
    world.says("pending", "request", "show", id_)
    world.says("cancelled", "request", "cancel", id_)
    watched = world.idp("request", "watch", id_, code=ExitCode.REQUEST_FAILED)
    assert "cancelled" in watched
    world.refuses("nothing_to_undo", "request", "undo", id_)
    assert world.accepted("request", "retry", id_)["requestId"] == id_


GROUPS: dict[str, Callable[[World], None]] = {
    "": of_this_machine,
    "team": of_teams,
    "token": of_tokens,
    "admin": of_admins,
    "environment": of_environments,
    "app": of_applications,
    "env": of_application_environments,
    "secret": of_secrets,
    "binding": of_bindings,
    "repository": of_repositories,
    "integration": of_integrations,
    "request": of_requests,
}


def group_of(words: str) -> str:
    """`team` of `team member add`; empty of a command in no group."""
    group, _, rest = words.partition(" ")
    return group if rest else ""


@pytest.mark.parametrize("group", dict.fromkeys(group_of(words) for words in COMMANDS))
def test_every_command_of_a_group_does_its_part(world: World, run: set[str], group: str) -> None:
    GROUPS[group](world)
    assert [words for words in COMMANDS if group_of(words) == group and words not in run] == []
