"""The supervisor's log files, its own and those of programs: what a full disk does not take is
lost, and the supervisor goes on.

supervisor's own handlers tell standard error what they could not write. That is a file on the same
disk, so telling fails as well and ends the supervisor.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from supervisor.loggers import Handler, Logger, RotatingFileHandler

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT
_MODE = 0o600


class EnduringLogger(Logger):  # type: ignore[misc] # supervisor has no types
    """Writes its files with `LogFile`, whatever supervisor would have written them with."""

    def addHandler(self, handler: Handler) -> None:  # noqa: N802 - as supervisor calls it
        """The handler has its format and its level already."""
        if isinstance(handler, RotatingFileHandler):
            handler.close()
            handler = LogFile(handler)
        super().addHandler(handler)


class LogFile(Handler):  # type: ignore[misc] # supervisor has no types
    """A file that is begun anew when it is long enough, with some of those before kept beside it.

    Nothing it does raises `OSError`. Once it can write again, it says how much was lost, and why.
    """

    def __init__(self, like: RotatingFileHandler) -> None:
        super().__init__()
        self.setFormat(like.fmt)
        self.setLevel(like.level)
        self._path = Path(like.baseFilename)
        self._longest: int = like.maxBytes
        self._kept: int = like.backupCount
        self._descriptor: int | None = None
        self._lost = 0
        self._cause = ""

    def emit(self, record: Any) -> None:
        """Writes one piece of what was logged, whole, or in part, or not at all."""
        message = record.msg if isinstance(record.msg, bytes) else self._text_of(record)
        if self._lost and self._write(self._apology()) == 0:
            self._lost, self._cause = 0, ""
        self._lost += self._write(message)
        if self._length() >= self._longest:
            self._begin_anew()

    def reopen(self) -> None:
        """The next piece goes to whatever has the file's name then."""
        self.close()

    def remove(self) -> None:
        """Takes the file away; the next piece begins another."""
        self.close()
        self._path.unlink(missing_ok=True)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """What is written afterwards opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _text_of(self, record: Any) -> bytes:
        text: str = self.fmt % record.asdict()
        return text.encode()

    def _apology(self) -> bytes:
        return f"\nsupervisor: {self._lost} bytes were lost here: {self._cause}\n".encode()

    def _write(self, message: bytes) -> int:
        """How many bytes of it could not be written."""
        left = memoryview(message)
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, _FLAGS, _MODE)
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            self._cause = f"[Errno {error.errno}] {error.strerror}"
        return len(left)

    def _length(self) -> int:
        return 0 if self._descriptor is None else os.fstat(self._descriptor).st_size

    def _begin_anew(self) -> None:
        """Where that is not possible now, it is when the next piece has been written."""
        with suppress(OSError):
            for number in range(self._kept - 1, 0, -1):
                if self._before(number).exists():
                    self._before(number).replace(self._before(number + 1))
            self._path.replace(self._before(1))
            self.close()

    def _before(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class EnduringStream(io.TextIOBase):
    """Standard output and error of the supervisor, which may be a file on a full disk."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
            self._stream.flush()
        return len(text)
