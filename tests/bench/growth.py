"""What a request costs with few, many and very many finished requests behind it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from local_stack.postgres_setup import DAGSTER_DATABASE, PLATFORM_DATABASE
from tests.bench.comparing import stub_worker
from tests.bench.contenders.platform import (
    UNLIMITED,
    WORKERS_URL_VARIABLE,
    PlatformClient,
    StartedPlatform,
    WholePlatform,
    started_platform,
)
from tests.bench.database import superuser_conninfo
from tests.bench.figures import ratio_of_medians, spread
from tests.bench.finished_requests import CONTROL_PLANE, RUN_EVENTS, RUNS, copy_rows
from tests.bench.measuring import Requests
from tests.bench.stub import StubCalls
from tests.fixtures.stack import private_directory

PORTS_APART = 1000
"""Between two platforms that take turns."""
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class GrowthPlan:
    """How many requests are behind a platform, and how its blocks look."""

    sizes: tuple[int, ...]
    """The first is what the others are compared with."""
    runs_with_events: int
    """Copies of a run that have its events, too: more do not fit on a small disk."""
    blocks: int
    requests_per_block: int


FULL = GrowthPlan(
    sizes=(1_000, 100_000, 1_000_000), runs_with_events=20_000, blocks=8, requests_per_block=12
)
SHORT = GrowthPlan(sizes=(100, 2_000), runs_with_events=500, blocks=2, requests_per_block=3)


@dataclass(frozen=True)
class Grown:
    """A platform with finished requests behind it."""

    contender: WholePlatform
    calls: StubCalls

    def block(self, number: int) -> list[float]:
        """How long requests take, one at a time, in seconds from acceptance to the end."""
        taken = []
        for _ in range(number):
            one = Requests(self.contender, self.calls)
            one.submit(1)
            one.await_finished(PATIENCE_SECONDS, ask_every_seconds=0.02)
            taken.append(one.latencies().final_state.p50)
        return taken


def measure_growth(
    plan: GrowthPlan, port_offset: int, say: Callable[[str], None]
) -> Mapping[str, Any]:
    """The part `growth` of the results. One platform at a time runs beside the smallest."""
    found: dict[str, Any] = {"runs_with_events_at_most": plan.runs_with_events}
    smallest = plan.sizes[0]
    with (
        private_directory("idp-bench-growth-") as folder,
        grown(folder / "smallest", smallest, plan, port_offset, say) as base,
    ):
        for size in plan.sizes[1:]:
            with grown(folder / str(size), size, plan, port_offset + PORTS_APART, say) as large:
                say(f"{plan.blocks} blocks with {smallest:,} and {size:,} in turn …")
                blocks = in_turn({smallest: base, size: large}, plan)
            found[f"with_{size}"] = {
                f"seconds_with_{smallest}": asdict(spread(_all(blocks[smallest]))),
                "seconds": asdict(spread(_all(blocks[size]))),
                "ratio": asdict(ratio_of_medians(blocks[size], blocks[smallest])),
            }
    return found


def in_turn(platforms: Mapping[int, Grown], plan: GrowthPlan) -> dict[int, list[list[float]]]:
    """Blocks of each, by turns that begin with each as often."""
    found: dict[int, list[list[float]]] = defaultdict(list)
    for each in platforms.values():
        each.block(2)
    for number in range(plan.blocks):
        order = list(platforms)[:: 1 if number % 2 == 0 else -1]
        for size in order:
            found[size].append(platforms[size].block(plan.requests_per_block))
    return dict(found)


def _all(blocks: Sequence[Sequence[float]]) -> list[float]:
    return [each for block in blocks for each in block]


@contextmanager
def grown(
    folder: Path, size: int, plan: GrowthPlan, port_offset: int, say: Callable[[str], None]
) -> Iterator[Grown]:
    """A platform that has carried out one request and was given copies of it."""
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        calls = stack.enter_context(stub_worker(folder))
        changed: dict[str, str | int] = {WORKERS_URL_VARIABLE: calls.url, **UNLIMITED}
        platform = stack.enter_context(started_platform(folder, port_offset, changed))
        client = stack.enter_context(closing(PlatformClient(platform)))
        contender = WholePlatform(platform, client)
        turns = plan.blocks * plan.requests_per_block * len(plan.sizes) + 20
        contender.prepare(teams=1, applications=4, environments=turns // 4 + 1)
        carried_out = Requests(contender, calls)
        carried_out.submit(1)
        carried_out.await_finished(PATIENCE_SECONDS, ask_every_seconds=0.1)
        say(f"{size:,} finished requests …")
        began = time.monotonic()
        (request_id,) = carried_out.accepted
        fill(platform, request_id, size, plan.runs_with_events)
        say(f"… were copied in {time.monotonic() - began:.0f} s")
        yield Grown(contender, calls)


def fill(platform: StartedPlatform, request_id: str, size: int, with_events: int) -> None:
    """Copies the request, and its run in Dagster: with its events as far as they are wanted."""
    ((run_id,),) = platform.rows(
        "SELECT run_id FROM control_plane.request_attempts WHERE request_id = %s", request_id
    )
    with _connected(platform, PLATFORM_DATABASE) as connection:
        copy_rows(connection, CONTROL_PLANE, request_id, size)
    with _connected(platform, DAGSTER_DATABASE) as connection:
        complete = min(size, with_events)
        copy_rows(connection, RUNS, run_id, size - complete, request_id)
        copy_rows(connection, (*RUNS, *RUN_EVENTS), run_id, complete, request_id)


def _connected(platform: StartedPlatform, database: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(superuser_conninfo(platform.address, database), autocommit=True)
