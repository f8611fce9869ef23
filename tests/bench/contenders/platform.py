"""The whole platform, from the command to the finalized request, on ports of its own."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import psycopg
from rich.console import Console

from idp_cli.supervision.embedded import Embedded
from idp_cli.supervision.home import Home
from idp_cli.supervision.keys import ensure_keys
from idp_cli.supervision.launch import Platform, interruptible
from idp_cli.supervision.narration import Narrator
from idp_cli.supervision.ports import shifted_ports
from idp_cli.supervision.programs import Program
from idp_cli.supervision.readiness import HasLogged
from idp_cli.supervision.remote import SupervisorRemote
from idp_kernel.ids import new_id
from idp_kernel.services import LOOPBACK, DefaultPorts
from local_stack.postgres_setup import PLATFORM_DATABASE, PostgresAddress
from tests.bench.contender import SLOTS, Contender
from tests.bench.contenders.dagster import VERSIONS
from tests.bench.database import make_counting_cluster, superuser_conninfo, superuser_counts
from tests.bench.processes import NotInTime
from tests.bench.usage import DatabaseCounts, cpu_seconds

BROKER_VARIABLE = "IDP_ENGINE_BROKER_URL"
SLOTS_VARIABLE = "IDP_ENGINE_WORKER_SLOTS"
WORKERS_URL_VARIABLE = "IDP_ENGINE_WORKERS_URL"
UNLIMITED = {
    "IDP_CONTROL_PLANE_RATE_LIMIT_PER_SECOND": 100_000,
    "IDP_CONTROL_PLANE_RATE_LIMIT_BURST": 100_000,
}
"""One token makes all the commands."""
STUBBED_STEPS = 5
"""Of a provisioning; its sixth tells the control plane."""
ENDED_BADLY = ("failed", "cancelled", "timed_out")
TEAMS = 3
APPLICATIONS = 12
ENVIRONMENTS = 80
ONBOARDED_SECONDS = 120.0


@dataclass(frozen=True)
class StartedPlatform:
    """A platform of our own."""

    home: Home
    ports: DefaultPorts
    ready_seconds: float
    """From the start of its supervisor until every program could work."""

    @property
    def roots(self) -> Sequence[int]:
        record = self.home.record()
        if record is None:
            raise NotInTime(f"No supervisor runs in {self.home.root}.")
        return [record.supervisor_pid]

    @property
    def counts(self) -> DatabaseCounts:
        return superuser_counts(self.address)

    @property
    def address(self) -> PostgresAddress:
        return PostgresAddress(self.ports.postgres, self.home.keys)

    @property
    def api_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.control_plane_api}"

    def cpu_seconds_by_program(self) -> dict[str, float]:
        """What each program has used since it was started, with its descendants."""
        processes = SupervisorRemote(self.home.socket).processes()
        return {
            name: cpu_seconds([each.pid])
            for name, each in processes.items()
            if each.pid is not None
        }

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What a statement finds in the platform's database, read as its superuser."""
        conninfo = superuser_conninfo(self.address, PLATFORM_DATABASE)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            return connection.execute(statement, parameters).fetchall()


@contextmanager
def started_platform(
    folder: Path, port_offset: int, changed: Mapping[str, str | int], *, workers: int = 1
) -> Iterator[StartedPlatform]:
    """Every program of `idp up`, with some of their settings changed, and with so many workers."""
    home, ports = Home.at(folder / "idp"), shifted_ports(port_offset)
    home.prepare()
    ensure_keys(home.keys)
    address = PostgresAddress(ports.postgres, home.keys)
    make_counting_cluster(home.root / "postgres", address, folder / "postgres.log")
    programs = [
        _changed(each, changed)
        for program in Embedded(home, ports).programs()
        for each in _scaled(program, home, workers)
    ]
    told = Console(file=StringIO())
    with interruptible(), home.locked() as lock:
        platform = Platform(home, programs, Narrator(told), lock=lock, port_offset=port_offset)
        try:
            began = time.monotonic()
            platform.start()
            started = StartedPlatform(home, ports, time.monotonic() - began)
            started.counts.prepare()
            yield started
        finally:
            platform.stop()


def _changed(program: Program, changed: Mapping[str, str | int]) -> Program:
    """A setting goes to those programs whose other settings begin alike."""
    prefixes = {_prefix(name) for name in program.settings}
    more = {name: value for name, value in changed.items() if _prefix(name) in prefixes}
    return replace(program, settings={**program.settings, **more})


def _scaled(program: Program, home: Home, workers: int) -> Iterable[Program]:
    """The worker as often as wanted; the daemon lets as many runs begin as they have slots."""
    if program.name == "daemon":
        yield replace(program, settings={**program.settings, SLOTS_VARIABLE: SLOTS * workers})
        return
    yield program
    if program.name == "worker":
        assert isinstance(program.readiness, HasLogged)
        for number in range(2, workers + 1):
            name = f"{program.name}-{number}"
            ready = replace(program.readiness, log=home.log_of(name))
            yield replace(program, name=name, readiness=ready)


