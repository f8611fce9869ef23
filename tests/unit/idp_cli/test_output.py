"""What is answered stands there as it was written."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
import yaml
from rich.console import Console

from idp_cli.exits import show_error
from idp_cli.output import Columns, Output, OutputFormat, new_console
from idp_kernel.errors import Conflict
from idp_kernel.wire.base import WireModel

WRITTEN = "in :key: and :white_check_mark: [red]we trust[/]"


class Note(WireModel):
    text: str


def test_no_word_becomes_a_picture() -> None:
    for output_format in (OutputFormat.TABLE, OutputFormat.JSON):
        file = io.StringIO()
        output = Output(new_console(file), output_format)
        note = Note(text=WRITTEN)
        output.item(note, (("text", note.text),))
        output.line(note)
        output.hint(":key:")
        show_error(Conflict(WRITTEN), output_format, output.console)
        assert file.getvalue().count(WRITTEN) == 3


DOCUMENTS: list[object] = [
    {"text": WRITTEN},
    {"text": "no", "at": "2026-03-02T09:30:00Z", "none": None, "number": "007", "yes": True},
    {"long": "word " * 100, "lines": "one\ntwo", "accent": "crème"},
    [{"a": 1}, {"a": 2}],
    [],
    {},
]


@pytest.mark.parametrize(
    ("output_format", "read"),
    [(OutputFormat.JSON, json.loads), (OutputFormat.YAML, yaml.safe_load)],
)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_is_read_as_it_was_made(
    document: object, output_format: OutputFormat, read: Callable[[str], object]
) -> None:
    file = io.StringIO()
    Output(new_console(file), output_format).document(document)
    assert read(file.getvalue()) == document


def test_a_stream_is_a_document_for_each() -> None:
    notes = [Note(text="one"), Note(text=WRITTEN)]
    file = io.StringIO()
    for note in notes:
        Output(new_console(file), OutputFormat.YAML).line(note)
    read = list(yaml.safe_load_all(file.getvalue()))
    assert read == [{"text": "one"}, {"text": WRITTEN}]


class Row(WireModel):
    id: str
    name: str
    note: str


COLUMNS = Columns[Row](
    {"ID": lambda row: row.id, "NAME": lambda row: row.name, "NOTE": lambda row: row.note},
    spare=("NAME",),
)
ROW = Row(id="0193-0000-0000", name="a name", note="a note")


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (1000, []),
        (30, []),
        (29, ["NAME"]),
        (22, ["NAME"]),
        (21, ["NAME", "NOTE"]),
        (3, ["NAME", "NOTE"]),
    ],
)
def test_what_has_no_room_is_left_out_and_nothing_is_broken_off(
    width: int, left_out: list[str]
) -> None:
    _table, found = COLUMNS.table([ROW], width=width)
    assert found == left_out


def test_a_narrow_terminal_is_told_what_it_does_not_see() -> None:
    file = io.StringIO()
    console = Console(file=file, width=25)
    Output(console, OutputFormat.TABLE).items([ROW], COLUMNS)
    said = file.getvalue()
    assert "0193-0000-0000  a note" in said
    assert "no room for NAME" in said


def test_a_long_value_stays_in_one_piece() -> None:
    file = io.StringIO()
    Output(Console(file=file, width=20), OutputFormat.TABLE).facts([("url", "http://" + "x" * 50)])
    assert "http://" + "x" * 50 in file.getvalue()
