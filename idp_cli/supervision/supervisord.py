"""The supervisor process: `python -m idp_cli.supervision.supervisord <configuration> <parent>`.

supervisor's own `supervisord`, with three additions. Nothing outlives what started it:

- When the parent (`idp up`) is gone, however it ended, everything is stopped in order.
- On Linux each program is killed by the kernel when the supervisor itself is (`PR_SET_PDEATHSIG`).
  PostgreSQL, started by root, changes its account and thereby loses this; the next `idp up` or
  `idp down` ends it, as it ends anything left in the supervisor's session.

And a full disk ends nothing: what its log files do not take is lost, and said once they take more.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout

from supervisor.loggers import handle_file
from supervisor.medusa import asyncore_25
from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates
from supervisor.supervisord import Supervisor

from idp_cli.supervision.log_files import EnduringLogger, EnduringStream

PR_SET_PDEATHSIG = 1
PRIVATE_UMASK = 0o077


class BoundOptions(ServerOptions):  # type: ignore[misc] # supervisor has no types
    """Programs that end with their supervisor, and logs that a full disk does not end it by."""

    def getLogger(self, level: int | None = None) -> EnduringLogger:  # noqa: N802 - as supervisor calls it
        """Of each program's output."""
        return EnduringLogger(level)

    def make_logger(self) -> None:
        """The supervisor's own; what the configuration's reading found comes first."""
        self.logger: EnduringLogger = self.getLogger(self.loglevel)
        handle_file(
            self.logger,
            self.logfile,
            "%(asctime)s %(levelname)s %(message)s\n",
            rotating=True,
            maxbytes=self.logfile_maxbytes,
            backups=self.logfile_backups,
        )
        for tell, messages in (
            (self.logger.critical, self.parse_criticals),
            (self.logger.warn, self.parse_warnings),
            (self.logger.info, self.parse_infos),
        ):
            for message in messages:
                tell(message)

    def setpgrp(self) -> None:
        """Called in each child before it becomes the program."""
        super().setpgrp()
        die_with_parent()


class BoundSupervisor(Supervisor):  # type: ignore[misc] # supervisor has no types
    """Stops everything once its parent is gone."""

    def __init__(self, options: BoundOptions, parent: int) -> None:
        super().__init__(options)
        self._parent = parent

    def tick(self, now: float | None = None) -> None:
        """Called at least once a second."""
        super().tick(now)
        if os.getppid() != self._parent and self.options.mood == SupervisorStates.RUNNING:
            self.options.logger.info("what started this supervisor is gone; stopping everything")
            self.options.mood = SupervisorStates.SHUTDOWN


def die_with_parent() -> None:
    """Asks the kernel to kill this process when its parent dies; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Supervise until told to stop, or until the parent is gone."""
    configuration, parent = sys.argv[1], int(sys.argv[2])
    os.umask(PRIVATE_UMASK)
    options = BoundOptions()
    options.realize(["-c", configuration])
    options.first = True
    options.test = False
    told = EnduringStream(sys.stderr)
    try:
        with redirect_stdout(told), redirect_stderr(told):
            BoundSupervisor(options, parent).main()
    except asyncore_25.ExitNow:
        return


if __name__ == "__main__":
    main()
