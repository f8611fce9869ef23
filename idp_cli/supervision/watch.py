"""Notices, look by look, what became of the programs, and says it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from idp_cli.supervision.configuration import BACKOFF_RETRIES
from idp_cli.supervision.home import Home
from idp_cli.supervision.logs import tail
from idp_cli.supervision.narration import Narrator
from idp_cli.supervision.programs import Group, Program
from idp_cli.supervision.remote import ProcessInfo, ProcessState, SupervisorRemote

GIVEN_UP_PAUSE_SECONDS = 30.0
"""After the supervisor gave a program up, it is tried again this often."""


class Watch:
    """Knows the programs as they were at the last look; all of them ran when it began."""

    def __init__(
        self,
        home: Home,
        programs: Sequence[Program],
        remote: SupervisorRemote,
        narrator: Narrator,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._home = home
        self._programs = [program for program in programs if not program.is_one_shot]
        self._remote = remote
        self._narrator = narrator
        self._monotonic = monotonic
        self._pids = {name: info.pid for name, info in remote.processes().items()}
        self._down_since: dict[str, float] = {}
        self._given_up_at: dict[str, float] = {}

    def look(self) -> None:
        """One look at all programs; raises `Unavailable` when the supervisor is gone."""
        infos = self._remote.processes()
        for program in self._programs:
            self._look_at(program, infos[program.name])

    def _look_at(self, program: Program, info: ProcessInfo) -> None:
        if info.pid != self._pids[program.name]:
            self._notice_end(program, info)
        if info.state == ProcessState.FATAL:
            self._give_up_or_try_again(program)
        elif program.name in self._down_since and program.readiness.is_ready(info):
            self._notice_return(program)

    def _notice_end(self, program: Program, info: ProcessInfo) -> None:
        self._pids[program.name] = info.pid
        if program.name not in self._down_since:
            self._down_since[program.name] = self._monotonic()
            self._narrator.note(program.name, "ended unexpectedly; it is started again")

    def _give_up_or_try_again(self, program: Program) -> None:
        given_up_at = self._given_up_at.get(program.name)
        if given_up_at is None:
            self._say_given_up(program)
        elif self._monotonic() - given_up_at < GIVEN_UP_PAUSE_SECONDS:
            return
        else:
            self._remote.start(program.group, program.name)
        self._given_up_at[program.name] = self._monotonic()

    def _say_given_up(self, program: Program) -> None:
        log = self._home.log_of(program.name)
        self._down_since.setdefault(program.name, self._monotonic())
        self._narrator.trouble(
            f"{program.name} was given up: it ended {BACKOFF_RETRIES + 1} times in a row. The rest "
            f"goes on, and it is tried again every {GIVEN_UP_PAUSE_SECONDS:.0f} s. "
            f"The end of {log}:",
            tail(log),
        )

    def _notice_return(self, program: Program) -> None:
        seconds = self._monotonic() - self._down_since.pop(program.name)
        self._given_up_at.pop(program.name, None)
        self._narrator.step(program.name, seconds, "is back")


def alive_groups(infos: Mapping[str, ProcessInfo]) -> set[Group]:
    """The groups that still have a living program."""
    return {Group(info.group) for info in infos.values() if info.state.is_alive}
