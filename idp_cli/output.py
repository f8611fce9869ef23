"""Answers on the terminal: tables for people, JSON or YAML for programs."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, TextIO, TypeVar

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from idp_kernel.wire.base import WireModel

Item = TypeVar("Item", bound=WireModel)
COLUMN_GAP = 2
PIPE_WIDTH = 1000
"""In a pipe nothing is cut to a terminal's width."""

GOOD = frozenset({"Active", "Approved", "succeeded", "running", "RUNNING"})
BAD = frozenset({"failed", "timed_out", "cancelled", "FATAL", "BACKOFF", "Suspended", "EXITED"})


class OutputFormat(StrEnum):
    """What `--output` takes."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"

    def document_text(self, document: object) -> str:
        """The document for a program to read: YAML, or JSON where a table is for people."""
        if self == OutputFormat.YAML:
            text: str = yaml.safe_dump(
                document, sort_keys=False, allow_unicode=True, width=math.inf
            )
            return text.removesuffix("\n").removesuffix("\n...")
        return json.dumps(document, indent=2, ensure_ascii=False)


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

    Nothing is broken off to fit a terminal, for people copy it. Where the width is not enough,
    columns are left out: of `spare`, then from the end, the first that makes room enough; the
    first of all always stays.
    """

    def __init__(
        self,
        cells: Mapping[str, Callable[[Item], object]],
        *,
        spare: Sequence[str] = (),
    ) -> None:
        self._cells = cells
        self._spare = spare

    def table(self, items: Iterable[Item], *, width: int | None = None) -> tuple[Table, list[str]]:
        """The table for a terminal of that width, and the headers that it has no room for."""
        rows = [
            {header: cell(look(item)) for header, look in self._cells.items()} for item in items
        ]
        left_out = self._left_out(rows, width)
        headers = [header for header in self._cells if header not in left_out]
        table = plain_table(*headers)
        for row in rows:
            table.add_row(*(row[header] for header in headers))
        return table, left_out

    def _left_out(self, rows: Sequence[Mapping[str, Text]], width: int | None) -> list[str]:
        widths = {
            header: max([len(header), *(row[header].cell_len for row in rows)])
            for header in self._cells
        }
        others = [header for header in reversed(list(self._cells)) if header not in self._spare]
        may_go = [*self._spare, *others[:-1]]
        left_out: list[str] = []
        while width is not None and may_go and (excess := _line_width(widths.values()) - width) > 0:
            enough = (each for each in may_go if widths[each] + COLUMN_GAP >= excess)
            left_out.append(next(enough, may_go[0]))
            may_go.remove(left_out[-1])
            del widths[left_out[-1]]
        return [header for header in self._cells if header in left_out]


def _line_width(widths: Collection[int]) -> int:
    return sum(widths) + COLUMN_GAP * (len(widths) - 1)


def plain_table(*headers: str) -> Table:
    """A table without lines."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, COLUMN_GAP, 0, 0))
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


class Output:
    """Where answers go, in the format that was asked for."""

    def __init__(self, console: Console, output_format: OutputFormat) -> None:
        self.console = console
        self.format = output_format

    @property
    def is_for_programs(self) -> bool:
        """Whether stdout takes one document and nothing else."""
        return self.format != OutputFormat.TABLE

    def items(self, items: Sequence[Item], columns: Columns[Item]) -> None:
        """A list; a program gets an array."""
        if self.is_for_programs:
            self.document([item.model_dump(mode="json") for item in items])
        elif items:
            self.columns(items, columns)
        else:
            self.console.print("[dim]none[/]")

    def columns(self, items: Sequence[Item], columns: Columns[Item]) -> None:
        """A table for people, as wide as the terminal."""
        table, left_out = columns.table(items, width=self.console.width)
        self.table(table)
        if left_out:
            told = f"no room for {', '.join(left_out)}; --output json has all"
            self.console.print(f"[dim]{told}[/]", highlight=False)

    def item(self, item: Item, facts: Iterable[tuple[str, object]]) -> None:
        """One thing; a program gets it whole."""
        if self.is_for_programs:
            self.document(item.model_dump(mode="json"))
        else:
            self.facts(facts)

    def facts(self, facts: Iterable[tuple[str, object]]) -> None:
        """Name and value, one a line; a long value goes on at the terminal's edge in one piece."""
        listed = list(facts)
        width = max(len(name) for name, _value in listed) + COLUMN_GAP
        for name, value in listed:
            line = Text.assemble((f"{name:<{width}}", "dim"), cell(value))
            self.console.print(line, soft_wrap=True, highlight=False)

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
        """For what comes as a stream: JSON on one line, YAML as a document of its own."""
        if self.format == OutputFormat.YAML:
            text = self.format.document_text(item.model_dump(mode="json"))
            self._print(f"---\n{text}")
        else:
            self._print(item.model_dump_json())

    def hint(self, markup: str) -> None:
        """What to do next; for people only."""
        if not self.is_for_programs:
            self.console.print(markup, soft_wrap=True, highlight=False)

    def document(self, document: object) -> None:
        """Any document, untouched by the terminal's width."""
        self._print(self.format.document_text(document))

    def _print(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)


def standard_output(output_format: OutputFormat) -> Output:
    """Answers on stdout."""
    return Output(new_console(sys.stdout), output_format)
