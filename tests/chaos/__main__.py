"""`python -m tests.chaos`: breaks the whole platform over and over, and asks the providers.

Exits with 1 when anything was lost, doubled, stuck or counted wrongly, or a cell was not hit, with
130 when it was stopped.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.chaos.cells import Cell, cells
from tests.chaos.counters import wrong_metrics
from tests.chaos.faults import FAULTS, own_file_system, run_faults
from tests.chaos.oracle import Oracle
from tests.chaos.results import Finding, Kind, Results
from tests.chaos.rounds import Harness, Preparations, run_batch
from tests.chaos.show import Show
from tests.chaos.traffic import NotAnswered, Traffic
from tests.chaos.trials import run_crowd, run_trials
from tests.chaos.victims import Victims
from tests.e2e.platform import Platform, running_platform

RESULTS = Path(".idp") / "chaos" / "results.json"
SLOTS = 24
"""Celery children: more than requests stand at once."""
SETTINGS = {
    "IDP_ENGINE_WORKER_SLOTS": str(SLOTS),
    "IDP_EXECUTION_WORKERS_MAX_CALLS": "30",
    # One token asks for everybody, and looks after every request.
    "IDP_CONTROL_PLANE_RATE_LIMIT_PER_SECOND": "1000",
}
STANDING_AT_ONCE = 20
TRIES_OF_A_CELL = 3
STOPPED = 128 + signal.SIGINT


def main() -> int:
    """Everything that was asked for, one after the other; results are there also after Ctrl-C."""
    wanted = _arguments()
    for ending in (signal.SIGINT, signal.SIGTERM):
        # A shell leaves SIGINT ignored in what it starts in the background.
        signal.signal(ending, signal.default_int_handler)
    results = Results.resumed(RESULTS) if wanted.resume else Results()
    show, began = Show(), time.monotonic() - results.seconds
    try:
        with _platform(wanted.port_offset) as platform:
            harness = new_harness(platform, results, show, wanted.seed)
            try:
                _break(harness, wanted)
            finally:
                results.seconds = time.monotonic() - began
                _keep_logs(platform, results)
    except KeyboardInterrupt:
        show.line("[yellow]stopped before the end[/yellow]")
        return STOPPED
    finally:
        results.write(RESULTS)
        show.table(results)
        show.line(f"written to {RESULTS}")
    return 0 if results.is_good else 1


def new_harness(platform: Platform, results: Results, show: Show, seed: int) -> Harness:
    """At work on that platform, with a team of its own there."""
    traffic = Traffic(platform, seed)
    traffic.begin()
    return Harness(platform, traffic, Victims(platform), Oracle(traffic), results, show)


def run_cells(harness: Harness, planned: Sequence[Cell], at_once: int = STANDING_AT_ONCE) -> None:
    """Hits each; one that was missed is tried again with others."""
    results = harness.results
    results.planned_cells += len(planned)
    waiting, tries = list(planned), dict.fromkeys(planned, 0)
    # Mixed, so that each batch has traffic of all kinds.
    harness.traffic.chosen.shuffle(waiting)
    following = Preparations(harness, at_once)
    following.begin(waiting)
    with harness.show.bar("cells", len(planned)) as bar:
        while waiting:
            prepared = following.end()
            rest = [cell for cell in waiting if cell not in prepared.batch]
            missed = run_batch(harness, prepared, once_killed=partial(following.begin, rest))
            for cell in prepared.batch:
                tries[cell] += 1
            given_up = {c: why for c, why in missed.items() if tries[c] == TRIES_OF_A_CELL}
            results.missed |= {cell.name: why for cell, why in given_up.items()}
            done = set(prepared.batch) - set(missed) | set(given_up)
            waiting = [cell for cell in waiting if cell not in done]
            if not rest:
                following.begin(waiting)
            bar.advance(len(done), f"{results.count(Kind.LOST)} lost")
            results.write(RESULTS)


def finish(harness: Harness) -> None:
    """What can be judged only when nothing happens any more."""
    harness.find_late_effects()
    harness.found(wrong_metrics(harness.platform))


def _break(harness: Harness, wanted: argparse.Namespace) -> None:
    show = harness.show
    try:
        already = set(harness.results.hit)
        planned = [cell for cell in cells(wanted.cells, wanted.limit) if cell.name not in already]
        if planned:
            show.chapter(f"{len(planned)} cells")
            run_cells(harness, planned)
        if wanted.faults:
            show.chapter(f"{len(FAULTS)} faults")
            run_faults(harness, FAULTS)
        if wanted.seconds:
            show.chapter(f"{wanted.requests} requests under kills for {wanted.seconds:g} s")
            run_crowd(harness, wanted.requests, wanted.environments, wanted.seconds)
        show.chapter(f"{wanted.trials} trials, seed {wanted.seed}")
        run_trials(harness, wanted.trials)
        finish(harness)
    except (AssertionError, NotAnswered) as error:
        harness.found([Finding(Kind.STUCK, f"the harness could not go on: {error}")])


@contextmanager
def _platform(port_offset: int) -> Iterator[Platform]:
    """A platform in a folder of its own, on a file system of its own where that is possible."""
    folder = Path(tempfile.mkdtemp(prefix="idp-chaos-"))
    folder.chmod(0o755)  # PostgreSQL has an account of its own
    is_mounted = own_file_system(folder)
    try:
        with running_platform(folder, port_offset, **SETTINGS) as platform:
            yield platform
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _keep_logs(platform: Platform, results: Results) -> None:
    """Beside the results, when there is something to look for in them."""
    if not results.is_good:
        shutil.copytree(platform.home / "logs", RESULTS.parent / "logs", dirs_exist_ok=True)


def _arguments() -> argparse.Namespace:
    asked = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    asked.add_argument("--cells", default="*", metavar="PATTERN", help="of their names; '' is none")
    asked.add_argument("--limit", type=int, help="of the cells, an even choice of so many")
    asked.add_argument("--faults", action=argparse.BooleanOptionalAction, default=True)
    asked.add_argument(
        "--resume", action="store_true", help="goes on where the last run ended, as its results say"
    )
    asked.add_argument("--trials", type=int, default=20)
    asked.add_argument(
        "--seconds", type=float, default=0, help="of kills under a crowd of requests"
    )
    asked.add_argument("--requests", type=int, default=200, help="of the crowd")
    asked.add_argument("--environments", type=int, default=50, help="of the crowd")
    asked.add_argument("--seed", type=int, default=int(time.time()))
    default_offset = int(os.environ.get("IDP_TEST_PORT_OFFSET", "10000"))
    asked.add_argument("--port-offset", type=int, default=default_offset)
    return asked.parse_args()


if __name__ == "__main__":
    sys.exit(main())
