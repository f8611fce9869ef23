"""The configuration is read back by supervisor itself."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from supervisor.options import ServerOptions

from idp_cli.supervision.configuration import configuration_text
from idp_cli.supervision.embedded import Embedded
from idp_cli.supervision.home import Home
from idp_cli.supervision.programs import Group, Program
from idp_kernel.services import DEFAULT_PORTS


def read_back(home: Home, programs: tuple[Program, ...]) -> dict[str, Any]:
    home.configuration.write_text(configuration_text(home, programs), encoding="utf-8")
    options = ServerOptions()
    options.realize(["-c", str(home.configuration)])
    return {group.name: group for group in options.process_group_configs}


@pytest.mark.parametrize("name", ["idp", "with space", "ünïcode", "a,b=c (d)"])
def test_supervisor_reads_what_was_meant(tmp_path: Path, name: str) -> None:
    home = Home.at(tmp_path / name)
    home.prepare()
    programs = Embedded(home, DEFAULT_PORTS).programs()
    groups = read_back(home, programs)
    read = {each.name: each for group in groups.values() for each in group.process_configs}
    assert read.keys() == {program.name for program in programs}
    for program in programs:
        assert shlex.split(read[program.name].command) == list(program.command)
        assert read[program.name].environment == program.environment
        assert read[program.name].stdout_logfile == str(home.log_of(program.name))


def test_stores_stop_last_and_one_shots_are_not_repeated(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "idp")
    home.prepare()
    groups = read_back(home, Embedded(home, DEFAULT_PORTS).programs())
    in_order = sorted(groups.values(), key=lambda group: group.priority)
    assert [group.name for group in in_order] == list(Group)
    assert {each.name for each in in_order[0].process_configs} == {"postgres", "openbao"}
    assert not any(each.autorestart for each in groups[Group.SETUP].process_configs)
    assert all(each.autorestart for each in groups[Group.SERVICES].process_configs)
