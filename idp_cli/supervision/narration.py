"""What `idp up` and `idp demo` say while they start, watch and stop: one calm line each."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.status import Status

NAME_WIDTH = 28


class Narrator:
    """Writes lines to a terminal or a pipe; on a terminal it also shows what is awaited."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None

    def step(self, name: str, seconds: float, remark: str = "") -> None:
        """Something was done."""
        self._line("[green]✓[/]", f"{name:<{NAME_WIDTH}}[dim]{seconds:6.1f} s[/]", remark)

    def note(self, name: str, remark: str) -> None:
        """Something happened that a person may want to know."""
        self._line("[yellow]•[/]", f"{name:<{NAME_WIDTH}}", remark)

    def trouble(self, sentence: str, log_lines: Iterable[str] = ()) -> None:
        """Something is wrong: one sentence, then the end of the log."""
        self._console.print(f"[red]✗[/] {escape(sentence)}", soft_wrap=True, highlight=False)
        for line in log_lines:
            self._console.print(f"    [dim]{escape(line)}[/]", soft_wrap=True, highlight=False)

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
        self._console.print(f"{mark} {text}{told}", soft_wrap=True, highlight=False)
