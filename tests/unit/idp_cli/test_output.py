"""What is answered stands there as it was written."""

from __future__ import annotations

import io
import json

from idp_cli.exits import show_error
from idp_cli.output import Output, OutputFormat, new_console
from idp_kernel.errors import Conflict
from idp_kernel.wire.base import WireModel

WRITTEN = "in :key: and :white_check_mark: [red]we trust[/]"


class Note(WireModel):
    text: str


def test_no_word_becomes_a_picture() -> None:
    for output_format in OutputFormat:
        file = io.StringIO()
        output = Output(new_console(file), output_format)
        note = Note(text=WRITTEN)
        output.item(note, (("text", note.text),))
        output.line(note)
        output.hint(":key:")
        show_error(Conflict(WRITTEN), output_format, output.console)
        assert file.getvalue().count(WRITTEN) == 3


def test_a_document_is_read_as_it_was_made() -> None:
    file = io.StringIO()
    Output(new_console(file), OutputFormat.JSON).document({"text": WRITTEN})
    assert json.loads(file.getvalue()) == {"text": WRITTEN}
