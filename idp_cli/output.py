"""Answers on the terminal: tables for people, JSON for pipelines."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, TextIO, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from idp_kernel.wire.base import WireModel

Item = TypeVar("Item", bound=WireModel)
ROOMY_WIDTH = 120
"""From here on a table has room for two ids and what they need beside them."""
PIPE_WIDTH = 1000
"""In a pipe nothing is cut to a terminal's width."""

GOOD = frozenset({"Active", "Approved", "succeeded", "running", "RUNNING"})
BAD = frozenset({"failed", "timed_out", "cancelled", "FATAL", "BACKOFF", "Suspended", "EXITED"})


class OutputFormat(StrEnum):
    """What `--output` takes."""

    TABLE = "table"
    JSON = "json"


def program_word() -> str:
    """How this program is typed in this shell: `idp` where it is on PATH, else its path."""
    if shutil.which("idp") is not None:
        return "idp"
    return os.path.relpath(sys.argv[0])


def new_console(file: TextIO) -> Console:
    """A console for `file`, at its terminal's width or unlimited in a pipe.

    What others wrote is shown as they wrote it: `:key:` stays and becomes no picture.
    """
    width = None if file.isatty() else PIPE_WIDTH
    return Console(file=file, width=width, emoji=False)


class Columns(Generic[Item]):
    """The columns of a table: header to what stands there of an item.

    What people copy stays in one piece: the first column always, and `whole`, by their headers,
    where there is room for the others beside them.
    """

    def __init__(
        self,
        cells: Mapping[str, Callable[[Item], object]],
        *,
        whole: Collection[str] = (),
    ) -> None:
        self._cells = cells
        self._whole = whole

    def table(self, items: Iterable[Item], *, width: int = 0) -> Table:
        """For a terminal of that width; of one that is not told no more is expected than 80."""
        table = plain_table(*self._cells)
        for number, column in enumerate(table.columns):
            has_room = width >= ROOMY_WIDTH and column.header in self._whole
            column.no_wrap = number == 0 or has_room
        for item in items:
            table.add_row(*(cell(look(item)) for look in self._cells.values()))
        return table


def plain_table(*headers: str) -> Table:
    """A table without lines."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def cell(value: object) -> Text:
    """A value as it stands in a table; states have their colour, text is never markup."""
    if value is None or value == "":
        return Text("-", style="dim")
    if isinstance(value, datetime):
        return Text(f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    text = str(value)
    style = "green" if text in GOOD else "red" if text in BAD else ""
    return Text(text, style=style)


def facts_table(facts: Iterable[tuple[str, object]]) -> Table:
    """Name and value, one a line."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, cell(value))
    return table


class Output:
    """Where answers go, in the format that was asked for."""

    def __init__(self, console: Console, output_format: OutputFormat) -> None:
        self.console = console
        self.format = output_format

    @property
    def is_json(self) -> bool:
        return self.format == OutputFormat.JSON

    def items(self, items: Sequence[Item], columns: Columns[Item]) -> None:
        """A list; JSON gives an array."""
        if self.is_json:
            self.document([item.model_dump(mode="json") for item in items])
        elif items:
            self.table(columns.table(items, width=self.console.width))
        else:
            self.console.print("[dim]none[/]")

    def item(self, item: Item, facts: Iterable[tuple[str, object]]) -> None:
        """One thing; JSON gives it whole."""
        if self.is_json:
            self.document(item.model_dump(mode="json"))
        else:
            self.table(facts_table(facts))

    def table(self, table: Table) -> None:
        """A table; in a pipe without the blanks that only fill its last column."""
        if self.console.is_terminal:
            self.console.print(table)
            return
        with self.console.capture() as captured:
            self.console.print(table)
        for line in captured.get().splitlines():
            self.console.out(line.rstrip(), highlight=False)

    def line(self, item: WireModel) -> None:
        """JSON on one line, for what comes as a stream."""
        self.console.print(item.model_dump_json(), soft_wrap=True, highlight=False, markup=False)

    def hint(self, markup: str) -> None:
        """What to do next; for people only."""
        if not self.is_json:
            self.console.print(markup, soft_wrap=True, highlight=False)

    def document(self, document: object) -> None:
        """Any JSON document, untouched by the terminal's width."""
        text = json.dumps(document, indent=2, ensure_ascii=False)
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)


def standard_output(output_format: OutputFormat) -> Output:
    """Answers on stdout."""
    return Output(new_console(sys.stdout), output_format)
