from __future__ import annotations

import dataclasses
import os
import socket
from pathlib import Path
from typing import NamedTuple

import pytest

from idp_cli.supervision import preflight
from idp_cli.supervision.home import Home
from idp_cli.supervision.ports import shifted_ports
from idp_cli.supervision.preflight import (
    disk_finding,
    git_finding,
    git_version,
    machine_findings,
    port_findings,
)
from tests.fixtures.stack import free_port


class DiskUsage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(
    ("told", "version"),
    [
        ("git version 2.39.5", (2, 39, 5)),
        ("git version 2.39.3 (Apple Git-146)", (2, 39, 3)),
        ("git version 2.45.1.windows.1", (2, 45, 1)),
        ("hello", None),
    ],
)
def test_versions_of_git_are_read(told: str, version: tuple[int, ...] | None) -> None:
    assert git_version(told) == version


def fake_git(folder: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    program = folder / "git"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_an_old_git_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_git(tmp_path, monkeypatch, "git version 2.37.9")
    finding = git_finding()
    assert not finding.is_good
    assert "2.37.9" in finding.found
    assert "2.38" in finding.advice


def test_a_git_that_hangs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(preflight, "GIT_TIMEOUT_SECONDS", 0.1)
    finding = git_finding()
    assert not finding.is_good
    assert "gives no answer" in finding.found


def test_git_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = git_finding()
    assert not finding.is_good
    assert "not on PATH" in finding.found


def test_too_little_space_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = DiskUsage(10 * 1024**3, 10 * 1024**3, 300 * 1024**2)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    finding = disk_finding(tmp_path / "not" / "yet" / "there")
    assert not finding.is_good
    assert "0.3 GiB" in finding.found
    assert str(tmp_path) in finding.advice


def test_a_taken_port_names_its_holder_and_the_way_out() -> None:
    offset = free_port() % 1000
    ports = shifted_ports(offset)
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = dataclasses.replace(ports, openbao=server.getsockname()[1])
        found = [each for each in port_findings(taken) if "openbao " in f"{each.found} "]
    (finding,) = [each for each in found if str(os.getpid()) in each.found]
    assert not finding.is_good
    assert "--port-offset" in finding.advice
    assert "make up PORT_OFFSET=" in finding.advice


def test_a_home_the_supervisor_cannot_carry_is_said(tmp_path: Path) -> None:
    findings = {each.subject: each for each in machine_findings(Home.at(tmp_path / "50%"))}
    assert not findings["path"].is_good
    assert findings["python"].is_good
