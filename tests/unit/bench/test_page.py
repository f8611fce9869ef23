"""Results file, terminal table, page and plot say the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from idp_cli.supervision.embedded import Embedded
from idp_cli.supervision.home import Home
from idp_kernel.services import DefaultPorts
from tests.bench.__main__ import contenders
from tests.bench.comparing import Outcome, compare
from tests.bench.contender import Contender
from tests.bench.figures import Spread
from tests.bench.machine import Machine
from tests.bench.measuring import Latencies, Measured, Plan
from tests.bench.page import DOCS, KEPT, benchmarks_page, benchmarks_plot, made_files
from tests.bench.results import Document, comparison, kept_with, part
from tests.bench.scaling_page import PARTS, scaling_page
from tests.bench.table import comparison_table, number

AT = datetime(2026, 1, 2, tzinfo=UTC)
MACHINE = Machine(2, 24.0, "A processor", "3.11.7", 0.1, 0.5)
PLAN = Plan(1, 1.0, 1, 1, 1.0)
LATENCIES = Latencies(Spread(0.1, 0.2, 0.3), Spread(0.4, 0.5, 0.6), 20)


def measured(rate: float) -> Measured:
    return Measured(
        runs_per_minute=rate,
        requests=100,
        idle=LATENCIES,
        half_load=None,
        cpu_seconds_per_request=0.25,
        statements_per_request=None,
        database_bytes_per_request=2048.0,
        pss_mebibytes=512.5,
    )


def outcomes() -> list[Outcome]:
    rates = {"stock": 1.5, "stock_in_process": 11.0, "engine": 250.0, "temporal": 343.0}
    told = [
        Outcome(
            each, measured(rates[each.key]) if each.key in rates else None, "Error: was away\n…"
        )
        for each in contenders(0)
    ]
    return [
        each if each.measured is None else Outcome(each.contender, each.measured) for each in told
    ]


@pytest.fixture(scope="module")
def document() -> Document:
    found = comparison(outcomes(), MACHINE, PLAN, AT)
    queries = {"one_request": {"seconds": {"p50": 0.001, "p95": 0.002, "p99": 0.003}}}
    api = part("api", {"queries": queries, "finished_requests": 100_000}, AT)
    read: Document = json.loads(json.dumps({**found, **api}))
    return read


def test_rates_stand_at_the_top_under_the_names_that_are_looked_for(document: Document) -> None:
    assert document["engine_runs_per_minute"] == 250.0
    assert document["stock_runs_per_minute"] == 1.5
    assert document["stock_in_process_runs_per_minute"] == 11.0
    assert document["temporal_runs_per_minute"] == 343.0
    assert "prefect_runs_per_minute" not in document


def test_every_contender_has_a_name_of_its_own_and_says_its_versions() -> None:
    known = contenders(0)
    assert len({each.key for each in known}) == len(known) == 8
    assert all(each.versions and each.settings for each in known)


def test_the_page_has_a_row_for_each_contender(document: Document) -> None:
    page = benchmarks_page(document)
    for each in contenders(0):
        assert f"| {each.title} |" in page
    assert (
        "| This platform's engine | 250 | 0.10 / 0.20 / 0.30 | 0.40 / 0.50 / 0.60 | none |" in page
    )
    assert "2.00" in page, "KiB of the database"


def test_the_page_says_what_could_not_be_measured_and_why(document: Document) -> None:
    assert "- Prefect 3: Error: was away\n" in benchmarks_page(document)


def test_the_page_says_which_ratios_are_reached(document: Document) -> None:
    page = benchmarks_page(document)
    assert "| engine / stock in-process | 22.7 | ≥ 20 | yes |" in page
    assert "| engine / stock | 167 | ≥ 100 | yes |" in page
    assert "| engine / Temporal | 0.73 | ≥ 1 | no |" in page


def test_the_page_has_the_other_parts_that_were_measured(document: Document) -> None:
    page = benchmarks_page(document)
    assert "## The API" in page
    assert "| queries: one request: seconds: p50 / p95 / p99 | 0.0010 / 0.0020 / 0.0030 |" in page
    assert "## Starting and resting" not in page


def test_the_scaling_page_computes_what_a_million_requests_a_day_need(document: Document) -> None:
    costs = {
        "daemon": 0.05,
        "code-server": 0.02,
        "worker": 0.4,
        "postgres": 0.1,
        "local-forge": 9.0,
    }
    seconds = {"p50": 0.001, "p95": 0.002, "p99": 0.003}
    at_full_speed = {"per_second": 300.0, "seconds": seconds, "cpu_seconds_per_call": 0.001}
    scaling = {
        "answer_seconds": 0.5,
        "slots_of_a_worker": 4,
        "connections": 32,
        "workers": {
            "postgresql_1": {"runs_per_minute": 80.0, "cpu_seconds_per_request": {"daemon": 1.0}},
            "redis_4": {"runs_per_minute": 160.0, "cpu_seconds_per_request": costs},
        },
        "replicas": {"2": {"behind_the_proxy": {"commands": at_full_speed}}},
    }
    told = next(each for each in document["contenders"] if each["key"] == "stock")
    platform = {**told, "key": "platform"}
    page = scaling_page({**document, "contenders": [platform], **part("scaling", scaling, AT)})
    assert "| `worker` | 0.40 | 4.63 | 13.9 | several |" in page
    assert "| `daemon` | 0.05 | 0.58 | 1.74 | 20.0 |" in page
    assert "`daemon` gives first: one core carries 20.0 requests a second, 1.73 million" in page
    assert "local-forge" not in page, "no production platform has one"
    assert "by 2.00 KiB a request: 1.91 GiB a day" in page
    assert "| 4 | Redis | 160 |" in page
    assert "| 2 | behind the proxy | commands | 300 | 0.0010 / 0.0020 / 0.0030 |" in page


def test_the_scaling_page_knows_the_programs(tmp_path: Path) -> None:
    programs = {each.name for each in Embedded(Home.at(tmp_path), DefaultPorts()).programs()}
    assert set(PARTS) <= programs


def test_the_plot_is_drawn_of_what_was_measured(document: Document) -> None:
    drawn = ET.fromstring(benchmarks_plot(document))  # noqa: S314 - our own text
    texts = ["".join(each.itertext()) for each in drawn.iter() if each.tag.endswith("text")]
    assert "This platform's engine" in texts
    assert "Prefect 3" not in texts
    lengths = [float(each.get("width", 0)) for each in drawn.iter() if each.get("height") == "24"]
    assert len(lengths) == 4
    assert lengths == sorted(lengths)


def test_the_terminal_shows_every_contender(document: Document) -> None:
    console = Console(width=250, record=True, file=StringIO())
    console.print(comparison_table(document["contenders"]))
    text = console.export_text()
    assert all(f" {each.key} " in text for each in contenders(0))


def test_parts_that_were_measured_earlier_stay(tmp_path: Path) -> None:
    file = tmp_path / "bench" / "results.json"
    kept_with(file, {"engine_runs_per_minute": 1.0, "api": {"a": 1}})
    assert kept_with(file, {"api": {"a": 2}}) == {"engine_runs_per_minute": 1.0, "api": {"a": 2}}
    assert json.loads(file.read_text())["api"] == {"a": 2}


def test_a_contender_that_fails_keeps_none_of_the_others_from_their_figures() -> None:
    def start(folder: Path, stub_url: str) -> None:
        (folder / "server.log").write_text("no room\n")
        raise RuntimeError("would not start")

    broken = Contender("broken", "Broken", {"broken": "1"}, {"a": "b"}, start)  # type: ignore[arg-type]
    told = list(compare([broken, broken], PLAN, lambda _: None))
    assert [each.measured for each in told] == [None, None]
    assert all("RuntimeError: would not start" in str(each.error) for each in told)
    assert all("server.log: no room" in str(each.error) for each in told)


@pytest.mark.parametrize(
    ("found", "text"), [(None, "none"), (12345.6, "12,346"), (12.34, "12.3"), (0.123456, "0.12")]
)
def test_numbers_have_the_digits_that_count(found: float | None, text: str) -> None:
    assert number(found) == text


def test_the_kept_page_and_plot_are_made_of_the_kept_results() -> None:
    """Neither can say what no run found."""
    if not KEPT.exists():
        assert not any(
            (DOCS / name).exists() for name in ("benchmarks.md", "images/benchmarks.svg")
        )
        return
    for name, content in made_files(json.loads(KEPT.read_text())).items():
        assert (DOCS / name).read_text(encoding="utf-8") == content
