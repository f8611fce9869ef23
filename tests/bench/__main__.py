"""`python -m tests.bench`: measures, prints a table and writes `.idp/bench/results.json`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from idp_cli.supervision.launch import interruptible
from tests.bench import api, growth, scaling, standing
from tests.bench.comparing import compare
from tests.bench.contender import Contender
from tests.bench.contenders.celery_alone import CELERY
from tests.bench.contenders.dagster import ENGINE, STOCK, STOCK_IN_PROCESS
from tests.bench.contenders.peers import DBOS, PREFECT, TEMPORAL
from tests.bench.contenders.platform import platform_contender
from tests.bench.machine import this_machine
from tests.bench.measuring import Plan
from tests.bench.page import keep
from tests.bench.processes import ROOT
from tests.bench.results import Document, comparison, kept_with, now, part
from tests.bench.table import comparison_table

RESULTS = ROOT / ".idp" / "bench" / "results.json"
KEEP = "keep"
WIDTH = 110
"""Columns that the table needs; a pipe would be given fewer."""

FULL = Plan(
    warm_up_requests=8,
    saturation_seconds=30.0,
    outstanding=24,
    idle_requests=20,
    half_load_seconds=20.0,
)
SHORT = Plan(
    warm_up_requests=4,
    saturation_seconds=8.0,
    outstanding=12,
    idle_requests=3,
    half_load_seconds=5.0,
)


def contenders(port_offset: int) -> list[Contender]:
    """All, in the order of the table."""
    return [
        STOCK,
        STOCK_IN_PROCESS,
        ENGINE,
        platform_contender(port_offset),
        TEMPORAL,
        DBOS,
        PREFECT,
        CELERY,
    ]


def main(arguments: list[str]) -> int:
    """Measures what is asked for; ends with 1 when something could not be measured."""
    told = _parser().parse_args(arguments)
    console = Console(width=max(WIDTH, Console().width))
    if told.part == KEEP:
        keep(RESULTS)
        return 0
    measured = [PARTS[told.part]] if told.part else [PARTS[each] for each in UNASKED]
    found: dict[str, Any] = {}
    failed = False
    for measure in measured:
        try:
            found = kept_with(told.out, measure(told, console))
        except Exception:  # noqa: BLE001 - it is told, and the other parts go on
            console.print_exception()
            failed = True
    for contender in found.get("contenders", ()):
        if contender["error"] is not None:
            console.print(f"[red]{escape(contender['title'])}[/]: {escape(contender['error'])}")
            failed = True
    console.print(f"Written to {told.out}")
    return 1 if failed else 0


def measure_comparison(told: argparse.Namespace, console: Console) -> Document:
    """All contenders, as a table too."""
    plan = SHORT if told.short else FULL
    chosen = [
        each for each in contenders(told.port_offset) if not told.only or each.key in told.only
    ]
    machine = this_machine()
    outcomes = list(compare(chosen, plan, console.print))
    document = comparison(outcomes, machine, plan, now())
    console.print(comparison_table(document["contenders"]))
    return document


def measure_api_part(told: argparse.Namespace, console: Console) -> Document:
    """The API alone."""
    plan = api.SHORT if told.short else api.FULL
    return _shown(part("api", api.measure_api(plan, console.print), now()), console)


def measure_standing_part(told: argparse.Namespace, console: Console) -> Document:
    """The platform as `idp up` starts it."""
    plan = standing.SHORT if told.short else standing.FULL
    found = standing.measure_standing(plan, told.port_offset, console.print)
    at = now()
    local = found["local_providers"]
    return _shown(
        {
            "first_step_p95_seconds": round(local["first_step_seconds"]["p95"], 3),
            "final_state_p95_seconds": round(local["final_state_seconds"]["p95"], 3),
            **part("start", found["start"], at),
            **part("local_providers", local, at),
        },
        console,
    )


def _shown(document: Document, console: Console) -> Document:
    console.print(document)
    return document


def measure_growth_part(told: argparse.Namespace, console: Console) -> Document:
    """The platform with finished requests behind it."""
    plan = growth.SHORT if told.short else growth.FULL
    found = growth.measure_growth(plan, told.port_offset, console.print)
    return _shown(part("growth", found, now()), console)


def measure_scaling_part(told: argparse.Namespace, console: Console) -> Document:
    """The platform with more workers, the API with replicas."""
    plan = scaling.SHORT if told.short else scaling.FULL
    found = scaling.measure_scaling(plan, told.port_offset, console.print)
    return _shown(part("scaling", found, now()), console)


PARTS: dict[str, Callable[[argparse.Namespace, Console], Document]] = {
    "compare": measure_comparison,
    "api": measure_api_part,
    "standing": measure_standing_part,
    "growth": measure_growth_part,
    "scaling": measure_scaling_part,
}
UNASKED = ("compare", "api", "standing")
"""What is measured when no part is named. Growth takes longer than all of them, and scaling needs
Debian's packages.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "part",
        nargs="?",
        choices=[*PARTS, KEEP],
        help=f"that alone; {KEEP}: write the results to docs/benchmarks.json and the page from it",
    )
    parser.add_argument("--short", action="store_true", help="a minute or two instead of fifteen")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these contenders alone")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results file")
    parser.add_argument(
        "--port-offset", type=int, default=int(os.environ.get("IDP_TEST_PORT_OFFSET", "0"))
    )
    return parser


if __name__ == "__main__":
    with interruptible():
        sys.exit(main(sys.argv[1:]))
