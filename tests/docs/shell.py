"""A shell as the reader of a page has it: what one command leaves, the next one finds."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.docs.pages import TYPED, blocks
from tests.docs.transcript import Command, Meanings, commands

COMMAND_WITHIN_SECONDS = 480
WELL_WITHIN_SECONDS = 30
"""After a part that answered too late."""
_ENDED = "-ended-with-"
_READ_BYTES = 65536


class Shell:
    """A bash that stays."""

    def __init__(self, folder: Path, environment: Mapping[str, str], scratch: Path) -> None:
        self._script = scratch / "command"
        self._status = 0
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, text: str) -> tuple[str, int]:
        """What the command prints, both streams, and its exit status."""
        self._script.write_text(f"{text}\n", encoding="utf-8")
        mark = f"{os.urandom(8).hex()}{_ENDED}"
        assert self._bash.stdin is not None
        self._bash.stdin.write(
            f"(exit {self._status}); source '{self._script}' </dev/null; "
            f"printf '{mark}%s\\n' $?\n".encode()
        )
        self._bash.stdin.flush()
        printed, _, status = self._until(mark).partition(mark)
        self._status = int(status)
        return printed, self._status

    def close(self) -> None:
        """Ends the shell and what it started."""
        if self._bash.stdin is not None:
            self._bash.stdin.close()
        try:
            self._bash.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._bash.pid, signal.SIGKILL)
            self._bash.wait()
        if self._bash.stdout is not None:
            self._bash.stdout.close()

    def _until(self, mark: str) -> str:
        give_up_at = time.monotonic() + COMMAND_WITHIN_SECONDS
        assert self._bash.stdout is not None
        told = b""
        while not (mark.encode() in told and told.endswith(b"\n")):
            left = give_up_at - time.monotonic()
            ready, _, _ = select.select([self._bash.stdout], [], [], max(0, left))
            part = os.read(self._bash.stdout.fileno(), _READ_BYTES) if ready else b""
            assert part, f"the shell said nothing more:\n{told.decode()}"
            told += part
        return told.decode()


@contextmanager
def shell(folder: Path, environment: Mapping[str, str], scratch: Path) -> Iterator[Shell]:
    """A shell for a block of code."""
    opened = Shell(folder, environment, scratch)
    try:
        yield opened
    finally:
        opened.close()


def perform(command: Command, bash: Shell, meanings: Meanings) -> None:
    """Types the command; fails unless the shell says what the page shows."""
    typed = meanings.in_this_run(command.text)
    printed, status = bash.run(typed)
    if typed.startswith("idp doctor") and command.must_succeed:
        # On a busy machine a part may answer too late; what is wrong stays so.
        give_up_at = time.monotonic() + WELL_WITHIN_SECONDS
        while status and time.monotonic() < give_up_at:
            printed, status = bash.run(typed)
    told = f"{command.place}\n$ {typed}\n{printed}(exit status {status})"
    # What a program logged before is not what the command says.
    assert typed.startswith("tail ") or "Traceback" not in printed, told
    if command.must_succeed:
        assert status == 0, told
    if command.expected is not None:
        assert meanings.learn(command.expected, printed), (
            f"{told}\n\nthe page shows:\n{command.expected}"
        )


def commands_of(page: Path) -> list[Command]:
    """All commands of a page, in order."""
    return [each for block in blocks(page, *TYPED) for each in commands(block)]
