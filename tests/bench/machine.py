"""What machine this is, and how quick it is by a task that is the same everywhere."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 5
WORK = 20_000


@dataclass(frozen=True)
class Machine:
    """Figures of other machines can be held against this one's by `calibration_seconds`."""

    processors: int
    memory_gibibytes: float
    processor: str
    python: str
    load_before: float
    """The load average of the last minute, before anything was measured."""
    calibration_seconds: float


def this_machine() -> Machine:
    """Looks and calibrates, in about two seconds."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        processors=len(os.sched_getaffinity(0)),
        memory_gibibytes=round(pages / 1024**3, 1),
        processor=_processor(),
        python=platform.python_version(),
        load_before=round(os.getloadavg()[0], 2),
        calibration_seconds=round(statistics.median(calibrate() for _ in range(ROUNDS)), 3),
    )


def calibrate() -> float:
    """How long one core takes to write, read and hash small JSON documents in Python."""
    began = time.perf_counter()
    document = {"id": "0", "steps": [{"name": f"step-{n}", "state": "succeeded"} for n in range(6)]}
    for number in range(WORK):
        document["id"] = str(number)
        text = json.dumps(document)
        hashlib.sha256(text.encode()).hexdigest()
        json.loads(text)
    return time.perf_counter() - began


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
