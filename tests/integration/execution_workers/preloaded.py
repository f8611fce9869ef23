"""execution-workers, loaded once and started often: `python -m …preloaded`.

Each line on standard input starts the service, as a process of its own that is a copy of this one
before anything ran in it. Standard output says its process id, and when it has ended, its status.
"""

from __future__ import annotations

import os
import sys

from execution_workers.main import main


def serve_on_demand() -> None:
    """Until standard input ends; one service at a time."""
    for _ in iter(sys.stdin.readline, ""):
        process_id = os.fork()
        if process_id == 0:
            _serve()
            return
        _say(process_id)
        _say(os.waitpid(process_id, 0)[1])


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _serve() -> None:
    """Apart from standard input and output, which are the other's."""
    with open(os.devnull) as nothing:  # noqa: PTH123 - as the descriptor 0
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    main()


if __name__ == "__main__":
    serve_on_demand()
