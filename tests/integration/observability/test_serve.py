"""`make observe` starts both, shows where they are, and leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from observability.alerts import ALERTS
from observability.ports import DEFAULT_OBSERVER_PORTS
from observability.serve import default_home
from tests.docs.pages import ROOT
from tests.e2e.conftest import PORT_OFFSET
from tests.fixtures.observers import gone, observing

OFFSET = PORT_OFFSET + 500
"""Beside the platforms of other tests."""


def test_without_the_programs_it_says_what_to_install(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "observability.serve", "--home", str(tmp_path / "home")],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 2
    assert "apt-get install prometheus prometheus-alertmanager" in ran.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.system
def test_a_port_that_is_taken_is_named_before_anything_starts(tmp_path: Path) -> None:
    home = tmp_path / "home"
    port = DEFAULT_OBSERVER_PORTS.shifted(OFFSET).alertmanager
    with socket.create_server(("127.0.0.1", port)):
        ran = subprocess.run(
            [sys.executable, "-m", "observability.serve",
             "--home", str(home), "--port-offset", str(OFFSET)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert ran.returncode == 2
    assert f"alertmanager's port {port} is taken" in ran.stderr
    assert not home.exists()


def test_each_offset_has_a_folder_of_its_own() -> None:
    assert str(default_home(0)) == ".idp/observability"
    assert str(default_home(100)) == ".idp/observability-100"


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_when_it_is_asked_to_and_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    with observing(tmp_path, OFFSET) as observers:
        children = observers.children()
        assert len(children) == 2
        assert observers.stop(number) == 0
        assert gone(children, within_seconds=0)


@pytest.mark.system
def test_a_kill_ends_both_too(tmp_path: Path) -> None:
    with observing(tmp_path, OFFSET) as observers:
        children = observers.children()
        assert observers.stop(signal.SIGKILL) == -signal.SIGKILL
        assert gone(children)


@pytest.mark.system
def test_when_one_ends_so_does_the_other_and_the_log_is_shown(tmp_path: Path) -> None:
    with observing(tmp_path, OFFSET) as observers:
        children = observers.children()
        (alertmanager,) = [each for each in children if "alertmanager" in each.name()]
        alertmanager.terminate()
        assert observers.process.wait(30) == 1
        assert observers.process.stdout is not None
        told = observers.process.stdout.read()
        assert "alertmanager does not run" in told
        assert gone(children, within_seconds=0)


@pytest.mark.system
def test_rules_are_loaded_and_runbooks_shown(tmp_path: Path) -> None:
    with observing(tmp_path, OFFSET) as observers:
        loaded = [
            rule["name"]
            for group in observers.ask("rules")["groups"]
            for rule in group["rules"]
            if rule["type"] == "alerting"
        ]
        assert sorted(loaded) == sorted(alert.name for alert in ALERTS)
        for alert in ALERTS:
            shown = httpx.get(f"{observers.prometheus_url}/user/{alert.page}")
            assert shown.text == (ROOT / alert.runbook).read_text(encoding="utf-8")
