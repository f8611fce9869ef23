"""`make observe`: Prometheus and Alertmanager beside a running platform, in the foreground.

Both are Debian's, with the configuration that is made here, on loopback. What they keep is in
`.idp/observability/`, with moved ports in a folder of their own. Ctrl-C ends both; when one of them
ends by itself, so does the other.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import httpx

from idp_kernel.services import LOOPBACK
from observability.alerts import RUNBOOKS
from observability.generate import FOLDER, as_yaml
from observability.ports import DEFAULT_OBSERVER_PORTS, ObserverPorts
from observability.prometheus import (
    GROUP_WAIT_SECONDS,
    RULES_FILE,
    SCRAPE_SECONDS,
    alertmanager,
    prometheus,
    rules,
)

READY_WITHIN_SECONDS = 60.0
STOPPED_WITHIN_SECONDS = 20.0
LOOK_EVERY_SECONDS = 0.1
ASK_WITHIN_SECONDS = 1.0
KEPT_FOR = "15d"
HOME = Path(".idp/observability")
LOG_LINES = 20
PROGRAMS = {
    "prometheus": ("prometheus",),
    "alertmanager": ("prometheus-alertmanager", "alertmanager"),
    "setpriv": ("setpriv",),
}
"""What is needed, by the names it may have; `setpriv` has children end with who started them."""
WITHOUT_THEM = (
    "make observe needs {}. On Debian: apt-get install prometheus prometheus-alertmanager\n"
)


PORT_TAKEN = "{}'s port {} is taken; free it, or watch with other ports: PORT_OFFSET=100\n"


@dataclass(frozen=True)
class Options:
    """How both are run."""

    home: Path
    """Where configuration, data and logs are."""
    port_offset: int = 0
    webhook_url: str | None = None
    """Where alerts are sent; to nobody without."""
    scrape_seconds: int = SCRAPE_SECONDS
    group_wait_seconds: int = GROUP_WAIT_SECONDS
    longest_hold_seconds: int | None = None
    """No alert has to last for longer before it fires; each as long as its rule says without."""

    @property
    def ports(self) -> ObserverPorts:
        return DEFAULT_OBSERVER_PORTS.shifted(self.port_offset)


@dataclass(frozen=True)
class Program:
    """One of the two."""

    name: str
    command: Sequence[str]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def has_its_port(self) -> bool:
        """Whether nobody listens where it is to."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, self.port))
            except OSError:
                return False
        return True

    def is_ready(self) -> bool:
        """Whether it says so."""
        try:
            answer = httpx.get(f"{self.url}/-/ready", timeout=ASK_WITHIN_SECONDS)
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    def last_words(self) -> str:
        """The end of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "".join(f"  {line}\n" for line in lines[-LOG_LINES:])


def main() -> None:
    """Ends with status 0 when it was asked to, 1 when a program ended, 2 without the programs or
    their ports.
    """
    sys.exit(serve(_options()))


def serve(options: Options) -> int:
    """Runs both until SIGINT, SIGTERM or SIGHUP; the exit status."""
    found = {
        name: next(filter(None, map(shutil.which, names)), None) for name, names in PROGRAMS.items()
    }
    missing = [name for name, path in found.items() if path is None]
    if missing:
        sys.stderr.write(WITHOUT_THEM.format(" and ".join(missing)))
        return 2
    paths = {name: str(path) for name, path in found.items()}
    programs = _programs(options, paths)
    held = [program for program in programs if not program.has_its_port()]
    if held:
        sys.stderr.writelines(PORT_TAKEN.format(each.name, each.port) for each in held)
        return 2
    _configure(options)
    with _asked_to_stop() as stop, _running(programs, paths["setpriv"]) as processes:
        ended = _await_ready(programs, processes, stop) or _await_end(programs, processes, stop)
    if ended is None:
        return 0
    sys.stderr.write(f"{ended.name} does not run:\n{ended.last_words()}")
    return 1


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="python -m observability.serve", description=__doc__)
    parser.add_argument("--home", type=Path, help=f"by default {HOME}, and its own for each offset")
    parser.add_argument("--port-offset", type=int, default=0, help="of the platform to watch")
    parser.add_argument("--webhook-url", help="where Alertmanager sends alerts")
    parser.add_argument("--scrape-seconds", type=int, default=SCRAPE_SECONDS)
    parser.add_argument("--group-wait-seconds", type=int, default=GROUP_WAIT_SECONDS)
    parser.add_argument(
        "--longest-hold-seconds", type=int, help="no alert has to last for longer before it fires"
    )
    told = parser.parse_args()
    told.home = told.home or default_home(told.port_offset)
    return Options(**vars(told))


def default_home(port_offset: int) -> Path:
    """A folder for each offset: two that watch at once share no data."""
    return HOME.with_name(f"{HOME.name}-{port_offset}") if port_offset else HOME


def _configure(options: Options) -> None:
    """Writes what both read."""
    home, ports = options.home.resolve(), options.ports
    home.mkdir(parents=True, exist_ok=True)
    texts = {
        RULES_FILE: as_yaml(rules(longest_hold_seconds=options.longest_hold_seconds)),
        "prometheus.yaml": as_yaml(
            prometheus(ports, options.port_offset, scrape_seconds=options.scrape_seconds)
        ),
        "alertmanager.yaml": as_yaml(
            alertmanager(options.webhook_url, group_wait_seconds=options.group_wait_seconds)
        ),
    }
    for name, text in texts.items():
        (home / name).write_text(text, encoding="utf-8")


def _programs(options: Options, paths: dict[str, str]) -> tuple[Program, ...]:
    """Both."""
    home = options.home.resolve()
    arguments = {
        "prometheus": (
            f"--storage.tsdb.path={home / 'prometheus'}",
            f"--storage.tsdb.retention.time={KEPT_FOR}",
            "--enable-feature=exemplar-storage",
            # At /user/: the links of alerts to their runbooks lead there.
            f"--web.user-assets={FOLDER.parent / RUNBOOKS}",
        ),
        "alertmanager": (
            f"--storage.path={home / 'alertmanager'}",
            "--cluster.listen-address=",
        ),
    }
    return tuple(
        Program(
            name,
            (
                paths[name],
                f"--config.file={home / f'{name}.yaml'}",
                f"--web.listen-address={LOOPBACK}:{port}",
                f"--web.external-url=http://{LOOPBACK}:{port}",
                *arguments[name],
            ),
            port,
            home / f"{name}.log",
        )
        for name, port in asdict(options.ports).items()
    )


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """Set by the first signal that asks for the end."""
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {
        number: signal.signal(number, ask)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


Processes = dict[str, subprocess.Popen[bytes]]


@contextmanager
def _running(programs: Sequence[Program], setpriv: str) -> Iterator[Processes]:
    """Starts each, and leaves none. They end too if this process is killed."""
    processes: Processes = {}
    try:
        for program in programs:
            with program.log.open("wb") as log:
                processes[program.name] = subprocess.Popen(
                    [setpriv, "--pdeathsig", "TERM", *program.command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        yield processes
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            try:
                process.wait(STOPPED_WITHIN_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_ready(
    programs: Sequence[Program], processes: Processes, stop: threading.Event
) -> Program | None:
    """Says where both are once they are ready; the program that does not get there."""
    give_up_at = time.monotonic() + READY_WITHIN_SECONDS
    for program in programs:
        while not stop.is_set():
            # First: who answers in place of one that ended is somebody else.
            if processes[program.name].poll() is not None or time.monotonic() > give_up_at:
                return program
            if program.is_ready():
                break
            stop.wait(LOOK_EVERY_SECONDS)
    if not stop.is_set():
        for program in programs:
            sys.stdout.write(f"{program.name:12}  {program.url}  log {program.log}\n")
        sys.stdout.write("Ready. Ctrl-C stops both.\n")
        sys.stdout.flush()
    return None


def _await_end(
    programs: Sequence[Program], processes: Processes, stop: threading.Event
) -> Program | None:
    """Waits to be asked to stop; the program that ended before."""
    while not stop.wait(LOOK_EVERY_SECONDS):
        for program in programs:
            if processes[program.name].poll() is not None:
                return program
    return None


if __name__ == "__main__":
    main()
