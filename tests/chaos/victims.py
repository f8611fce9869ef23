"""The platform's processes, as its supervisor knows them, and how they are made to die or sleep."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import psutil
import psycopg

from idp_cli.supervision.home import Home
from idp_cli.supervision.remote import ProcessState, SupervisorRemote
from idp_kernel.errors import Unavailable
from tests.chaos.cells import Victim
from tests.e2e.logins import as_superuser
from tests.e2e.platform import SERVER_PORTS, STORE_HEALTH, Platform, eventually

RUNS_AGAIN_WITHIN_SECONDS = 120
_PIDS_OF_RUNS = r"""
    SELECT substring(event FROM 'in process \(pid: (\d+)\)')
    FROM event_logs JOIN runs USING (run_id)
    WHERE runs.status IN ('STARTED', 'CANCELING') AND event LIKE '%in process (pid: %'
"""


class Victims:
    """Those of one platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._remote = SupervisorRemote(Home.at(platform.home).socket)

    def pid_of(self, program: str) -> int:
        """Waits for one that is just started again."""

        def look() -> int | None:
            found = self._remote.processes()[program]
            return found.pid if found.state.is_alive else None

        return eventually(look, within_seconds=RUNS_AGAIN_WITHIN_SECONDS, what=f"{program} runs")

    def pids_of(self, victim: Victim) -> list[int]:
        """The processes that die together: one, or all children of the Celery worker that execute
        a run.
        """
        if victim is not Victim.WORKER_CHILD:
            return [self.pid_of(victim)]
        (children,) = eventually(self._children_at_work, what="somebody tells who executes runs")
        return children

    def kill(self, victim: Victim, standing: Iterable[int] = ()) -> list[int]:
        """`kill -9`; answers whom, each of them there until then and gone afterwards. Those that
        stand at a place of the victim's own are among them, whatever else tells of them.
        """
        killed = [each for each in {*self.pids_of(victim), *standing} if _kill(each)]
        for pid in killed:
            eventually(partial(_is_gone, pid), within_seconds=20, what=f"{pid} is gone")
        return killed

    @contextmanager
    def stopped(self, pids: Sequence[int]) -> Iterator[None]:
        """They stand still inside the block; what was killed meanwhile is left alone."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                if psutil.pid_exists(pid):
                    os.kill(pid, signal.SIGCONT)

    def tree_of(self, victim: Victim) -> list[int]:
        """The program's process and all below it."""
        process = psutil.Process(self.pid_of(victim))
        return [process.pid, *(child.pid for child in process.children(recursive=True))]

    def stop(self, victim: Victim) -> None:
        """As its operator stops it; it stays away until `start`."""
        self._remote._call("stopProcess", f"{self._group_of(victim)}:{victim}", True)

    def start(self, victim: Victim) -> None:
        self._remote.start(self._group_of(victim), victim)

    def await_running(self) -> None:
        """Until every program runs again and its servers are ready."""
        eventually(
            self._run, within_seconds=RUNS_AGAIN_WITHIN_SECONDS, what="every program runs again"
        )
        ways = [*((port, "/readyz") for port in SERVER_PORTS), STORE_HEALTH]
        eventually(
            lambda: all(self._platform._is_ready(*way) for way in ways),
            within_seconds=RUNS_AGAIN_WITHIN_SECONDS,
            what="every server is ready again",
        )

    def _children_at_work(self) -> tuple[list[int]] | None:
        """None while the database that knows them, or their parent, is away."""
        try:
            parent, at_work = psutil.Process(self.pid_of(Victim.WORKER)), self._pids_of_runs()
            return ([child.pid for child in parent.children() if child.pid in at_work],)
        except (psycopg.OperationalError, psutil.NoSuchProcess):
            return None

    def _pids_of_runs(self) -> set[int]:
        """Of the processes that execute runs, as Dagster's events tell."""
        with as_superuser(self._platform, "dagster") as connection:
            rows = connection.execute(_PIDS_OF_RUNS).fetchall()
        return {int(pid) for (pid,) in rows if pid}

    def _group_of(self, victim: Victim) -> str:
        return self._remote.processes()[victim].group

    def _run(self) -> bool:
        try:
            found = self._remote.processes().values()
        except Unavailable:
            return False
        staying = [each for each in found if each.group != "setup"]
        return all(each.state is ProcessState.RUNNING for each in staying)


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
