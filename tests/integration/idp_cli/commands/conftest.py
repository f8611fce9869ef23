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
from tests.fixtures.terminal import Terminal, in_terminal

Idp = Callable[..., str]


@pytest.fixture(scope="package")
def control_plane(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """The API's address and the first admin's token file, for all tests here."""
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
        assert bootstrap.wait(90) == 0
    with child("control_plane.main", environment, home.logs):
        url = f"http://127.0.0.1:{port}"
        await_ready(url)
        yield url, home.admin_token


def await_ready(url: str) -> None:
    give_up_at = time.monotonic() + 90
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
def typed(control_plane: tuple[str, Path], *arguments: str) -> Iterator[Terminal]:
    """The command line as the first admin types it at a terminal."""
    url, token_file = control_plane
    surroundings = {
        "PATH": os.environ["PATH"],
        "IDP_API_URL": url,
        "IDP_TOKEN_FILE": str(token_file),
        "IDP_HOME": str(token_file.parent / "none"),
    }
    command = [str(Path(sys.executable).with_name("idp")), *arguments]
    with in_terminal(command, surroundings) as terminal:
        yield terminal


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


Perform = Callable[[str, str], None]
"""Does as if what is asked for of an application had been performed: takes team and slug."""


@pytest.fixture
def perform(idp: Idp, postgres_server: PostgresServer) -> Perform:
    """The requests are out of the way, and their subjects are as if they had succeeded."""

    def become(team: str, application: str) -> None:
        found = shown_json(idp, "app", "show", application, "--team", team)["id"]
        for request in read_list(idp, "request", "list", "--app", found, "--state", "pending"):
            idp("request", "cancel", request["id"])
        _execute(postgres_server, _PERFORMED, found)

    return become


@pytest.fixture
def retire(idp: Idp, postgres_server: PostgresServer) -> Perform:
    """The application's environments are as if they had been decommissioned."""

    def become(team: str, application: str) -> None:
        found = shown_json(idp, "app", "show", application, "--team", team)["id"]
        _execute(postgres_server, _RETIRED, found)

    return become


def _execute(server: PostgresServer, statements: tuple[str, ...], application_id: str) -> None:
    with closing(connect_as_superuser(server.address, "idp")) as database:
        for statement in statements:
            database.execute(statement, (application_id,))


_RETIRED = (
    "UPDATE control_plane.application_environments SET state = 'Retired' WHERE application_id = %s",
)
_PERFORMED = (
    "UPDATE control_plane.applications SET state = 'Active' WHERE id = %s",
    "UPDATE control_plane.application_repositories SET state = 'Active' WHERE application_id = %s",
    "UPDATE control_plane.gitops_integrations SET state = 'Active' WHERE application_id = %s",
    "UPDATE control_plane.application_environments SET state = 'Active' WHERE application_id = %s",
    """UPDATE control_plane.secrets SET state = 'Active' WHERE application_environment_id IN
       (SELECT id FROM control_plane.application_environments WHERE application_id = %s)""",
    """UPDATE control_plane.secret_bindings SET state = 'Active' WHERE application_environment_id IN
       (SELECT id FROM control_plane.application_environments WHERE application_id = %s)""",
)


@pytest.fixture
def wait_for_approval(idp: Idp, postgres_server: PostgresServer) -> Perform:
    """The application's onboarding is as its first run leaves it when it is to be approved."""

    def become(team: str, application: str) -> None:
        found = shown_json(idp, "app", "show", application, "--team", team)["id"]
        _execute(postgres_server, _WAITING_FOR_APPROVAL, found)

    return become


_WAITING_FOR_APPROVAL = (
    """UPDATE control_plane.workflow_requests SET state = 'waiting',
       waiting_reason = 'approval_pending', waiting_since = now(),
       waiting_until = now() + interval '14 days', last_seen = 'It is Proposed.'
       WHERE application_id = %s""",
)


@pytest.fixture
def onboarded(application: str, team: str, perform: Perform) -> str:
    """As if its onboarding had been performed."""
    perform(team, application)
    return application


def shown_json(idp: Idp, *arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(idp(*arguments, "--output", "json"))
    return document


def read_list(idp: Idp, *arguments: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(idp(*arguments, "--output", "json"))
    return items
