"""Dagster as it comes, and this platform's engine with the same six ops."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

import yaml

from idp_dagster.jobs.launch import PLATFORM_LOGGER
from idp_kernel.services import LOOPBACK, ServiceName
from idp_kernel.tokens import SigningKey
from tests.bench.contender import SLOTS, Contender, DrivenContender, driven
from tests.bench.contenders.dagster_steps import (
    LOCATION,
    RUN_CONFIG_VARIABLE,
    WORKSPACE_VARIABLE,
)
from tests.bench.database import BenchDatabase, bench_database
from tests.bench.processes import ROOT, running, wait_until
from tests.bench.steps import STUB_URL_VARIABLE
from tests.fixtures.stack import free_port

CONTENDERS = "tests.bench.contenders"
START_SECONDS = 90.0
CHILD_READY = "child_ready"
"""What a warm worker's child logs."""
VERSIONS = {each: version(each) for each in ("dagster", "dagster-postgres", "dagster-celery")}


@contextmanager
def stock(module: str, folder: Path, stub_url: str) -> Iterator[DrivenContender]:
    """Code server and daemon as Dagster's documentation has them, on PostgreSQL."""
    with bench_database(folder) as database, ExitStack() as stack:
        port, home = free_port(), folder / "dagster"
        home.mkdir()
        environment = {
            "DAGSTER_HOME": str(home),
            "BENCH_DATABASE_URL": database.url("psycopg2"),
            WORKSPACE_VARIABLE: str(home / "workspace.yaml"),
            STUB_URL_VARIABLE: stub_url,
        }
        (home / "dagster.yaml").write_text(yaml.safe_dump(STOCK_INSTANCE))
        (home / "workspace.yaml").write_text(yaml.safe_dump(_workspace(port)))
        programs = Path(sys.executable).parent
        server = stack.enter_context(
            running(
                [
                    *(str(programs / "dagster"), "api", "grpc", "-m", f"{CONTENDERS}.{module}"),
                    *("-h", LOOPBACK, "-p", str(port), "--location-name", LOCATION),
                    *("-d", str(ROOT)),
                ],
                environment,
                folder / "code_server.log",
            )
        )
        wait_until(
            partial(_listens, port), seconds=START_SECONDS, what="code server", processes=[server]
        )
        daemon = stack.enter_context(
            running(
                [str(programs / "dagster-daemon"), "run", "-w", environment[WORKSPACE_VARIABLE]],
                environment,
                folder / "daemon.log",
            )
        )
        others = [server.pid, daemon.pid, database.pid]
        yield stack.enter_context(_driver(environment, folder, others, database))


STOCK_INSTANCE = {
    "storage": {"postgres": {"postgres_url": {"env": "BENCH_DATABASE_URL"}}},
    # Not Dagster's 10: on two cores more at once are slower.
    "run_coordinator": {
        "module": "dagster._core.run_coordinator.queued_run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": {"max_concurrent_runs": SLOTS},
    },
    "telemetry": {"enabled": False},
}


@contextmanager
def engine(folder: Path, stub_url: str) -> Iterator[DrivenContender]:
    """The engine's own programs: bootstrap, code server, daemon and warm workers."""
    with bench_database(folder) as database, ExitStack() as stack:
        environment = engine_environment(database, folder, stub_url)
        command = (sys.executable, "-m", f"{CONTENDERS}.engine_steps")
        with running([*command, "bootstrap"], environment, folder / "bootstrap.log") as bootstrap:
            wait_until(
                lambda: bootstrap.poll() == 0, seconds=START_SECONDS, what="the engine's bootstrap"
            )
        others = [database.pid]
        processes = []
        for program in ("code_server", "daemon", "worker"):
            log = folder / f"{program}.log"
            process = stack.enter_context(running([*command, program], environment, log))
            others.append(process.pid)
            processes.append(process)
        log = folder / "worker.log"
        wait_until(
            lambda: log.read_text().count(CHILD_READY) >= SLOTS,
            seconds=START_SECONDS,
            what="warm workers",
            processes=processes,
        )
        port = int(environment["IDP_ENGINE_CODE_SERVER_PORT"])
        wait_until(
            partial(_listens, port), seconds=START_SECONDS, what="code server", processes=processes
        )
        yield stack.enter_context(_driver(environment, folder, others, database))


def engine_environment(database: BenchDatabase, folder: Path, stub_url: str) -> dict[str, str]:
    """Settings of the engine's programs; nobody is at the control plane's address."""
    key_file = folder / "engine.key.json"
    SigningKey.generate(ServiceName.WORKFLOW_ENGINE).write(key_file)
    port = free_port()
    workspace = folder / "workspace.yaml"
    workspace.write_text(yaml.safe_dump(_workspace(port)))
    return {
        "DAGSTER_HOME": str(folder / "dagster"),
        "IDP_ENGINE_CONTROL_PLANE_URL": f"http://{LOOPBACK}:{free_port()}",
        "IDP_ENGINE_WORKERS_URL": stub_url,
        "IDP_ENGINE_SERVICE_KEY_FILE": str(key_file),
        "IDP_ENGINE_DAGSTER_DATABASE_URL": database.url("psycopg2"),
        "IDP_ENGINE_BROKER_URL": f"sqla+{database.url('psycopg')}",
        "IDP_ENGINE_WORKER_SLOTS": str(SLOTS),
        "IDP_ENGINE_CODE_SERVER_PORT": str(port),
        "IDP_ENGINE_WORKSPACE_FILE": str(workspace),
        WORKSPACE_VARIABLE: str(workspace),
        # As the platform's own jobs: their events go to one log, not to Dagster's own as well.
        RUN_CONFIG_VARIABLE: json.dumps(PLATFORM_LOGGER),
        STUB_URL_VARIABLE: stub_url,
    }


@contextmanager
def _driver(
    environment: Mapping[str, str], folder: Path, others: list[int], database: BenchDatabase
) -> Iterator[DrivenContender]:
    module = f"{CONTENDERS}.dagster_steps"
    with driven(module, environment, folder, others=others, counts=database.counts) as contender:
        yield contender


def _workspace(port: int) -> object:
    server = {"host": LOOPBACK, "port": port, "location_name": LOCATION}
    return {"load_from": [{"grpc_server": server}]}


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


STOCK = Contender(
    key="stock",
    title="Dagster as it comes",
    versions=VERSIONS,
    settings={
        "launcher": "DefaultRunLauncher, a process for each run",
        "executor": "multiprocess, a process for each step",
        "storage": "dagster-postgres",
        "runs at once": str(SLOTS),
    },
    start=partial(stock, "dagster_stock"),
    pace=0.02,
)
STOCK_IN_PROCESS = Contender(
    key="stock_in_process",
    title="Dagster as it comes, in-process executor",
    versions=VERSIONS,
    settings={**STOCK.settings, "executor": "in_process"},
    start=partial(stock, "dagster_stock_in_process"),
    pace=0.1,
)
ENGINE = Contender(
    key="engine",
    title="This platform's engine",
    versions=VERSIONS,
    settings={
        "launcher": "LeaseRunLauncher, warm Celery workers",
        "executor": "in_process",
        "storage": "PooledPostgresStorage",
        "broker": "PostgreSQL",
        "run config": json.dumps(PLATFORM_LOGGER),
        "runs at once": str(SLOTS),
    },
    start=engine,
)
