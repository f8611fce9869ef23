"""The end of a program's log, for the terminal."""

from __future__ import annotations

from pathlib import Path

TAIL_LINES = 15
_TAIL_BYTES = 64 * 1024
_LONGEST_LINE = 400


def tail(path: Path, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a log, each cut to a readable length; none when there is no log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return [_shortened(line) for line in text.splitlines() if line.strip()][-lines:]


def _shortened(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} …"
