"""`idp down` and `idp doctor` beside a platform that only begins, or is another's."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from idp_cli import main as entry
from idp_cli.commands import platform
from idp_cli.commands.platform import shown_state
from idp_cli.exits import ExitCode
from idp_cli.supervision.home import Home, RunRecord
from idp_cli.supervision.programs import Group, Program
from idp_cli.supervision.readiness import HasLogged
from idp_cli.supervision.remote import ProcessInfo, ProcessState


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home that something holds locked."""
    home = Home.at(tmp_path / "idp")
    home.prepare()
    monkeypatch.setenv("IDP_HOME", str(home.root))
    monkeypatch.setattr(platform, "STOPPED_WITHIN_SECONDS", 0.2)
    with home.locked():
        yield home


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has just been started."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["idp", *arguments])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    return int(ended.value.code or 0)


def record(home: Home, up_pid: int, supervisor_created: float) -> None:
    home.write_record(
        RunRecord(
            up_pid=up_pid,
            supervisor_pid=up_pid,
            supervisor_created=supervisor_created,
            port_offset=0,
        )
    )


def test_down_ends_what_started_the_supervisor(
    home: Home, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(home, sleeper.pid, time.time())
    assert run(monkeypatch, "down") == ExitCode.FAILED, "the lock is still held"
    assert sleeper.wait(5) == -15


def test_down_leaves_alone_who_got_the_number_later(
    home: Home, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(home, sleeper.pid, time.time() - 3600)
    assert run(monkeypatch, "down") == ExitCode.FAILED
    assert sleeper.poll() is None


@pytest.mark.usefixtures("home")
def test_down_says_when_nobody_tells_who_holds_the_home(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "RECORD_WITHIN_SECONDS", 0.1)
    assert run(monkeypatch, "down") == ExitCode.FAILED
    said = capsys.readouterr().err
    assert "record_missing" in said
    assert "up.lock" in said


@pytest.mark.usefixtures("home")
def test_doctor_complains_of_no_part_of_a_platform_that_only_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "doctor", "--output", "json")
    findings = {each["subject"]: each for each in json.loads(capsys.readouterr().out)}
    assert findings["platform"]["found"] == "it is starting, or stopping"
    assert "supervisor" not in findings


def test_a_program_that_can_work_is_shown_as_running_however_short_it_has(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    started = datetime(2026, 1, 1, 12, tzinfo=UTC)
    info = ProcessInfo("worker", "engine", ProcessState.STARTING, 1, started, 0)
    program = Program("worker", ("worker",), Group.ENGINE, HasLogged(log, "child_ready"))
    log.write_text("")
    assert shown_state(program, info) is ProcessState.STARTING
    log.write_text(json.dumps({"event": "child_ready", "timestamp": "2026-01-01T12:00:05Z"}))
    assert shown_state(program, info) is ProcessState.RUNNING
    ended = replace(info, state=ProcessState.BACKOFF)
    assert shown_state(program, ended) is ProcessState.BACKOFF
