"""A platform of stand-in programs under the real supervisor, and one that only answers."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from idp_cli import main as entry
from idp_cli import step_view
from idp_cli.exits import ExitCode
from idp_cli.supervision.home import Home
from idp_cli.supervision.launch import Platform
from idp_cli.supervision.narration import Narrator
from idp_cli.supervision.programs import Group, Program
from idp_cli.supervision.readiness import HasEnded, Listens
from idp_cli.supervision.remote import SupervisorRemote
from tests.fixtures.stack import free_port
from tests.fixtures.stand_in_platform import StandInPlatform, served

Idp = Callable[..., str]
"""Runs a command line; answers all that it, and what it started, said."""

STAND_IN = Path(__file__).with_name("stand_in.py")


def server(
    name: str,
    group: Group = Group.SERVICES,
    *,
    after: tuple[str, ...] = (),
    behaviour: str = "serve",
    stop_seconds: int = 10,
) -> Program:
    """A stand-in that listens on a free port."""
    port = free_port()
    return Program(
        name=name,
        command=(sys.executable, str(STAND_IN), behaviour, str(port)),
        group=group,
        readiness=Listens(port),
        after=after,
        port=port,
        stop_seconds=stop_seconds,
    )


def one_shot(name: str, behaviour: str = "finish", after: tuple[str, ...] = ()) -> Program:
    """A stand-in for a set-up."""
    command = (sys.executable, str(STAND_IN), behaviour)
    return Program(name=name, command=command, group=Group.SETUP, readiness=HasEnded(), after=after)


@dataclass
class Stage:
    """Where stand-ins play: a home, and all that was said."""

    home: Home
    output: io.StringIO
    platform: Platform

    @property
    def said(self) -> str:
        return self.output.getvalue()

    @property
    def remote(self) -> SupervisorRemote:
        return SupervisorRemote(self.home.socket)

    def pid(self, name: str) -> int:
        pid = self.remote.processes()[name].pid
        assert pid is not None
        return pid


NewStage = Callable[[Sequence[Program]], Stage]


@pytest.fixture
def new_stage(tmp_path: Path) -> Iterator[NewStage]:
    """Makes platforms of stand-ins; each is stopped at the end."""
    with ExitStack() as stack:

        def build(programs: Sequence[Program]) -> Stage:
            home = Home.at(tmp_path / "idp")
            home.prepare()
            output = io.StringIO()
            lock = stack.enter_context(home.locked())
            narrator = Narrator(Console(file=output, width=200))
            platform = Platform(home, programs, narrator, lock=lock, port_offset=0)
            stack.callback(platform.stop)
            return Stage(home, output, platform)

        yield build


@pytest.fixture
def platform() -> StandInPlatform:
    """Keeps everything in memory."""
    return StandInPlatform()


@pytest.fixture
def idp(
    platform: StandInPlatform,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Idp]:
    """Command lines against `platform`."""
    monkeypatch.setenv("IDP_TOKEN", "idp_pat_pretend")
    monkeypatch.setenv("IDP_HOME", str(tmp_path / "idp"))
    for name in ("IDP_TOKEN_FILE", "IDP_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(step_view, "LOOK_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(step_view, "LOOK_SELDOM_SECONDS", 0.05)
    monkeypatch.setattr(step_view, "LONG_WAIT_SECONDS", 0.2)

    def run(*arguments: str, code: int = ExitCode.OK) -> str:
        monkeypatch.setattr(sys, "argv", ["idp", *arguments])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        said = capfd.readouterr()
        assert int(ended.value.code or 0) == code, said.out + said.err
        return said.out + said.err

    with served(platform) as url:
        monkeypatch.setenv("IDP_API_URL", url)
        yield run
