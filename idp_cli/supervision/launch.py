"""One platform's processes from the supervisor's start to the last one's end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

import psutil

from idp_cli.supervision.configuration import configuration_text
from idp_cli.supervision.home import Home, RunRecord
from idp_cli.supervision.leftovers import end_leftovers
from idp_cli.supervision.logs import tail
from idp_cli.supervision.narration import Narrator
from idp_cli.supervision.programs import Group, Program, inherited_environment
from idp_cli.supervision.remote import ProcessInfo, ProcessState, SupervisorRemote
from idp_cli.supervision.watch import Watch, alive_groups
from idp_kernel.errors import Unavailable

SUPERVISOR_ANSWERS_WITHIN_SECONDS = 15.0
READY_WITHIN_SECONDS = 240.0
STOPPED_WITHIN_SECONDS = 90.0
_LOOK_EVERY_SECONDS = 0.1
_WATCH_EVERY_SECONDS = 0.5


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, with `KeyboardInterrupt`."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Platform:
    """The processes of one home. Whoever uses it holds the home's lock."""

    def __init__(
        self,
        home: Home,
        programs: Sequence[Program],
        narrator: Narrator,
        *,
        lock: int,
        port_offset: int,
    ) -> None:
        self._home = home
        self._programs = programs
        self._narrator = narrator
        self._lock = lock
        self._port_offset = port_offset
        self._remote = SupervisorRemote(home.socket)
        self._supervisor: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts each program as soon as those it comes after are up.

        Raises `Unavailable` when one does not come up. Also then, and on an interrupt, `stop` has
        to be called.
        """
        self._start_supervisor()
        self._start_programs()
        self._narrator.awaiting_nothing()

    def watch(self) -> None:
        """Says what happens to the programs until interrupted.

        Raises `Unavailable` when the supervisor is gone.
        """
        watch = Watch(self._home, self._programs, self._remote, self._narrator)
        while self._supervisor is not None and self._supervisor.poll() is None:
            watch.look()
            time.sleep(_WATCH_EVERY_SECONDS)
        raise Unavailable(
            f"The supervisor itself ended; see {self._home.supervisor_log}.", code="supervisor_gone"
        )

    def stop(self) -> None:
        """Stops everything in order and leaves no process; a further interrupt kills at once."""
        self._narrator.awaiting_nothing()
        self._narrator.say()  # below the ^C, if that is what brought us here
        began = time.monotonic()
        try:
            self._stop_in_order()
        except KeyboardInterrupt:
            self._narrator.note("interrupted again", "everything left is killed")
        except subprocess.TimeoutExpired:
            self._narrator.note("still not stopped", "everything left is killed")
        finally:
            for leftover in self._kill_rest():
                self._narrator.note("had to be killed", leftover)
            self._home.forget_record()
        self._narrator.step("stopped", time.monotonic() - began, "no process is left")

    def _start_supervisor(self) -> None:
        home = self._home
        home.socket.unlink(missing_ok=True)
        _write_private(home.configuration, configuration_text(home, self._programs))
        with (home.logs / "supervisord.err").open("wb") as errors:
            self._supervisor = subprocess.Popen(
                [
                    *(sys.executable, "-m", "idp_cli.supervision.supervisord"),
                    *(str(home.configuration), str(os.getpid())),
                ],
                env=inherited_environment(os.environ),
                cwd=home.run,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
                pass_fds=(self._lock,),
            )
        home.write_record(self._record(self._supervisor.pid))
        self._await_supervisor(self._supervisor)

    def _record(self, supervisor_pid: int) -> RunRecord:
        return RunRecord(
            up_pid=os.getpid(),
            supervisor_pid=supervisor_pid,
            supervisor_created=psutil.Process(supervisor_pid).create_time(),
            port_offset=self._port_offset,
        )

    def _await_supervisor(self, supervisor: subprocess.Popen[bytes]) -> None:
        give_up_at = time.monotonic() + SUPERVISOR_ANSWERS_WITHIN_SECONDS
        while supervisor.poll() is None and time.monotonic() < give_up_at:
            if self._answers():
                return
            time.sleep(_LOOK_EVERY_SECONDS / 5)
        log = self._home.logs / "supervisord.err"
        self._narrator.trouble(f"The supervisor did not start. The end of {log}:", tail(log))
        raise Unavailable("The supervisor did not start.", code="start_failed")

    def _answers(self) -> bool:
        """Whether the supervisor can be asked: its socket is there a moment before it listens."""
        try:
            self._remote.processes()
        except Unavailable as error:
            if error.code != "supervisor_gone":
                raise
            return False
        return True

    def _start_programs(self) -> None:
        waiting = list(self._programs)
        began: dict[str, float] = {}
        up: set[str] = set()
        while len(up) < len(self._programs):
            for program in [each for each in waiting if up.issuperset(each.after)]:
                waiting.remove(program)
                self._remote.start(program.group, program.name)
                began[program.name] = time.monotonic()
            self._narrator.awaiting(began.keys() - up)
            up |= self._come_up({name: at for name, at in began.items() if name not in up})
            time.sleep(_LOOK_EVERY_SECONDS)

    def _come_up(self, began: Mapping[str, float]) -> set[str]:
        """Which of the programs that were started, and when, are up now."""
        infos = self._remote.processes()
        up = set()
        for program in self._programs:
            if program.name in began and self._has_come_up(
                program, infos[program.name], began[program.name]
            ):
                seconds = time.monotonic() - began[program.name]
                self._narrator.step(program.name, seconds, _where(program))
                up.add(program.name)
        return up

    def _has_come_up(self, program: Program, info: ProcessInfo, began: float) -> bool:
        if program.readiness.is_ready(info):
            return True
        if info.state == ProcessState.FATAL or (
            program.is_one_shot and info.state == ProcessState.EXITED and info.exit_status
        ):
            self._fail_start(program, "failed")
        if time.monotonic() - began > READY_WITHIN_SECONDS:
            self._fail_start(program, f"was not there within {READY_WITHIN_SECONDS:.0f} s")
        return False

    def _fail_start(self, program: Program, how: str) -> None:
        self._narrator.awaiting_nothing()
        log = self._home.log_of(program.name)
        self._narrator.trouble(f"{program.name} {how}. The end of {log}:", tail(log))
        raise Unavailable(f"The platform did not start: {program.name} {how}.", code="start_failed")

    def _stop_in_order(self) -> None:
        if self._supervisor is None or self._supervisor.poll() is not None:
            return
        try:
            for group in reversed(Group):
                self._stop_group(group)
        except Unavailable as error:
            # It stops all groups by itself, in the same order.
            self._narrator.note("supervisor", error.message)
        self._supervisor.terminate()
        self._supervisor.wait(STOPPED_WITHIN_SECONDS)

    def _stop_group(self, group: Group) -> None:
        if group not in alive_groups(self._remote.processes()):
            return
        began = time.monotonic()
        self._remote.stop_group(group)
        while group in alive_groups(self._remote.processes()):
            if time.monotonic() - began > STOPPED_WITHIN_SECONDS:
                raise Unavailable(f"The programs of {group} do not stop.", code="still_running")
            time.sleep(_LOOK_EVERY_SECONDS)
        self._narrator.step(f"{group} stopped", time.monotonic() - began)

    def _kill_rest(self) -> list[str]:
        """Only what did not stop in time, or outlived a supervisor that died."""
        if self._supervisor is not None and self._supervisor.poll() is None:
            self._supervisor.kill()
            self._supervisor.wait()
        return end_leftovers(self._home) if self._supervisor is not None else []


def _where(program: Program) -> str:
    return f"127.0.0.1:{program.port}" if program.port is not None else ""


def _write_private(path: os.PathLike[str], content: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
