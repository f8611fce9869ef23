"""`docs/benchmarks.md`, its plot and `docs/scaling.md`, made from a results file alone."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from tests.bench.scaling_page import scaling_page
from tests.bench.table import (
    HEADINGS,
    NOTE,
    comparison_rows,
    markdown_table,
    number,
    spread_text,
)

DOCS = Path(__file__).parents[2] / "docs"
KEPT = DOCS / "benchmarks.json"
PAGE = "benchmarks.md"
SCALING_PAGE = "scaling.md"
PLOT = "images/benchmarks.svg"
"""Below `docs/`."""
PLOTTED = "Runs a minute at saturation"

WIDTH, ROW, LABELS, RIGHT = 760, 34, 290, 80
OURS = {"engine", "platform"}
TARGETS: tuple[tuple[str, str, str, float], ...] = (
    ("engine / stock in-process", "engine", "stock_in_process", 20.0),
    ("engine / stock", "engine", "stock", 100.0),
    ("engine / Temporal", "engine", "temporal", 1.0),
)
"""What, above, below, and the least their ratio shall be."""

Document = Mapping[str, Any]


INTRODUCTION = """\
Figures of one run of `make bench` on one machine, nothing else at work on it. The ratios hold
elsewhere; the absolutes are this machine's."""
SAME_STEPS = """\
Every contender carries out the same workflow: six steps in a row, each one HTTP call of the same
stub, which answers at once. Of the whole platform the sixth step is the call that finalizes the
request at the control plane. “Alone” is one request at a time; “half load” is half of what the
contender does at saturation, in even distances. Times begin when the request is accepted."""


def keep(results: Path) -> None:
    """Makes a results file the one that the page shows."""
    shutil.copyfile(results, KEPT)
    for name, content in made_files(json.loads(KEPT.read_text())).items():
        (DOCS / name).write_text(content, encoding="utf-8")


def made_files(document: Document) -> dict[str, str]:
    """What is made of a results file, below `docs/`."""
    made = {PAGE: benchmarks_page(document), PLOT: benchmarks_plot(document)}
    return {**made, SCALING_PAGE: scaling_page(document)} if "scaling" in document else made


def benchmarks_page(document: Document) -> str:
    """The whole page."""
    return (
        "\n\n".join(
            part
            for part in (
                f"{NOTE}\n\n# Benchmarks",
                INTRODUCTION,
                _machine(document),
                "## The same six steps",
                SAME_STEPS,
                f"![{PLOTTED}]({PLOT})",
                markdown_table(HEADINGS, comparison_rows(document["contenders"])),
                _ratios(document),
                _not_measured(document),
                "### What each was given",
                _settings(document),
                *(_part(document, *each) for each in PARTS),
            )
            if part
        )
        + "\n"
    )


def _machine(document: Document) -> str:
    machine = document["machine"]
    calibration = (
        "writing, reading and hashing 20,000 small JSON documents takes one core"
        f" {machine['calibration_seconds']} s (`tests/bench/machine.py`)"
    )
    return (
        f"{machine['processors']} cores of {machine['processor']}, {machine['memory_gibibytes']}"
        f" GiB, Python {machine['python']}, load average {machine['load_before']} before the run,"
        f" {document['compared_at']}. Calibration: {calibration}."
    )


def _ratios(document: Document) -> str:
    rows = [
        (what, number(above / below), f"≥ {wanted:g}", "yes" if above / below >= wanted else "no")
        for what, key, other, wanted in TARGETS
        if (above := document.get(f"{key}_runs_per_minute"))
        and (below := document.get(f"{other}_runs_per_minute"))
    ]
    return markdown_table(("ratio", "found", "wanted", "reached"), rows) if rows else ""


def _not_measured(document: Document) -> str:
    lines = [
        f"- {each['title']}: {each['error'].splitlines()[0]}"
        for each in document["contenders"]
        if each["measured"] is None
    ]
    return "\n".join(["Not measured:", "", *lines]) if lines else ""


def _settings(document: Document) -> str:
    rows = [
        (
            each["title"],
            ", ".join(f"{name} {version}" for name, version in each["versions"].items()),
            "; ".join(f"{name}: {value}" for name, value in each["settings"].items()),
        )
        for each in document["contenders"]
    ]
    return markdown_table(("", "versions", "settings"), rows)


PARTS = (
    (
        "local_providers",
        "A provisioning on the local providers",
        """\
One at a time, all of the platform at work: a real repository, real protection, a secret, its
binding, and the GitOps agent's settle window of 1 s.""",
    ),
    (
        "api",
        "The API",
        "One process of the control plane beside its PostgreSQL and what calls it.",
    ),
    ("start", "Starting and resting", "`idp up` in a new folder, then a while without work."),
    (
        "growth",
        "With many finished requests behind it",
        """\
One provisioning at a time, in blocks that take turns with those of the smallest platform; ratios
are of medians, with the interval that holds them with 95 % confidence.""",
    ),
)
"""Of the results file, beside the contenders: key, heading, what it is."""


def _part(document: Document, key: str, heading: str, what: str) -> str:
    found = document.get(key)
    if found is None:
        return ""
    return "\n\n".join((f"## {heading}", what, markdown_table(("", ""), list(_figures(found)))))


def _figures(found: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, str]]:
    for name, value in found.items():
        called = f"{before}{name.replace('_', ' ')}"
        if isinstance(value, Mapping) and set(value) == {"p50", "p95", "p99"}:
            yield f"{called}: p50 / p95 / p99", spread_text(value)
        elif isinstance(value, Mapping):
            yield from _figures(value, f"{called}: ")
        elif isinstance(value, float):
            yield called, number(value)
        else:
            yield called, str(value)


def benchmarks_plot(document: Document) -> str:
    """Bars of runs a minute at saturation, on a logarithmic scale, as SVG."""
    bars = [
        (each["title"], each["measured"]["runs_per_minute"], each["key"] in OURS)
        for each in document["contenders"]
        if each["measured"] is not None
    ]
    largest = max(rate for _, rate, _ in bars)
    height = ROW * len(bars) + 40
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="sans-serif" font-size="13">'
    )
    heading = f'<text x="{LABELS}" y="20" fill="#444444">{PLOTTED} (logarithmic)</text>'
    background = f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    drawn = (_bar(position, *bar, largest) for position, bar in enumerate(bars))
    return "\n".join((opening, background, heading, *drawn, "</svg>\n"))


def _bar(position: int, title: str, rate: float, ours: bool, largest: float) -> str:  # noqa: FBT001 - a field of a bar
    y = 32 + position * ROW
    length = (WIDTH - LABELS - RIGHT) * math.log10(1 + rate) / math.log10(1 + largest)
    color = "#2563a8" if ours else "#9aa5b1"
    return (
        f'<text x="{LABELS - 8}" y="{y + 17}" text-anchor="end" fill="#222222">{escape(title)}'
        f'</text><rect x="{LABELS}" y="{y}" width="{length:.1f}" height="24" fill="{color}"/>'
        f'<text x="{LABELS + length + 6:.1f}" y="{y + 17}" fill="#222222">{number(rate)}</text>'
    )
