"""The supervisor process: `python -m idp_cli.supervision.supervisord <configuration> <parent>`.

supervisor's own `supervisord`, with two additions so that nothing outlives what started it:

- When the parent (`idp up`) is gone, however it ended, everything is stopped in order.
- On Linux each program is killed by the kernel when the supervisor itself is (`PR_SET_PDEATHSIG`).
  PostgreSQL, started by root, changes its account and thereby loses this; the next `idp up` or
  `idp down` ends it, as it ends anything left in the supervisor's session.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from supervisor.medusa import asyncore_25
from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates
from supervisor.supervisord import Supervisor

PR_SET_PDEATHSIG = 1
PRIVATE_UMASK = 0o077


class BoundOptions(ServerOptions):  # type: ignore[misc] # supervisor has no types
    """Programs that end with their supervisor."""

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
    try:
        BoundSupervisor(options, parent).main()
    except asyncore_25.ExitNow:
        return


if __name__ == "__main__":
    main()
