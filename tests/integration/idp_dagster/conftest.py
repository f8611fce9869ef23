"""The engine's processes on a real PostgreSQL, beside a stand-in of the other services."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from idp_kernel.services import LOOPBACK, ServiceName
from idp_kernel.tokens import SigningKey
from idp_kernel.workflows import RequestState
from tests.fixtures.stack import PostgresServer, child, free_port, private_directory
from tests.integration.idp_dagster.stand_in import StandIn, StoodInRequest, serving
from tests.integration.idp_dagster.storage import DagsterStorage, dagster_storage

HERE = Path(__file__).parent
MODULES = ("code_server", "daemon", "worker", "webserver")
JOB = "application_environment_provisioning"
READY_WITHIN_SECONDS = 150
STARTS_AND_RUNS_WITHIN_SECONDS = 600
"""The first test that asks for the engine starts it; one with a limit of its own keeps it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        is_ours = "engine" in getattr(item, "fixturenames", ()) and HERE in item.path.parents
        if is_ours and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(STARTS_AND_RUNS_WITHIN_SECONDS))


@dataclass
class Engine:
    """The engine at work."""

    stand_in: StandIn
    graphql_url: str
    processes: dict[str, subprocess.Popen[bytes]]
    home: Path
    environment: dict[str, str]
    stack: ExitStack
    postgres: PostgresServer

    @property
    def database(self) -> str:
        """The name of the database that Dagster and the broker share."""
        return self.environment["IDP_ENGINE_BROKER_URL"].partition("?")[0].rsplit("/", 1)[-1]

    def start(self, module: str) -> None:
        """Starts a process, or starts it again; what it says is added to its log."""
        process = child(f"idp_dagster.{module}", self.environment, self.home)
        self.processes[module] = self.stack.enter_context(process)

    def log(self, module: str) -> str:
        return (self.home / f"idp_dagster.{module}.log").read_text()

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """The answer's data; fails on any error in it."""
        answer = httpx.post(
            self.graphql_url, json={"query": query, "variables": variables}, timeout=30
        ).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def run(self, run_id: str) -> dict[str, Any]:
        """A run as the UI shows it; tags as a mapping."""
        run = self.graphql(_RUN, runId=run_id)["runOrError"]
        run["tags"] = {tag["key"]: tag["value"] for tag in run["tags"]}
        return dict(run)

    def wait_for_status(self, run_id: str, *statuses: str, seconds: float = 60.0) -> dict[str, Any]:
        """The run, once it stands like that."""
        self.stand_in.wait_for(
            lambda: self.status(run_id) in statuses, seconds, look_every_seconds=0.1
        )
        return self.run(run_id)

    def status(self, run_id: str) -> str:
        """How a run stands; without its events, of which a check has thousands."""
        return str(self.graphql(_STATUS, runId=run_id)["runOrError"]["status"])

    def launch(self, config: dict[str, Any], job: str = JOB) -> str:
        """As from the Launchpad."""
        parameters = {"selector": {**LOCATION, "jobName": job}, "runConfigData": config}
        launched = self.graphql(_LAUNCH, parameters=parameters)["launchRun"]
        return str(launched["run"]["runId"])

    def launch_check(self, asset: str, check: str, partition: str | None = None) -> str:
        """As the catalog's button does, for all partitions or for one."""
        key = {"assetKey": {"path": [asset]}, "name": check}
        job = {**LOCATION, "jobName": "__ASSET_JOB", "assetSelection": [],
               "assetCheckSelection": [key]}  # fmt: skip
        tags = [] if partition is None else [{"key": "dagster/partition", "value": partition}]
        parameters = {"selector": job, "executionMetadata": {"tags": tags}}
        launched = self.graphql(_LAUNCH, parameters=parameters)["launchRun"]
        assert "run" in launched, launched
        return str(launched["run"]["runId"])

    def rerun(self, run_id: str, strategy: str) -> str:
        """As the UI's buttons do: `FROM_FAILURE` or `ALL_STEPS`."""
        parameters = {"parentRunId": run_id, "strategy": strategy}
        launched = self.graphql(_RERUN, parameters=parameters)["launchRunReexecution"]
        assert "run" in launched, launched
        return str(launched["run"]["runId"])

    def terminate(self, run_id: str) -> None:
        terminated = self.graphql(_TERMINATE, runId=run_id)["terminateRun"]
        assert terminated["__typename"] == "TerminateRunSuccess", terminated


LOCATION = {"repositoryLocationName": "idp", "repositoryName": "__repository__"}
_RUN = """query ($runId: ID!) { runOrError(runId: $runId) { ... on Run {
  status parentRunId tags { key value } stepStats { stepKey status }
  eventConnection(limit: 1000) { events { __typename ... on MessageEvent { message }
    ... on ErrorEvent { error { message errorChain { error { message } } } } } } } } }"""
