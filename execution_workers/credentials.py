"""Credentials in private files, read when needed so that a replaced one counts at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from idp_kernel.errors import ProviderRejected

_FOR_OTHERS = 0o077


@dataclass(frozen=True)
class SecretFile:
    """A file with a secret, for its owner's eyes only."""

    path: Path

    def read(self) -> str:
        """A token: its one line, without surrounding blanks.

        Raises as `read_document`, and when it has what no header can carry.
        """
        content = self.read_document()
        if not (content.isascii() and content.isprintable()):
            raise _unreadable(
                self.path, "it has characters that are not printable ASCII; it is to be one line"
            )
        return content

    def read_document(self) -> str:
        """JSON or PEM: its content without surrounding blanks.

        Raises `ProviderRejected` (`credential_unreadable`) when it is missing, empty or open to
        others: a person must put it right.
        """
        try:
            if self.path.stat().st_mode & _FOR_OTHERS:
                raise _unreadable(self.path, "others can read it; set its mode to 0600")
            content = self.path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise _unreadable(self.path, type(error).__name__) from error
        if not content:
            raise _unreadable(self.path, "it is empty")
        return content


def _unreadable(path: Path, found: str) -> ProviderRejected:
    return ProviderRejected(
        f"The credential in {path} could not be read: {found}.", code="credential_unreadable"
    )
