"""What one sees while the harness is at work, and the table at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.chaos.cells import ELSEWHERE
from tests.chaos.results import Finding, Kind, Results

_WRONG_SHOWN = 20


class Show:
    """Says what happens, line by line and, on a terminal, with a bar below."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._progress: Progress | None = None

    def chapter(self, title: str) -> None:
        self._console.rule(f"[bold]{title}", align="left")

    def line(self, text: str) -> None:
        self._console.print(text)

    def findings(self, found: list[Finding]) -> None:
        for each in found:
            self._console.print(f"  [red]{each.kind}[/red] {each.what}")

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Bar]:
        """Advances with each unit of work that is through."""
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn("{task.fields[now]}"),
        )  # fmt: skip
        shown = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        with shown:
            yield Bar(shown, what, total)

    def table(self, results: Results) -> None:
        """All that was counted; what is wrong is red."""
        table = Table(title="Chaos", show_header=False, title_justify="left")
        table.add_row("cells hit", f"{results.cells} of {results.planned_cells}")
        for reason, places in _elsewhere().items():
            table.add_row("never passed here", f"{', '.join(places)}: {reason}")
        table.add_row("trials", str(results.trials))
        table.add_row("faults", "\n".join(results.faults) or "-")
        for fault, why in results.not_possible.items():
            table.add_row("not possible here", f"{fault}: {why}")
        table.add_row("requests", str(results.requests))
        kills = ", ".join(f"{name} {times}" for name, times in sorted(results.kills.items()))
        table.add_row("kills", kills or "-")
        for kind in Kind:
            number = results.count(kind)
            table.add_row(kind.value, f"[{'red' if number else 'green'}]{number}")
        shown = results.document()
        for name in (
            "recovery_p50_seconds", "recovery_p99_seconds",
            "ended_p50_seconds", "ended_p99_seconds",
        ):  # fmt: skip
            table.add_row(name, str(shown[name] if shown[name] is not None else "-"))
        table.add_row("took", f"{results.seconds / 60:.1f} minutes")
        self._console.print(table)
        for name, why in list(results.missed.items())[:_WRONG_SHOWN]:
            self._console.print(f"[red]not hit[/red] {name}: {why}")
        self.findings(results.findings[:_WRONG_SHOWN])


def _elsewhere() -> dict[str, list[str]]:
    """The failpoints that are in no cell, by the reason."""
    found: dict[str, list[str]] = {}
    for place, why in ELSEWHERE.items():
        found.setdefault(why, []).append(place)
    return found


class Bar:
    """A bar at work."""

    def __init__(self, shown: Progress, what: str, total: int) -> None:
        self._shown = shown
        self._task = shown.add_task(what, total=total, now="")

    def advance(self, number: int, now: str) -> None:
        self._shown.update(self._task, advance=number, now=now)
