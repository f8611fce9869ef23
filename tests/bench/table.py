"""The figures of a comparison in rows, for the terminal and the page alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

HEADINGS = (
    "",
    "runs a minute",
    "first step, alone: p50 / p95 / p99 s",
    "final state, alone: p50 / p95 / p99 s",
    "final state, half load: p50 / p95 / p99 s",
    "CPU s a run",
    "statements a run",
    "database KiB a run",
    "PSS MiB",
)
NOTHING = "none"
NOTE = "<!-- Made by `python -m tests.bench keep` from benchmarks.json; a change here is lost. -->"
"""The first line of each page that is made of figures."""


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """For a page."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


def comparison_rows(contenders: list[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A row for each contender, in their order; one without figures says so."""
    return [_row(each) for each in contenders]


def _row(contender: Mapping[str, Any]) -> tuple[str, ...]:
    found = contender["measured"]
    if found is None:
        return (contender["title"], "not measured", *[NOTHING] * (len(HEADINGS) - 2))
    half = found["half_load"]
    kibibytes = found["database_bytes_per_request"]
    return (
        contender["title"],
        number(found["runs_per_minute"]),
        spread_text(found["idle"]["first_step"]),
        spread_text(found["idle"]["final_state"]),
        NOTHING if half is None else spread_text(half["final_state"]),
        number(found["cpu_seconds_per_request"]),
        number(found["statements_per_request"]),
        NOTHING if kibibytes is None else number(kibibytes / 1024),
        number(found["pss_mebibytes"]),
    )


def spread_text(found: Mapping[str, float]) -> str:
    """Three figures in a cell."""
    return " / ".join(number(found[each]) for each in ("p50", "p95", "p99"))


def number(found: float | None) -> str:
    """With three digits that count."""
    if found is None:
        return NOTHING
    if abs(found) < 0.01 and found:
        return f"{found:.4f}"
    if abs(found) >= 100:
        return f"{found:,.0f}"
    return f"{found:.1f}" if abs(found) >= 10 else f"{found:.2f}"


TERMINAL_HEADINGS = (
    "",
    "runs/min",
    "first p50",
    "p95 s",
    "final p50",
    "p95 s",
    "half p95",
    "CPU s",
    "stmts",
    "KiB",
    "PSS MiB",
)


def comparison_table(contenders: list[Mapping[str, Any]]) -> Table:
    """For the terminal: what fits; the page has all of it."""
    table = Table(*TERMINAL_HEADINGS, title="The same six steps")
    for each in contenders:
        table.add_row(*_terminal_row(each))
    return table


def _terminal_row(contender: Mapping[str, Any]) -> tuple[str, ...]:
    _, rate, first, final, half, *costs = _row(contender)
    return (contender["key"], rate, *_ends(first), *_ends(final), _ends(half)[1], *costs)


def _ends(cell: str) -> tuple[str, str]:
    """The first two figures of a spread."""
    figures = cell.split(" / ")
    return (figures[0], figures[1]) if len(figures) > 1 else (cell, cell)