_STATUS = "query ($runId: ID!) { runOrError(runId: $runId) { ... on Run { status } } }"
_LAUNCH = """mutation ($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) { __typename
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } } } }"""
_RERUN = """mutation ($parameters: ReexecutionParams!) {
  launchRunReexecution(reexecutionParams: $parameters) { __typename
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_TERMINATE = """mutation ($runId: String!) { terminateRun(runId: $runId) { __typename
    ... on TerminateRunFailure { message } } }"""


@pytest.fixture(scope="package")
def engine(postgres_server: PostgresServer) -> Iterator[Engine]:
    """All processes of the engine, ready for work."""
    with ExitStack() as stack:
        home = stack.enter_context(private_directory("idp-engine-"))
        stand_in = stack.enter_context(serving(StandIn(), free_port()))
        environment = engine_environment(postgres_server, stand_in, home)
        for _ in range(2):  # the second finds everything in place
            bootstrap(environment)
        engine = Engine(
            stand_in=stand_in,
            graphql_url=f"http://{LOOPBACK}:{environment['IDP_ENGINE_WEBSERVER_PORT']}/graphql",
            processes={},
            home=home,
            environment=environment,
            stack=stack,
            postgres=postgres_server,
        )
        for module in MODULES:
            engine.start(module)
        wait_until_ready(engine)
        yield engine
        for process in engine.processes.values():
            process.terminate()  # all at once; each takes its time to leave


@pytest.fixture
def fresh_record(engine: Engine) -> None:
    """No test sees another's calls."""
    workers = engine.stand_in.workers
    for record in (workers.calls, workers.drains, workers.looks):
        record.clear()
    workers.script.errors.clear()


def wait_for(engine: Engine, request: StoodInRequest, state: RequestState) -> None:
    """Until the request stands like that."""
    engine.stand_in.wait_for(lambda: request.state is state)


@contextmanager
def held(engine: Engine, path: str) -> Iterator[None]:
    """The workers' answer on a path is held back meanwhile."""
    release = threading.Event()
    engine.stand_in.workers.script.hold[path] = release
    try:
        yield
    finally:
        del engine.stand_in.workers.script.hold[path]
        release.set()


def messages(run: dict[str, Any]) -> str:
    """All that the UI shows of a run's events, errors too."""
    return str(run["eventConnection"]["events"])


def bootstrap(environment: dict[str, str]) -> None:
    """Makes home, tables and queue."""
    subprocess.run(
        [sys.executable, "-m", "idp_dagster.bootstrap"],
        env={"PATH": os.defpath, **environment},
        cwd=Path(__file__).parents[3],
        check=True,
        timeout=READY_WITHIN_SECONDS,
    )


def engine_environment(postgres: PostgresServer, stand_in: StandIn, home: Path) -> dict[str, str]:
    """Settings of a private engine."""
    database = postgres.create_database()
    key_file = home / f"{ServiceName.WORKFLOW_ENGINE}.key.json"
    SigningKey.generate(ServiceName.WORKFLOW_ENGINE).write(key_file)
    return {
        "DAGSTER_HOME": str(home / "dagster"),
        "IDP_ENGINE_CONTROL_PLANE_URL": stand_in.url,
        "IDP_ENGINE_WORKERS_URL": stand_in.url,
        "IDP_ENGINE_SERVICE_KEY_FILE": str(key_file),
        "IDP_ENGINE_DAGSTER_DATABASE_URL": database.url.replace("+psycopg:", "+psycopg2:"),
        "IDP_ENGINE_BROKER_URL": f"sqla+{database.url}",
        "IDP_ENGINE_WORKER_SLOTS": "2",
        "IDP_ENGINE_WEBSERVER_PORT": str(free_port()),
        "IDP_ENGINE_CODE_SERVER_PORT": str(free_port()),
    }


def wait_until_ready(engine: Engine) -> None:
    """Until the UI shows the job and the sensors ask for work."""

    def shows_job() -> bool:
        try:
            jobs = engine.graphql("{ repositoriesOrError { ... on RepositoryConnection { nodes "
                                  "{ jobs { name } } } } }")  # fmt: skip
        except httpx.HTTPError:
            return False
        nodes = jobs["repositoriesOrError"]["nodes"]
        return any(job["name"] == JOB for node in nodes for job in node["jobs"])

    engine.stand_in.wait_for(shows_job, READY_WITHIN_SECONDS)


@pytest.fixture(scope="module")
def storage(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DagsterStorage]:
    """A module's own: to make its tables takes longer than most tests."""
    with dagster_storage(postgres_server, tmp_path_factory.mktemp("dagster")) as made:
        yield made
