"""A tiny program for the supervision's tests: `stand_in.py <behaviour> [port]`.

`serve` listens and has a child of its own, which it ends; `careless` leaves the child behind;
`stubborn` ignores SIGTERM; `finish` ends well at once; `break` says why and fails.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time


def main() -> None:
    behaviour = sys.argv[1]
    if behaviour == "break":
        sys.stderr.write("the stand-in cannot find its stage\n")
        sys.exit(3)
    if behaviour == "finish":
        sys.stdout.write("set up\n")
        return
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve(int(sys.argv[2]), behaviour)


def serve(port: int, behaviour: str) -> None:
    # Nothing but its session tells whose child it is, as with PostgreSQL.
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={})

    def end(_number: int, _frame: object) -> None:
        child.kill()
        child.wait()
        sys.stdout.write(f"ended at {time.monotonic()}\n")
        sys.exit(0)

    if behaviour == "serve":
        signal.signal(signal.SIGTERM, end)
    with socket.create_server(("127.0.0.1", port)):
        while True:
            time.sleep(60)


if __name__ == "__main__":
    main()