def _prefix(name: str) -> str:
    return "_".join(name.split("_")[:2])


class PlatformClient:
    """The API as the first admin."""

    def __init__(self, platform: StartedPlatform) -> None:
        token = platform.home.admin_token.read_text().strip()
        self._client = httpx.Client(
            base_url=platform.api_url, headers={"Authorization": f"Bearer {token}"}, timeout=60
        )

    def post(self, path: str, body: object = None) -> Any:
        """The decoded answer of a command."""
        answer = self._client.post(path, json=body, headers={"Idempotency-Key": new_id()})
        answer.raise_for_status()
        return answer.json()

    def get(self, path: str) -> Any:
        """The decoded answer of a query."""
        answer = self._client.get(path)
        answer.raise_for_status()
        return answer.json()

    def close(self) -> None:
        self._client.close()


class WholePlatform:
    """Provisions one application environment after the other."""

    steps = STUBBED_STEPS

    def __init__(self, platform: StartedPlatform, client: PlatformClient) -> None:
        self._platform = platform
        self._client = client
        self._pairs = iter(())  # type: Iterator[tuple[str, str]]

    @property
    def roots(self) -> Sequence[int]:
        return self._platform.roots

    @property
    def counts(self) -> DatabaseCounts:
        return self._platform.counts

    def prepare(self, *, teams: int, applications: int, environments: int) -> None:
        """Makes what is to be provisioned: a pair for each request."""
        slugs = [f"bench-{number}" for number in range(teams)]
        for slug in slugs:
            self._client.post("/v1/teams", {"slug": slug, "displayName": "Measured"})
            self._client.post(f"/v1/teams/{slug}/activate")
        accepted = [
            self._client.post(
                "/v1/applications", {"team": slugs[each % teams], "slug": f"measured-{each}"}
            )
            for each in range(applications)
        ]
        names = [f"place-{number}" for number in range(environments)]
        for name in names:
            self._client.post("/v1/environments", {"slug": name})
            self._client.post(f"/v1/environments/{name}/activate")
        self._await([each["requestId"] for each in accepted])
        ids = [each["applicationId"] for each in accepted]
        self._pairs = iter([(each, name) for name in names for each in ids])

    def submit(self, number: int) -> Mapping[str, float]:
        return dict(self._provision() for _ in range(number))

    def finished(self, ids: Sequence[str]) -> Mapping[str, float]:
        rows = self._platform.rows(
            "SELECT id::text, state, ended_at, error FROM control_plane.workflow_requests"
            " WHERE id = ANY(%s::uuid[]) AND ended_at IS NOT NULL",
            list(ids),
        )
        bad = [f"{each} {state}: {error}" for each, state, _, error in rows if state in ENDED_BADLY]
        if bad:
            raise RuntimeError(f"{len(bad)} requests ended badly, the first: {bad[0]}")
        return {each: _epoch(ended_at) for each, _, ended_at, _ in rows}

    def _provision(self) -> tuple[str, float]:
        application_id, environment = next(self._pairs)
        path = f"/v1/applications/{application_id}/environments"
        accepted = self._client.post(path, {"environment": environment})
        return accepted["requestId"], time.time()

    def _await(self, ids: Sequence[str]) -> None:
        give_up_at = time.monotonic() + ONBOARDED_SECONDS
        while len(self.finished(ids)) < len(ids):
            if time.monotonic() > give_up_at:
                raise NotInTime(f"applications were not onboarded in {ONBOARDED_SECONDS:g} s")
            time.sleep(0.2)


def _epoch(moment: datetime) -> float:
    return moment.timestamp()


@contextmanager
def whole_platform(port_offset: int, folder: Path, stub_url: str) -> Iterator[WholePlatform]:
    """Its engine calls the stub in place of execution-workers, which run beside all the same."""
    changed: dict[str, str | int] = {WORKERS_URL_VARIABLE: stub_url, **UNLIMITED}
    with started_platform(folder, port_offset, changed) as platform:
        client = PlatformClient(platform)
        try:
            contender = WholePlatform(platform, client)
            contender.prepare(teams=TEAMS, applications=APPLICATIONS, environments=ENVIRONMENTS)
            yield contender
        finally:
            client.close()


def platform_contender(port_offset: int) -> Contender:
    """On the ports that lie `port_offset` above the platform's own."""
    return Contender(
        key="platform",
        title="The whole platform",
        versions=VERSIONS,
        settings={
            "from": "POST of a provisioning",
            "until": "the request is finalized",
            "calls of the stub": f"{STUBBED_STEPS}, the sixth step tells the control plane",
            "database": "PostgreSQL, one for all its parts",
            "runs at once": str(SLOTS),
        },
        start=partial(whole_platform, port_offset),
    )
