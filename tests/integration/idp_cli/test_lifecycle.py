"""`idp up` and `idp demo` as a person starts and ends them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from idp_cli.supervision.home import Home
from idp_cli.supervision.leftovers import leftovers
from idp_kernel.services import DEFAULT_PORTS
from idp_kernel.workflows import (
    APPLICATION_ENVIRONMENT_PROVISIONING,
    APPLICATION_ONBOARDING,
    SECRET_ROTATION,
)
from tests.e2e.conftest import PORT_OFFSET
from tests.integration.idp_cli.test_supervision import is_alive

SHOWN = (APPLICATION_ONBOARDING, APPLICATION_ENVIRONMENT_PROVISIONING, SECRET_ROTATION)
"""What the demo runs."""
IDP = Path(sys.executable).with_name("idp")
OFFSET = PORT_OFFSET + 800
"""Of platforms of its own."""
OUTER_LIMIT_SECONDS = 300
"""A whole platform comes up and goes, beside other tests that have one."""


def bare_environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"]}


def eventually(look: Callable[[], bool], within_seconds: float = 100) -> None:
    give_up_at = time.monotonic() + within_seconds
    while not look():
        assert time.monotonic() < give_up_at, "it did not come about in time"
        time.sleep(0.05)


def test_a_taken_port_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", DEFAULT_PORTS.openbao + OFFSET)):
        ran = subprocess.run(
            [str(IDP), "up", "--home", str(tmp_path / "idp"), "--port-offset", str(OFFSET)],
            env=bare_environment(), capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
    assert ran.returncode == 1
    assert f"{DEFAULT_PORTS.openbao + OFFSET}, which openbao needs" in ran.stdout
    assert f"process {os.getpid()}" in ran.stdout
    assert "--port-offset" in ran.stdout
    assert "preflight_failed" in ran.stderr
    assert not list((tmp_path / "idp" / "logs").iterdir())


def test_ctrl_c_while_starting_leaves_nothing(tmp_path: Path) -> None:
    home = Home.at(tmp_path / ("long" * 25))
    log = tmp_path / "up.log"
    process = start_up(home, log)
    eventually(lambda: "✓ postgres-setup" in log.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "no process is left" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert list(leftovers(home)) == []
    assert not home.is_locked()
    assert home.socket.parent != home.run
    assert not home.socket.parent.exists(), "a folder for the socket alone"


@pytest.mark.endurance
def test_everything_stops_when_up_itself_is_killed(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "idp")
    log = tmp_path / "up.log"
    process = start_up(home, log)
    eventually(lambda: "✓ postgres-setup" in log.read_text())
    record = home.record()
    assert record is not None
    children = psutil.Process(record.supervisor_pid).children(recursive=True)
    assert len(children) > 2
    process.kill()
    process.wait()
    down = subprocess.run(
        [str(IDP), "down", "--home", str(home.root)],
        env=bare_environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert down.returncode == 0, down.stderr
    # The supervisor stops by itself; on a slow machine it is through before `down` can ask.
    assert "no process is left" in down.stdout or "Nothing runs" in down.stdout
    assert not any(is_alive(each) for each in children)
    assert not home.is_locked()


@pytest.mark.e2e
@pytest.mark.endurance
@pytest.mark.timeout(OUTER_LIMIT_SECONDS + 20)
def test_the_demo_starts_a_platform_shows_an_environment_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    home = Home.at(tmp_path / "idp")
    ran = subprocess.run(
        [
            *(str(IDP), "demo", "--home", str(home.root)),
            *("--port-offset", str(OFFSET)),
        ],
        env=bare_environment(), capture_output=True, text=True,
        timeout=OUTER_LIMIT_SECONDS, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for step in (step for workflow in SHOWN for step in workflow.steps):
        assert f"✓  {step}" in ran.stdout
    assert re.search(r"^environment +Active$", ran.stdout, re.MULTILINE)
    assert re.search(
        r"^consumer of db +version 1 → 2, \d+ logins, 0 refused$", ran.stdout, re.MULTILINE
    )
    assert "git -c 'credential.helper=" in ran.stdout
    assert "no process is left" in ran.stdout
    assert list(leftovers(home)) == []
    assert not home.is_locked()


def start_up(home: Home, log: Path) -> subprocess.Popen[bytes]:
    """`idp up`, in the background, its output in `log`."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [
                *(str(IDP), "up", "--home", str(home.root)),
                *("--port-offset", str(OFFSET)),
            ],
            env=bare_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
