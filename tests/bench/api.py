"""The API alone: one process of the control plane under commands and queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import httpx
import psycopg

from idp_cli.supervision.embedded import Embedded
from idp_cli.supervision.home import Home
from idp_cli.supervision.keys import ensure_keys
from idp_cli.supervision.programs import Program
from idp_kernel.ids import new_id
from idp_kernel.services import LOOPBACK, DefaultPorts, ServiceName
from local_stack.postgres_setup import PLATFORM_DATABASE, PostgresAddress
from tests.bench.contenders.platform import UNLIMITED
from tests.bench.database import (
    make_counting_cluster,
    postgres,
    superuser_conninfo,
    superuser_counts,
)
from tests.bench.figures import spread
from tests.bench.finished_requests import CONTROL_PLANE, copy_rows
from tests.bench.load import Answered, Call, at_even_distances
from tests.bench.processes import NotInTime, running, wait_until
from tests.bench.usage import Counted, DatabaseCounts, cpu_seconds
from tests.fixtures.stack import free_port, private_directory

SETUP = ("postgres-setup", "control-plane-bootstrap")
PORT_VARIABLE = "IDP_CONTROL_PLANE_PORT"
READY_SECONDS = 60.0
ENVIRONMENTS = 100
ACTIVE = "Active"


@dataclass(frozen=True)
class ApiPlan:
    """How much is asked of the API."""

    commands_per_second: float
    queries_per_second: float
    seconds: float
    finished_requests: int
    warm_up_calls: int = 100


FULL = ApiPlan(
    commands_per_second=300, queries_per_second=100, seconds=10, finished_requests=100_000
)
SHORT = ApiPlan(commands_per_second=100, queries_per_second=50, seconds=2, finished_requests=5_000)


@dataclass(frozen=True)
class Api:
    """A control plane at work, and its database."""

    port: int
    """Where it is called."""
    pids: tuple[int, ...]
    own_ports: tuple[int, ...]
    """Of its processes, in the same order."""
    token: str
    address: PostgresAddress

    @property
    def counts(self) -> DatabaseCounts:
        return superuser_counts(self.address)

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(superuser_conninfo(self.address, PLATFORM_DATABASE), autocommit=True)

    def post(self, path: str, body: object = None) -> Any:
        """The decoded answer of a command."""
        answer = httpx.post(
            f"http://{LOOPBACK}:{self.port}{path}",
            json=body,
            headers={**self._bearer(), "Idempotency-Key": new_id()},
            timeout=30,
        )
        answer.raise_for_status()
        return answer.json()

    def command(self, path: str, body: object) -> Call:
        return Call("POST", path, {**self._bearer(), "Idempotency-Key": new_id()}, body)

    def query(self, path: str) -> Call:
        return Call("GET", path, self._bearer())

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def measure_api(plan: ApiPlan, say: Callable[[str], None]) -> dict[str, Any]:
    """Provisionings at a rate, then queries with many finished requests behind them."""
    with private_directory("idp-bench-api-") as folder, running_api(folder) as api:
        number = int(plan.commands_per_second * plan.seconds) + plan.warm_up_calls
        say(f"API: {plan.commands_per_second:g} commands a second …")
        calls = [
            api.command(f"/v1/applications/{application}/environments", {"environment": slug})
            for application, slug in islice(prepared_pairs(api, number), number)
        ]
        _answers(api, calls[: plan.warm_up_calls], 50.0)
        commands = _measured(api, calls[plan.warm_up_calls :], plan.commands_per_second)
        say(f"API: queries with {plan.finished_requests:,} requests behind them …")
        with closing(api.connect()) as connection:
            request_id = _end_all(connection)
            copy_rows(connection, CONTROL_PLANE, request_id, plan.finished_requests)
            # As the server's own cleaning leaves them; it would else be at work meanwhile.
            connection.execute("VACUUM ANALYZE")
        queries = {}
        for name, paths in query_paths(api).items():
            asked = list(islice(cycle(paths), int(plan.queries_per_second * plan.seconds)))
            _answers(api, [api.query(each) for each in asked[:20]], 50.0)
            queries[name] = _measured(
                api, [api.query(each) for each in asked], plan.queries_per_second
            )
    return {
        "commands": commands,
        "queries": queries,
        "finished_requests": plan.finished_requests,
    }


def query_paths(api: Api) -> Mapping[str, Sequence[str]]:
    """What people and programs ask most, by what it is called."""
    with closing(api.connect()) as connection:
        rows = connection.execute(
            "SELECT id::text FROM control_plane.workflow_requests ORDER BY id DESC LIMIT 200"
        ).fetchall()
    return {
        "one_request": [f"/v1/workflow-requests/{each}" for (each,) in rows],
        "page_of_requests": ["/v1/workflow-requests?limit=50"],
        "page_of_events": ["/v1/events?limit=50"],
    }


def prepared_pairs(api: Api, number: int) -> Iterator[tuple[str, str]]:
    """Applications that stand and environments, in as many pairs at least; those that follow each
    other are of different applications, as different people ask for them.
    """
    api.post("/v1/teams", {"slug": "measured", "displayName": "Measured"})
    api.post("/v1/teams/measured/activate")
    applications = [
        api.post("/v1/applications", {"team": "measured", "slug": f"measured-{each}"})
        for each in range(number // ENVIRONMENTS + 1)
    ]
    slugs = [f"place-{each}" for each in range(ENVIRONMENTS)]
    for slug in slugs:
        api.post("/v1/environments", {"slug": slug})
        api.post(f"/v1/environments/{slug}/activate")
    with closing(api.connect()) as connection:
        # No engine is there to onboard them.
        connection.execute("UPDATE control_plane.applications SET state = %s", (ACTIVE,))
        _end_all(connection)
    ids = [each["applicationId"] for each in applications]
    return ((application, slug) for slug, application in product(slugs, ids))


def _end_all(connection: psycopg.Connection[tuple[object, ...]]) -> str:
    """Has every request succeeded; answers the youngest one's id."""
    connection.execute("UPDATE control_plane.workflow_subjects SET active = false")
    connection.execute(
        "UPDATE control_plane.workflow_requests SET state = 'succeeded', ended_at = now()"
    )
    row = connection.execute("SELECT max(id::text) FROM control_plane.workflow_requests").fetchone()
    assert row is not None
    return str(row[0])


