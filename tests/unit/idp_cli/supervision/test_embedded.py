"""What `idp up` tells each program is what that program's settings ask for."""

from __future__ import annotations

import os
from pathlib import Path
from pkgutil import resolve_name

import pytest
from pydantic_settings import BaseSettings
from sqlalchemy import make_url

from idp_cli.supervision.embedded import Embedded
from idp_cli.supervision.home import Home
from idp_cli.supervision.ports import shifted_ports
from idp_cli.supervision.programs import Program, inherited_environment
from idp_kernel.failpoints import FAILPOINTS_DIR_VARIABLE
from idp_kernel.services import DEFAULT_PORTS
from local_stack.openbao_setup import OpenBaoAddress
from local_stack.passfiles import passfile_path
from local_stack.postgres_setup import APPLICATIONS_DATABASE, ISSUER_ROLE

OFFSET = 40
SETTINGS: dict[str, type[BaseSettings]] = {
    program.name: resolve_name(program.settings_class or "")
    for program in Embedded(Home.at(Path("nowhere")), DEFAULT_PORTS, installation_id="x").programs()
}
"""What each program reads its settings with."""


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, Program]:
    home = Home.at(tmp_path / "with space" / "idp")
    home.prepare()
    return {each.name: each for each in Embedded(home, shifted_ports(OFFSET)).programs()}


def test_every_process_of_ours_is_told_where_its_spans_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home.at(tmp_path)
    home.prepare()
    collector = "http://127.0.0.1:4318"
    traced = Embedded(home, shifted_ports(OFFSET), collector).programs()
    for program in traced:
        settings = settings_of(program, monkeypatch)
        if "otlp_endpoint" in type(settings).model_fields:
            assert settings.model_dump()["otlp_endpoint"] == collector, program.name


def settings_of(program: Program, monkeypatch: pytest.MonkeyPatch) -> BaseSettings:
    for name in [each for each in os.environ if each.startswith("IDP_")]:
        monkeypatch.delenv(name)
    for name, value in program.environment.items():
        monkeypatch.setenv(name, value)
    return SETTINGS[program.name]()


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_accept_what_they_are_told(
    programs: dict[str, Program], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(programs[name], monkeypatch)
    for value in settings.model_dump().values():
        assert not (isinstance(value, str) and value.startswith("http://127.0.0.1:80")), (
            f"{name} looks for another part on a default port: {value}"
        )


@pytest.mark.parametrize(
    "prefix",
    [
        "IDP_CONTROL_PLANE_",
        "IDP_EXECUTION_WORKERS_",
        "IDP_ENGINE_",
        "IDP_OPENBAO_",
        "IDP_LOCAL_CONSUMER_",
    ],
)
def test_no_variable_is_told_in_vain(programs: dict[str, Program], prefix: str) -> None:
    told = {name for each in programs.values() for name in each.environment}
    asked = {
        f"{settings.model_config['env_prefix']}{field}".upper()
        for settings in SETTINGS.values()
        for field in settings.model_fields
    }
    assert {name for name in told if name.startswith(prefix)} <= asked


def test_the_store_trusts_logins_of_the_control_planes_key(
    programs: dict[str, Program],
) -> None:
    signed_with = programs["control-plane-api"].settings["IDP_CONTROL_PLANE_SIGNING_KEY_FILE"]
    assert programs["openbao-setup"].settings["IDP_OPENBAO_LOGIN_KEY_FILE"] == signed_with
    assert "IDP_OPENBAO_LOGIN_KEY_FILE" not in programs["openbao"].settings


@pytest.mark.parametrize("name", SETTINGS)
def test_a_port_that_is_waited_for_is_the_one_that_is_told(
    programs: dict[str, Program], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = programs[name]
    if program.port is None:
        return
    told = settings_of(program, monkeypatch).model_dump().values()
    assert program.port in told


@pytest.mark.parametrize(
    ("name", "variable", "where"),
    [
        ("control-plane-api", "IDP_CONTROL_PLANE_DATABASE_URL", "control_plane@idp"),
        ("execution-workers", "IDP_EXECUTION_WORKERS_DATABASE_URL", "ledger@idp"),
        (
            "execution-workers",
            "IDP_EXECUTION_WORKERS_POSTGRES_ISSUER_URL",
            f"{ISSUER_ROLE}@{APPLICATIONS_DATABASE}",
        ),
    ],
)
def test_database_urls_name_a_password_file_and_no_password(
    programs: dict[str, Program], name: str, variable: str, where: str
) -> None:
    url = make_url(str(programs[name].settings[variable]))
    assert f"{url.username}@{url.database}" == where
    assert url.password is None
    keys_dir = Path(str(programs["postgres"].settings["IDP_POSTGRES_KEYS_DIR"]))
    assert url.query["passfile"] == str(passfile_path(keys_dir, str(url.username)))
    assert "with space" in str(url.query["passfile"])


def test_credentials_are_looked_for_where_the_set_up_puts_them(
    programs: dict[str, Program],
) -> None:
    keys_dir = Path(str(programs["openbao-setup"].settings["IDP_OPENBAO_KEYS_DIR"]))
    address = OpenBaoAddress(0, keys_dir)
    for name, variable, file in (
        (
            "execution-workers",
            "IDP_EXECUTION_WORKERS_OPENBAO_APPROLE_FILE",
            address.workers_file,
        ),
        ("local-consumer", "IDP_LOCAL_CONSUMER_OPENBAO_APPROLE_FILE", address.consumer_file),
    ):
        assert programs[name].settings[variable] == str(file)
        assert "openbao-setup" in programs[name].after


def test_what_a_program_needs_is_started_with_it(programs: dict[str, Program]) -> None:
    for program in programs.values():
        assert programs.keys() >= set(program.after)
    assert not any(programs[each].after for each in ("postgres", "openbao"))


def test_only_a_few_variables_are_inherited() -> None:
    surroundings = {"HOME": "/home/ana", "AWS_SECRET_ACCESS_KEY": "x", "IDP_TOKEN": "y"}
    assert inherited_environment(surroundings).keys() == {"HOME", "PATH", "PYTHONUNBUFFERED"}
    slots = {"IDP_ENGINE_WORKER_SLOTS": "8"}
    assert inherited_environment(slots).items() > slots.items(), "settings of services are"
    with_failpoints = inherited_environment({FAILPOINTS_DIR_VARIABLE: "points"})
    assert with_failpoints[FAILPOINTS_DIR_VARIABLE] == "points"
