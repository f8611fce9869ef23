"""Every service says which variable is wrong, in one line, before it does anything."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from idp_cli.supervision.embedded import Embedded
from idp_cli.supervision.home import Home
from idp_kernel.services import DEFAULT_PORTS
from idp_kernel.settings import REFUSED_EXIT_STATUS

ROOT = Path(__file__).parents[2]
SECRET = "hunter2hunter2hunter2"
SERVICES = {
    "control_plane.main": ("IDP_CONTROL_PLANE_PORT", "IDP_CONTROL_PLANE_DATABASE_URL"),
    "execution_workers.main": (
        "IDP_EXECUTION_WORKERS_MAX_CALLS",
        "IDP_EXECUTION_WORKERS_INSTALLATION_ID",
    ),
    "idp_dagster.daemon": ("IDP_ENGINE_WORKER_SLOTS", "DAGSTER_HOME"),
    "idp_dagster.exporter": ("IDP_ENGINE_EXPORTER_PORT", "IDP_ENGINE_EXPORTER_KEY_FILE"),
    "local_stack.forge": ("IDP_LOCAL_FORGE_PORT", "IDP_LOCAL_FORGE_BOT_TOKEN_FILE"),
    "local_stack.agent": (
        "IDP_LOCAL_GITOPS_AGENT_INTERVAL_SECONDS",
        "IDP_LOCAL_GITOPS_AGENT_DATA_DIR",
    ),
    "local_stack.consumer": (
        "IDP_LOCAL_CONSUMER_LOGINS_PER_SECOND",
        "IDP_LOCAL_CONSUMER_READER_TOKEN_FILE",
    ),
    "local_stack.postgres": ("IDP_POSTGRES_PORT", "IDP_POSTGRES_KEYS_DIR"),
    "local_stack.openbao": ("IDP_OPENBAO_CLUSTER_PORT", "IDP_OPENBAO_DATA_DIR"),
}
"""A variable of each that takes a number, and one that must be set."""


@pytest.mark.parametrize("module", SERVICES)
def test_a_service_names_what_is_wrong_and_does_not_start(module: str, tmp_path: Path) -> None:
    number, required = SERVICES[module]
    misspelled = f"{number}X"
    ran = subprocess.run(
        [sys.executable, "-m", module],
        env={"PATH": os.environ["PATH"], number: SECRET, misspelled: SECRET},
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    lines = ran.stderr.splitlines()
    assert ran.returncode == REFUSED_EXIT_STATUS, ran.stderr
    assert ran.stdout == ""
    assert lines[0] == (
        f"{misspelled}: there is no such setting, it is not used; the nearest is {number}"
    )
    assert [line for line in lines if line.startswith(f"{number}: it must be ")]
    assert [line for line in lines if line.startswith(f"{required}: it is not set ")]
    assert all(line.partition(":")[0].isupper() for line in lines), "no line says anything else"
    assert SECRET not in ran.stderr


def test_every_program_reads_the_settings_that_are_checked_before_it_starts(
    tmp_path: Path,
) -> None:
    """`read_settings` stands in each program that `idp up` starts, and nothing goes round it."""
    programs = Embedded(Home.at(tmp_path), DEFAULT_PORTS).programs()
    assert {program.command[-1] for program in programs} >= SERVICES.keys()
    for program in programs:
        assert program.settings_class is not None, program.name
        assert _read_in(program.command[-1]) == {program.settings_class}, program.name


def _read_in(module: str) -> set[str]:
    """The classes that the module calls `read_settings` with, as `package.module:Class`."""
    spec = find_spec(module)
    if spec is not None and spec.submodule_search_locations:
        spec = find_spec(f"{module}.__main__")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    where = {
        name.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    return {
        f"{where[read.id]}:{read.id}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "read_settings"
        for read in node.args
        if isinstance(read, ast.Name)
    }
