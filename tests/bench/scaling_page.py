"""`docs/scaling.md`, made from a results file alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench.scaling import Broker
from tests.bench.table import NOTE, markdown_table, number, spread_text

REQUESTS_A_DAY = 1_000_000
SECONDS_A_DAY = 24 * 60 * 60
PEAK = 3
"""How many times the mean the busiest hour is taken to be."""
GIBIBYTE = 1024**3
POSTGRES = "postgres"
MEANING = {Broker.POSTGRESQL: "PostgreSQL", Broker.REDIS: "Redis"}

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """What may be done about a program that has no room left."""

    may_be_several: bool
    then: str


PARTS: Mapping[str, Part] = {
    "control-plane-api": Part(True, "more of them behind a proxy; one at a time sweeps"),
    "execution-workers": Part(True, "more of them behind a proxy; what they know is in the ledger"),
    "worker": Part(
        True,
        "more of them, on any machine; the daemon's `IDP_ENGINE_WORKER_SLOTS` is the sum of theirs",
    ),
    "daemon": Part(False, "a quicker core; then a platform of its own for part of the teams"),
    "code-server": Part(False, "a machine beside the daemon's; then as for the daemon"),
    "exporter": Part(False, "fewer scrapes: it works only when it is scraped"),
    "webserver": Part(True, "more of them behind a proxy; it works only for those who look"),
    POSTGRES: Part(
        False,
        "a larger server; before that one each for the control plane, the ledger and Dagster, whose"
        " databases share nothing",
    ),
}
"""By the supervisor's names. The others are of the embedded default: what stands in their place in
production is a provider's."""

OPENING = f"""\
What follows is computed from the figures of one run of `make bench PART=scaling` on the machine of
[Benchmarks](benchmarks.md), where everything shares the cores, PostgreSQL and what asks for the
work included. A million requests a day are {REQUESTS_A_DAY / SECONDS_A_DAY:.1f} a second; the
busiest hour is taken to have {PEAK} times as many."""
WORKERS = """\
The whole platform at saturation, each call of a provider taking {answer_seconds} s, each worker
with {slots_of_a_worker} slots. A run waits for providers most of its time, so more slots bring
more, until the machine has no more to give."""
REPLICAS = """\
{connections} connections, each making its next call when the last is answered; nginx as the proxy.
What calls, the proxy, the database and the replicas share the same cores."""


def scaling_page(document: Document) -> str:
    """The whole page; the results have the part `scaling`."""
    found = document["scaling"]
    lanes = found["workers"]
    busiest = max(lanes.values(), key=lambda each: float(each["runs_per_minute"]))
    costs = {
        name: cost for name, cost in busiest["cpu_seconds_per_request"].items() if name in PARTS
    }
    return (
        "\n\n".join(
            (
                f"{NOTE}\n\n# Scaling out",
                OPENING,
                "## What a million requests a day need",
                _needs(costs),
                _first(costs),
                _disk(document),
                "## More workers",
                WORKERS.format(**found),
                markdown_table(("workers", "broker", "requests a minute"), _worker_rows(lanes)),
                "## Replicas of the API",
                REPLICAS.format(connections=found["connections"]),
                markdown_table(
                    ("replicas", "called", "what", "a second", "p50 / p95 / p99 s"),
                    _replica_rows(found["replicas"]),
                ),
            )
        )
        + "\n"
    )


def _needs(costs: Mapping[str, float]) -> str:
    mean = REQUESTS_A_DAY / SECONDS_A_DAY
    rows = (
        (
            f"`{name}`",
            number(cost),
            number(cost * mean),
            number(cost * mean * PEAK),
            _at_most(name, cost),
            PARTS[name].then,
        )
        for name, cost in sorted(costs.items(), key=lambda each: -each[1])
        if cost > 0
    )
    headings = (
        "program", "CPU s a request", "cores, mean", "cores, busiest hour",
        "at most a second in one process", "when that is not enough",
    )  # fmt: skip
    return markdown_table(headings, rows)


def _at_most(name: str, cost: float) -> str:
    """In one process; PostgreSQL has one for each connection and takes all cores it gets."""
    if PARTS[name].may_be_several:
        return "several"
    return "many" if name == POSTGRES else number(1 / cost)


def _first(costs: Mapping[str, float]) -> str:
    single = {
        name: cost
        for name, cost in costs.items()
        if not PARTS[name].may_be_several and name != POSTGRES
    }
    name, cost = max(single.items(), key=lambda each: each[1])
    a_day = SECONDS_A_DAY / cost / 1e6
    return (
        f"Of the programs of which there is one, `{name}` gives first: one core carries"
        f" {number(1 / cost)} requests a second, {number(a_day)} million a day,"
        f" {number(a_day / PEAK)} million where the busiest hour has {PEAK} times the mean."
        f" Then: {PARTS[name].then}."
    )


def _disk(document: Document) -> str:
    measured = next(
        each["measured"] for each in document["contenders"] if each["key"] == "platform"
    )
    grown = measured["database_bytes_per_request"] * REQUESTS_A_DAY / GIBIBYTE
    return (
        f"The databases grow by {number(measured['database_bytes_per_request'] / 1024)} KiB a"
        f" request: {number(grown)} GiB a day until retention takes as much away"
        " ([Settings](settings/workflow-engine.md): `IDP_ENGINE_KEEP_RUNS_DAYS`)."
    )


def _worker_rows(lanes: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    for key, lane in lanes.items():
        broker, _, workers = key.rpartition("_")
        yield workers, MEANING[Broker(broker)], number(lane["runs_per_minute"])


def _replica_rows(found: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    for replicas, ways in found.items():
        for way, kinds in ways.items():
            for kind, each in kinds.items():
                yield (
                    replicas,
                    way.replace("_", " "),
                    kind,
                    number(each["per_second"]),
                    spread_text(each["seconds"]),
                )
