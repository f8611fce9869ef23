"""The contenders one after the other, each with the machine to itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from idp_kernel.services import LOOPBACK
from tests.bench.contender import Contender
from tests.bench.measuring import Measured, Plan, measure
from tests.bench.processes import end_of, running, wait_until
from tests.bench.stub import StubCalls
from tests.fixtures.stack import free_port, private_directory

END_OF_LOG = 600


@dataclass(frozen=True)
class Outcome:
    """A contender's figures, or why there are none."""

    contender: Contender
    measured: Measured | None
    error: str | None = None


def compare(
    contenders: Sequence[Contender], plan: Plan, say: Callable[[str], None]
) -> Iterator[Outcome]:
    """Each contender's outcome; one that fails keeps none of the others from theirs."""
    for contender in contenders:
        say(f"{contender.title} …")
        with private_directory(f"idp-bench-{contender.key}-") as folder:
            try:
                yield Outcome(contender, measured_alone(contender, plan, folder))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the others go on
                told = f"{type(error).__name__}: {error}"
                yield Outcome(contender, None, f"{told}\n{_logs(folder)}")


def measured_alone(contender: Contender, plan: Plan, folder: Path) -> Measured:
    """Starts it with a stub of its own, measures it and ends it."""
    with stub_worker(folder) as calls, contender.start(folder, calls.url) as running_contender:
        return measure(running_contender, calls, plan.at(contender.pace))


@contextmanager
def stub_worker(folder: Path, delay_seconds: float = 0.0) -> Iterator[StubCalls]:
    """A stub that takes so long for an answer, and what it is called for."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.stub", str(port), str(delay_seconds)]
    with running(command, {}, folder / "stub.log") as process:
        calls = StubCalls(f"http://{LOOPBACK}:{port}")
        wait_until(calls.is_there, seconds=30, what="the stub", processes=[process])
        try:
            yield calls
        finally:
            calls.close()


def _logs(folder: Path) -> str:
    logs = sorted(folder.rglob("*.log"))
    return "\n".join(f"{each.name}: {end_of(each, END_OF_LOG)}" for each in logs)
