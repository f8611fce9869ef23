"""What `idp up` and `idp demo` say while they start, watch and stop: one calm line each."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, cast

from rich.console import Console
from rich.markup import escape
from rich.status import Status

NAME_WIDTH = 28
_FULL = (errno.ENOSPC, errno.EDQUOT)


class _EnduringFile(io.TextIOBase):
    """A file that keeps what a full disk does not take, as far as its buffer goes."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with _full_disk_suppressed():
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with _full_disk_suppressed():
            self._file.flush()


@contextmanager
def _full_disk_suppressed() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise


def _enduring(console: Console) -> Console:
    file = cast("IO[str]", _EnduringFile(console.file))  # what a console asks of it
    return Console(file=file, width=console.width, emoji=False)


class Narrator:
    """Writes lines to a terminal, a pipe or a file; on a terminal it also shows what is awaited.

    A full disk ends nothing: what a file does not take comes with the next line that it takes.
    """

    def __init__(self, console: Console) -> None:
        self._console = console if console.is_terminal else _enduring(console)
        self._status: Status | None = None

    def step(self, name: str, seconds: float, remark: str = "") -> None:
        """Something was done."""
        self._line("[green]✓[/]", f"{name:<{NAME_WIDTH}}[dim]{seconds:6.1f} s[/]", remark)

    def note(self, name: str, remark: str) -> None:
        """Something happened that a person may want to know."""
        self._line("[yellow]•[/]", f"{name:<{NAME_WIDTH}}", remark)

    def trouble(self, sentence: str, log_lines: Iterable[str] = ()) -> None:
        """Something is wrong: one sentence, then the end of the log."""
        self.say(f"[red]✗[/] {escape(sentence)}")
        for line in log_lines:
            self.say(f"    [dim]{escape(line)}[/]")

    def say(self, markup: str = "") -> None:
        """A line of its own."""
        self._console.print(markup, soft_wrap=True, highlight=False)

    def awaiting(self, names: Iterable[str]) -> None:
        """Shows, on a terminal only, what is being waited for."""
        if not self._console.is_terminal:
            return
        text = f"[dim]waiting for {escape(', '.join(names))}[/]"
        if self._status is None:
            self._status = self._console.status(text)
            self._status.start()
        self._status.update(text)

    def awaiting_nothing(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _line(self, mark: str, text: str, remark: str) -> None:
        told = f"  {escape(remark)}" if remark else ""
        self.say(f"{mark} {text}{told}")
