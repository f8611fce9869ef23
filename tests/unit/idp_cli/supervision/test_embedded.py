"""What `idp up` tells each program is what that program's settings ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings
from sqlalchemy import make_url

from control_plane.settings import BootstrapSettings, ControlPlaneSettings
from execution_workers.settings import ExecutionWorkersSettings, LedgerSettings
from idp_cli.supervision.embedded import Embedded
from idp_cli.supervision.home import Home
from idp_cli.supervision.ports import shifted_ports
from idp_cli.supervision.programs import Program, inherited_environment
from idp_dagster.settings import EngineSettings, ExporterSettings
from idp_kernel.failpoints import FAILPOINTS_DIR_VARIABLE
from local_stack.agent.settings import AgentSettings
from local_stack.forge.settings import ForgeSettings
from local_stack.openbao import OpenBaoSettings
from local_stack.openbao_setup import OpenBaoSetupSettings
from local_stack.postgres import PostgresSettings
from local_stack.postgres_setup import PostgresSetupSettings

OFFSET = 40
SETTINGS: dict[str, type[BaseSettings]] = {
    "postgres": PostgresSettings,
    "postgres-setup": PostgresSetupSettings,
    "openbao": OpenBaoSettings,
    "openbao-setup": OpenBaoSetupSettings,
    "control-plane-bootstrap": BootstrapSettings,
    "control-plane-api": ControlPlaneSettings,
    "execution-workers-bootstrap": LedgerSettings,
    "execution-workers": ExecutionWorkersSettings,
    "engine-bootstrap": EngineSettings,
    "code-server": EngineSettings,
    "daemon": EngineSettings,
    "worker": EngineSettings,
    "webserver": EngineSettings,
    "exporter": ExporterSettings,
    "local-forge": ForgeSettings,
    "local-gitops-agent": AgentSettings,
}


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, Program]:
    home = Home.at(tmp_path / "with space" / "idp")
    home.prepare()
    return {each.name: each for each in Embedded(home, shifted_ports(OFFSET)).programs()}


def settings_of(program: Program, monkeypatch: pytest.MonkeyPatch) -> BaseSettings:
    for name in [each for each in os.environ if each.startswith("IDP_")]:
        monkeypatch.delenv(name)
    for name, value in program.environment.items():
        monkeypatch.setenv(name, value)
    return SETTINGS[program.name]()


def test_every_program_is_known_here(programs: dict[str, Program]) -> None:
    assert programs.keys() == SETTINGS.keys()


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_accept_what_they_are_told(
    programs: dict[str, Program], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(programs[name], monkeypatch)
    for value in settings.model_dump().values():
        assert not (isinstance(value, str) and value.startswith("http://127.0.0.1:80")), (
            f"{name} looks for another part on a default port: {value}"
        )


@pytest.mark.parametrize("prefix", ["IDP_CONTROL_PLANE_", "IDP_EXECUTION_WORKERS_", "IDP_ENGINE_"])
def test_no_variable_is_told_in_vain(programs: dict[str, Program], prefix: str) -> None:
    told = {name for each in programs.values() for name in each.environment}
    asked = {
        f"{settings.model_config['env_prefix']}{field}".upper()
        for settings in SETTINGS.values()
        for field in settings.model_fields
    }
    assert {name for name in told if name.startswith(prefix)} <= asked


@pytest.mark.parametrize("name", SETTINGS)
def test_a_port_that_is_waited_for_is_the_one_that_is_told(
    programs: dict[str, Program], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = programs[name]
    if program.port is None:
        return
    told = settings_of(program, monkeypatch).model_dump().values()
    assert program.port in told


def test_database_urls_name_a_password_file_and_no_password(
    programs: dict[str, Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(programs["control-plane-api"], monkeypatch)
    url = make_url(str(settings.model_dump()["database_url"]))
    assert url.password is None
    assert "with space" in str(url.query["passfile"])


def test_what_a_program_needs_is_started_with_it(programs: dict[str, Program]) -> None:
    for program in programs.values():
        assert programs.keys() >= set(program.after)
    assert not any(programs[each].after for each in ("postgres", "openbao"))


def test_only_a_few_variables_are_inherited() -> None:
    surroundings = {"HOME": "/home/ana", "AWS_SECRET_ACCESS_KEY": "x", "IDP_TOKEN": "y"}
    assert inherited_environment(surroundings).keys() == {"HOME", "PATH", "PYTHONUNBUFFERED"}
    with_failpoints = inherited_environment({FAILPOINTS_DIR_VARIABLE: "points"})
    assert with_failpoints[FAILPOINTS_DIR_VARIABLE] == "points"
