"""What is said reaches its reader, also past a full disk."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from idp_cli.supervision.narration import Narrator
from tests.fixtures.full_disk import FULL


def test_each_line_is_said_once() -> None:
    output = io.StringIO()
    narrator = Narrator(Console(file=output, width=80))
    narrator.note("daemon", "[ended]")
    narrator.trouble("It is gone.", ["its last words"])
    assert output.getvalue().split() == [
        "•",
        "daemon",
        "[ended]",
        "✗",
        "It",
        "is",
        "gone.",
        "its",
        "last",
        "words",
    ]


def test_what_a_full_disk_does_not_take_comes_with_the_next_line(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with FULL.open("w", encoding="utf-8") as output, told.open("w") as roomy:
        narrator = Narrator(Console(file=output, width=80))
        narrator.note("daemon", "ended")
        narrator.note("worker", "ended")
        os.dup2(roomy.fileno(), output.fileno())
        narrator.step("daemon", 1.0, "is back")
    assert [line.split()[1] for line in told.read_text().splitlines()] == [
        "daemon",
        "worker",
        "daemon",
    ]


class Broken(io.StringIO):
    """A file on a disk that is not full, but out of order."""

    def write(self, _: str) -> int:
        raise OSError(errno.EIO, "Input/output error")


def test_another_trouble_with_the_file_is_told() -> None:
    with pytest.raises(OSError, match="Input/output"):
        Narrator(Console(file=Broken(), width=80)).note("daemon", "ended")
