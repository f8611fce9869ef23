"""Three hundred watchers of one API process: each sees every event once, for the price of one."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from statistics import quantiles

import psutil
import pytest

from control_plane.adapters.bearer_tokens import hash_bearer_token, new_bearer_token
from control_plane.adapters.database import new_engine
from control_plane.api.services import Services
from control_plane.application.manage_teams import add_member, create_team
from control_plane.application.manage_tokens import create_token
from control_plane.application.ports import Begin
from control_plane.main import build_services
from idp_kernel.clock import SystemClock
from idp_kernel.services import LOOPBACK
from idp_kernel.wire.api import AddMember, CreateTeam, CreateToken
from idp_kernel.wire.engine import TeamRole
from local_stack.passfiles import SUPERUSER
from local_stack.postgres_setup import PostgresAddress, connect_as_superuser
from tests.fixtures.stack import FreshDatabase, free_port, private_directory
from tests.integration.control_plane.conftest import Keys, settings_for
from tests.integration.control_plane.own_postgres import OwnPostgres
from tests.integration.control_plane.process import Process, served

pytestmark = [pytest.mark.endurance, pytest.mark.timeout(3600)]

SECONDS = float(os.environ.get("IDP_TEST_WATCH_SECONDS", "30"))
WATCHERS = 300
EVENTS_PER_SECOND = 10
ALONE_SECONDS = max(10.0, SECONDS / 10)
TEAM = "watched"
MOST_GROWTH_BYTES = 8 * 1024 * 1024
"""Of the process, after it has warmed up. Keeping one message for each of whom it was sent to would
be several hundred bytes three thousand times a second; what is left is the allocator's.
"""
_NUMBER = re.compile(rb'"subject":"team/number-(\d+)"')


@dataclass
class Watcher:
    """One connection, and which events it heard when."""

    token: str
    heard: list[tuple[int, float]] = field(default_factory=list)
    has_begun: bool = False

    async def watch(self, port: int) -> None:
        """Reads until the server, or the test, ends it."""
        reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=2**20)
        try:
            writer.write(
                f"GET /v1/events/stream?team={TEAM} HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: Bearer {self.token}\r\n\r\n".encode()
            )
            async for line in reader:
                if line.startswith(b"id: "):
                    self.has_begun = True
                elif found := _NUMBER.search(line):
                    self.heard.append((int(found[1]), time.monotonic()))
        finally:
            writer.close()


@dataclass
class Writer:
    """Writes numbered events at a steady rate; remembers when each was about to be committed."""

    begin: Begin
    committed: dict[int, float] = field(default_factory=dict)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Writes in a thread while the block lasts."""
        stopped = threading.Event()

        def write() -> None:
            until = time.monotonic()
            while not stopped.wait(max(0.0, until - time.monotonic())):
                self._write_one()
                until += 1 / EVENTS_PER_SECOND

        thread = threading.Thread(target=write, name="writer")
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def _write_one(self) -> None:
        number = len(self.committed)
        with self.begin() as work:
            team = work.teams.by_slug(TEAM)
            assert team is not None
            work.journal.event(
                "application_created",
                subject=f"team/number-{number}",
                actor="test",
                team_id=team.id,
            )
            self.committed[number] = time.monotonic()


@dataclass(frozen=True)
class Measured:
    """What the API process did over some time."""

    statements_per_second: float
    cpu_share: float


@dataclass(frozen=True)
class Stage:
    """An API process on a database that counts its statements."""

    process: Process
    address: PostgresAddress
    database: FreshDatabase
    services: Services

    def statements(self) -> int:
        """How many the role of the API has run; nobody else has it."""
        query = """
            SELECT coalesce(sum(calls), 0) FROM pg_stat_statements JOIN pg_roles
            ON pg_roles.oid = userid WHERE rolname = %s
        """
        with closing(connect_as_superuser(self.address, self.database.name)) as connection:
            row = connection.execute(query, [self.database.role]).fetchone()
        assert row is not None
        return int(str(row[0]))

    @property
    def cpu_seconds(self) -> float:
        times = psutil.Process(self.process.process.pid).cpu_times()
        return times.user + times.system

    @property
    def own_bytes(self) -> int:
        """Its memory, shared pages by their share."""
        pss: int = psutil.Process(self.process.process.pid).memory_full_info().pss
        return pss

    async def measured(self, seconds: float) -> Measured:
        statements, cpu, began = self.statements(), self.cpu_seconds, time.monotonic()
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        return Measured((self.statements() - statements) / took, (self.cpu_seconds - cpu) / took)


