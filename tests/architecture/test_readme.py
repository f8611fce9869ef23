"""The README and what it speaks of agree."""

from __future__ import annotations

import re
import subprocess
from dataclasses import asdict
from pathlib import Path

from idp_kernel.services import DEFAULT_PORTS
from idp_kernel.workflows import WORKFLOWS
from observability.ports import DEFAULT_OBSERVER_PORTS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PORTS_OF_PROCESSES = {
    "control-plane-api": ["control_plane_api"],
    "webserver": ["dagster_webserver"],
    "daemon`, `code-server`, `worker": ["dagster_code_server"],
    "exporter": ["metrics_exporter"],
    "execution-workers": ["execution_workers"],
    "local-forge": ["local_forge"],
    "local-gitops-agent": ["local_gitops_agent"],
    "local-consumer": ["local_consumer"],
    "postgres`, `openbao": ["postgres", "openbao"],
    "prometheus`, `alertmanager": ["prometheus", "alertmanager"],
}

OTHER_NAMES = {
    "redis-server": "redis",
    "chromium": "a browser",
    "prometheus-alertmanager": "alertmanager",
}
"""Of programs, in the README's words."""


def _row(process: str) -> list[str]:
    (row,) = [line for line in README.splitlines() if line.startswith(f"| `{process}` |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_ports_are_those_of_the_code() -> None:
    told = {process: re.findall(r"\d+", _row(process)[1]) for process in PORTS_OF_PROCESSES}
    every = {**asdict(DEFAULT_PORTS), **asdict(DEFAULT_OBSERVER_PORTS)}
    ports = {name: str(port) for name, port in every.items()}
    assert told == {
        process: [ports[name] for name in names] for process, names in PORTS_OF_PROCESSES.items()
    }


def test_make_prints_its_targets_in_columns() -> None:
    ran = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    beginnings = [re.match(r"  make [a-z-]+ +", line) for line in ran.stdout.splitlines()]
    assert len({found.end() if found else 0 for found in beginnings}) == 1


def test_make_targets_exist() -> None:
    named = set(re.findall(r"\bmake ([a-z][a-z-]+)", README))
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "up", "test", "test-system", "observe", "observe-check"} <= named
    assert named <= targets


def test_every_workflow_is_told_at_the_top() -> None:
    assert re.findall(r"^- \*\*(\w+)\*\*", README, re.MULTILINE) == list(WORKFLOWS)


def test_packages_of_the_system_tests_are_told() -> None:
    """By the names they have in words; Chromium is a browser."""
    script = (ROOT / "tests" / "system" / "install.sh").read_text()
    programs = set(re.findall(r'^    "([\w-]+) [\w-]+"$', script, re.MULTILINE))
    (told,) = re.findall(r"Debian's packages \(([^)]+)\)", README)
    named = {each.strip().lower() for each in told.split(",")}
    assert {OTHER_NAMES.get(each, each) for each in programs} == named


def test_links_and_rooms_exist() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", README)
    rooms = re.findall(r"`((?:[a-z_]+/)+[a-z_.]*|[a-z]+\.yaml)`", README)
    missing = [
        path for path in linked + rooms if not (ROOT / path.replace("<party>/", "")).exists()
    ]
    assert linked
    assert rooms
    assert missing in ([], [".idp/"])
