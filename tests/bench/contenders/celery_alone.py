"""Celery without an engine above it: what messages and calls alone cost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from tests.bench.contender import SLOTS, Contender, DrivenContender, driven
from tests.bench.contenders.celery_steps import BROKER_VARIABLE, RESULTS_VARIABLE
from tests.bench.database import bench_database
from tests.bench.processes import running
from tests.bench.steps import SLOTS_VARIABLE, STUB_URL_VARIABLE

MODULE = "tests.bench.contenders.celery_steps"


@contextmanager
def celery_alone(folder: Path, stub_url: str) -> Iterator[DrivenContender]:
    """A worker with warm children; broker and results are PostgreSQL."""
    with bench_database(folder) as database:
        environment = {
            BROKER_VARIABLE: f"sqla+{database.url('psycopg')}",
            RESULTS_VARIABLE: f"db+{database.url('psycopg')}",
            SLOTS_VARIABLE: str(SLOTS),
            STUB_URL_VARIABLE: stub_url,
        }
        command = [sys.executable, "-m", MODULE, "worker"]
        with (
            # It makes the tables, which two at once could not.
            driven(
                MODULE, environment, folder, others=[database.pid], counts=database.counts
            ) as contender,
            running(command, environment, folder / "worker.log") as worker,
        ):
            contender.roots = [*contender.roots, worker.pid]
            yield contender


CELERY = Contender(
    key="celery",
    title="Celery alone",
    versions={each: version(each) for each in ("celery", "kombu")},
    settings={
        "pool": f"prefork, {SLOTS} children",
        "broker": "PostgreSQL, looked at ten times a second",
        "results": "PostgreSQL",
        "steps": "a chain of six tasks",
    },
    start=celery_alone,
)