@pytest.fixture
def stage(keys: Keys) -> Iterator[Stage]:
    with private_directory("idp-watchers-") as home:
        own = OwnPostgres(home, free_port())
        with own.running(), closing(connect_as_superuser(own.address, "postgres")) as server:
            server.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
        with own.running():
            database = own.new_database()
            with closing(connect_as_superuser(own.address, database.name)) as connection:
                connection.execute("CREATE EXTENSION pg_stat_statements")
            # Who writes is another role than the API, so that its statements are counted apart.
            engine = new_engine(own.address.url(SUPERUSER, database.name))
            services = build_services(settings_for(database, keys), engine, SystemClock())
            with served(database, keys) as process:
                yield Stage(process, own.address, database, services)
            engine.dispose()


def tokens_of_viewers(services: Services) -> list[str]:
    """As many people as there are watchers, all of them viewers of the team."""
    tokens = [new_bearer_token() for _ in range(WATCHERS)]
    with services.begin() as work:
        create_team(work, "test", CreateTeam(slug=TEAM, display_name="Watched"))
        for number, token in enumerate(tokens):
            principal = f"viewer-{number}"
            create_token(work, "test", CreateToken(principal=principal), hash_bearer_token(token))
            add_member(
                work, "test", TEAM, AddMember(principal=principal, role=TeamRole.TEAM_VIEWER)
            )
    return tokens


@asynccontextmanager
async def watching(port: int, tokens: list[str]) -> AsyncIterator[list[Watcher]]:
    """A watcher for each token, all begun, while the block lasts."""
    watchers = [Watcher(token) for token in tokens]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.watch(port)) for each in watchers]
        await until(lambda: all(each.has_begun for each in watchers))
        yield watchers
        for task in tasks:
            task.cancel()


async def until(holds: Callable[[], bool]) -> None:
    """Waits for what many tasks make true together."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - no single one of them could tell
            await asyncio.sleep(0.05)


def test_three_hundred_watch_for_the_price_of_one(stage: Stage) -> None:
    asyncio.run(_scenario(stage))


async def _scenario(stage: Stage) -> None:
    tokens, writer = tokens_of_viewers(stage.services), Writer(stage.services.begin)
    port = stage.process.port
    async with watching(port, tokens[:1]):
        with writer.writing():
            alone = await stage.measured(ALONE_SECONDS)
    first = len(writer.committed)
    async with watching(port, tokens) as watchers:
        with writer.writing():
            await asyncio.sleep(ALONE_SECONDS)
            warm = stage.own_bytes
            together = await stage.measured(SECONDS - ALONE_SECONDS)
            growth = stage.own_bytes - warm
        last = len(writer.committed) - 1
        await until(lambda: all(each.heard and each.heard[-1][0] == last for each in watchers))
    _tell(writer, watchers, alone, together, warm, growth)
    expected = list(range(first, last + 1))
    wrong = [each.token for each in watchers if [number for number, _ in each.heard] != expected]
    assert len(wrong) == 0
    assert together.statements_per_second < 1.1 * alone.statements_per_second
    assert growth < MOST_GROWTH_BYTES


def _tell(
    writer: Writer,
    watchers: list[Watcher],
    alone: Measured,
    together: Measured,
    warm: int,
    growth: int,
) -> None:
    latencies = [
        1000 * (at - writer.committed[number]) for each in watchers for number, at in each.heard
    ]
    percentiles = quantiles(latencies, n=100)
    print(  # noqa: T201 - what the test is run for
        f"\n{WATCHERS} watchers heard {len(latencies)} events in {SECONDS:.0f} s;"
        f" from commit to watcher p50 {percentiles[49]:.0f} ms, p99 {percentiles[98]:.0f} ms,"
        f" max {max(latencies):.0f} ms."
        f"\nStatements a second: {alone.statements_per_second:.1f} for one,"
        f" {together.statements_per_second:.1f} for all."
        f" Processor: {alone.cpu_share:.2f} and {together.cpu_share:.2f} of a core."
        f"\nMemory: {warm / 2**20:.1f} MiB warm, {growth / 2**20:+.2f} MiB until the end."
    )