def _measured(api: Api, calls: Sequence[Call], per_second: float) -> dict[str, Any]:
    cpu, counted = cpu_seconds(api.pids), api.counts.read()
    answered = _answers(api, calls, per_second)
    cpu, after = cpu_seconds(api.pids) - cpu, api.counts.read()
    return {
        "per_second": per_second,
        "calls": len(answered),
        "seconds": asdict(spread([each.seconds for each in answered])),
        "cpu_seconds_per_call": cpu / len(answered),
        "statements_per_call": _statements(counted, after) / len(answered),
    }


def _statements(before: Counted, after: Counted) -> int:
    return after.statements - before.statements


def _answers(api: Api, calls: Sequence[Call], per_second: float) -> list[Answered]:
    answered = at_even_distances(api.port, calls, per_second=per_second)
    all_taken(answered)
    return answered


def all_taken(answered: Sequence[Answered]) -> None:
    """Raises `NotInTime` when the API did not do what it was asked for."""
    refused = {each.status for each in answered if each.status >= 300}
    if refused:
        raise NotInTime(f"The API answered {sorted(refused)}.")


@contextmanager
def running_api(folder: Path, replicas: int = 1) -> Iterator[Api]:
    """PostgreSQL and so many processes `control-plane-api` of the embedded default, without the
    rest; the first is called.
    """
    ports = DefaultPorts(postgres=free_port(), control_plane_api=free_port())
    own_ports = (ports.control_plane_api, *(free_port() for _ in range(replicas - 1)))
    home = Home.at(folder / "idp")
    home.prepare()
    ensure_keys(home.keys)
    address = PostgresAddress(ports.postgres, home.keys)
    data_dir, log = home.root / "postgres", folder / "postgres.log"
    programs = {each.name: each for each in Embedded(home, ports).programs()}
    make_counting_cluster(data_dir, address, log)
    with ExitStack() as stack:
        stack.enter_context(postgres(data_dir, address, log))
        superuser_counts(address).prepare()
        for name in SETUP:
            _run_through(programs[name], folder)
        server = programs[ServiceName.CONTROL_PLANE_API]
        pids = []
        for port in own_ports:
            settings = {**server.settings, **UNLIMITED, PORT_VARIABLE: port}
            environment = {name: str(value) for name, value in settings.items()}
            log = folder / f"api-{port}.log"
            process = stack.enter_context(running(server.command, environment, log))
            wait_until(
                partial(_is_ready, port),
                seconds=READY_SECONDS,
                what="the control plane",
                processes=[process],
            )
            pids.append(process.pid)
        token = home.admin_token.read_text().strip()
        yield Api(own_ports[0], tuple(pids), own_ports, token, address)


def _run_through(program: Program, folder: Path) -> None:
    log = folder / f"{program.name}.log"
    with running(program.command, program.environment, log) as process:
        wait_until(
            lambda: process.poll() == 0, seconds=READY_SECONDS, what=f"the end of {program.name}"
        )


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
