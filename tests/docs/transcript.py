"""What a page shows of a shell, and whether that is what the shell says.

`sh` blocks are commands. `console` blocks are commands, each after `$ ` (further lines of it after
`> `), and below each what it prints. That is compared, blanks and empty lines aside, with these
taken for any others of their kind: ids, commits, moments and durations. An id that stands on a
page again means the same thing again, also in a command. `…` stands for any part of a line, and
alone on a line for any lines. A command ends well, unless the next one is `echo $?`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from idp_kernel.services import DEFAULT_PORTS
from tests.docs.pages import Block

_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_COMMIT = r"\b[0-9a-f]{40}\b"
_MOMENT = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?Z?"
_DURATION = r"\b\d+(?:\.\d+)? (?:ms|s|min|h)\b"
_TOKENS = re.compile(
    rf"(?P<name>{_ID}|{_COMMIT})|(?P<moment>{_MOMENT})|(?P<duration>{_DURATION})"
    r"|(?P<gap>…)|(?P<blank>[ \t]+)"
)
_PATTERNS = {"moment": _MOMENT, "duration": _DURATION, "gap": ".*", "blank": r"[ \t]+"}
_LOCAL_PORT = re.compile(r"(?<=127\.0\.0\.1:)(\d+)")
_DEFAULT_PORTS = {str(port) for port in vars(DEFAULT_PORTS).values()}
ECHO_STATUS = "echo $?"


@dataclass(frozen=True)
class Command:
    """A command of a page."""

    place: str
    text: str
    expected: str | None
    """What the page shows of its output; nothing is compared without."""
    must_succeed: bool = True


def commands(block: Block) -> list[Command]:
    """The block's commands in order."""
    found = list(_console(block) if block.language == "console" else _script(block))
    return [
        replace(each, must_succeed=following is None or following.text != ECHO_STATUS)
        for each, following in zip(found, [*found[1:], None], strict=True)
    ]


def _script(block: Block) -> Iterator[Command]:
    """One command a line; a line goes on after a backslash, and a here-document to its end."""
    lines = iter(block.text.splitlines())
    for line in lines:
        whole = line
        while whole.endswith("\\"):
            whole += f"\n{next(lines)}"
        if heredoc := re.search(r"<<'?(\w+)'?$", line):
            for more in lines:
                whole += f"\n{more}"
                if more == heredoc[1]:
                    break
        if whole.strip() and not whole.startswith("#"):
            yield Command(block.place, whole, None)


def _console(block: Block) -> Iterator[Command]:
    text, output = "", list[str]()
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if text:
                yield Command(block.place, text, "\n".join(output))
            text, output = line.removeprefix("$ "), []
        elif line.startswith("> "):
            text += f"\n{line.removeprefix('> ')}"
        else:
            output.append(line)
    yield Command(block.place, text, "\n".join(output))


@dataclass
class Meanings:
    """What the ids and ports on a page are in this run."""

    port_offset: int
    known: dict[str, str] = field(default_factory=dict)
    """An id or commit of the page to the one of this run."""

    def in_this_run(self, text: str) -> str:
        """The text with the ids and ports of this run."""
        for written, real in self.known.items():
            text = text.replace(written, real)
        return _LOCAL_PORT.sub(self._port, text)

    def learn(self, expected: str, printed: str) -> bool:
        """Whether `printed` is what the page shows; learns the ids on the way."""
        pattern, groups = self._pattern(expected)
        found = re.fullmatch(pattern, _tidied(printed))
        if found is None:
            return False
        self.known.update({written: found[group] for written, group in groups.items()})
        return True

    def _pattern(self, expected: str) -> tuple[str, dict[str, str]]:
        groups: dict[str, str] = {}
        lines = [
            r"(?:.*\n)*?" if line.strip() == "…" else f"{self._line(line, groups)}\n"
            for line in _tidied(expected).splitlines()
        ]
        return "".join(lines), groups

    def _line(self, line: str, groups: dict[str, str]) -> str:
        pattern, end = "", 0
        for token in _TOKENS.finditer(line):
            pattern += re.escape(self.in_this_run(line[end : token.start()]))
            pattern += self._token(token, groups)
            end = token.end()
        return pattern + re.escape(self.in_this_run(line[end:]))

    def _token(self, token: re.Match[str], groups: dict[str, str]) -> str:
        written, kind = token[0], token.lastgroup
        if kind != "name":
            return _PATTERNS[str(kind)]
        if written in self.known:
            return re.escape(self.known[written])
        if written in groups:
            return f"(?P={groups[written]})"
        groups[written] = f"name{len(groups)}"
        form = _ID if "-" in written else _COMMIT
        return f"(?P<{groups[written]}>{form})"

    def _port(self, found: re.Match[str]) -> str:
        port = found[0]
        return str(int(port) + self.port_offset) if port in _DEFAULT_PORTS else port


def _tidied(text: str) -> str:
    """Without empty lines and blanks at the ends of lines, which mean nothing to a reader."""
    lines = [line.strip() for line in text.splitlines()]
    return "".join(f"{line}\n" for line in lines if line)
