"""What is measured of each engine is asked of it in one way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.bench.driver import FINISHED, READY, SUBMIT
from tests.bench.processes import NotInTime, end_of, running
from tests.bench.usage import DatabaseCounts

SLOTS = 4
"""Requests, or steps, that a contender works on at once where it has such a limit: the platform's
own default.
"""


class Running(Protocol):
    """A contender at work."""

    @property
    def roots(self) -> Sequence[int]:
        """Process ids: these and all that descend from them are its cost."""

    @property
    def counts(self) -> DatabaseCounts | None:
        """Of its PostgreSQL; none of one that has no PostgreSQL."""

    @property
    def steps(self) -> int:
        """The calls of the stub that each request makes."""

    def submit(self, number: int) -> Mapping[str, float]:
        """Hands requests over, one after the other: id and when it was accepted, in seconds of the
        epoch.
        """

    def finished(self, ids: Sequence[str]) -> Mapping[str, float]:
        """When those of the requests that have succeeded did so; raises when one failed."""


@dataclass(frozen=True)
class Contender:
    """How a contender is called and started."""

    key: str
    """In `results.json`."""
    title: str
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    """What it was given, for the page."""
    start: Start
    pace: float = 1.0
    """How much of a plan is asked of it: a slow one is given fewer requests."""


class Start(Protocol):
    """Starts a contender in a folder, its steps calling the stub at an address."""

    def __call__(self, folder: Path, stub_url: str) -> AbstractContextManager[Running]: ...


@dataclass
class DrivenContender:
    """A contender whose requests come from a driver program (`tests.bench.driver`)."""

    driver: subprocess.Popen[str]
    log: Path
    roots: Sequence[int]
    counts: DatabaseCounts | None
    steps: int = 6
    details: dict[str, Any] = field(default_factory=dict)

    def submit(self, number: int) -> Mapping[str, float]:
        return self._ask({SUBMIT: number}, SUBMIT)

    def finished(self, ids: Sequence[str]) -> Mapping[str, float]:
        return self._ask({FINISHED: list(ids)}, FINISHED)

    def await_driver(self) -> None:
        """Until the driver can submit."""
        self._read(READY)

    def _ask(self, command: Mapping[str, object], answer: str) -> dict[str, float]:
        assert self.driver.stdin is not None
        self.driver.stdin.write(json.dumps(command) + "\n")
        self.driver.stdin.flush()
        found: dict[str, float] = self._read(answer)
        return found

    def _read(self, answer: str) -> Any:
        assert self.driver.stdout is not None
        while line := self.driver.stdout.readline():
            if line.startswith("{") and answer in (told := json.loads(line)):
                return told[answer]
        raise NotInTime(f"The driver ended: {end_of(self.log)}")


@contextmanager
def driven(
    module: str,
    environment: Mapping[str, str],
    folder: Path,
    *,
    others: Sequence[int],
    counts: DatabaseCounts | None,
    python: str = sys.executable,
) -> Iterator[DrivenContender]:
    """A contender whose other processes run already; `others` are their ids."""
    log = folder / "driver.log"
    command = (python, "-m", module, "driver")
    with running(command, environment, log, pipes=True) as driver:
        contender = DrivenContender(driver, log, [driver.pid, *others], counts)
        contender.await_driver()
        yield contender
