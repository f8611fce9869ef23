"""What the agent saw of each repository: in memory for readers, on disk for the next start."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from pydantic import ValidationError

from idp_kernel.errors import NotFound
from idp_kernel.wire.agent import Reconciliation
from local_stack.secret_files import write_secret

SOURCE_AVAILABLE = "SourceAvailable"

Key = tuple[str, str]
"""Owner and name."""

Change = Callable[[Reconciliation | None], Reconciliation]

_log = structlog.get_logger(__name__)


class Reconciliations:
    """All that was seen. Thread-safe."""

    def __init__(self, data_dir: Path) -> None:
        self._home = data_dir / "reconciliations"
        self._lock = threading.Lock()
        self._seen = self._load()

    def get(self, owner: str, name: str) -> Reconciliation:
        """What was seen of the repository; `NotFound` before the first look at it."""
        with self._lock:
            if (owner, name) not in self._seen:
                raise NotFound(
                    f"The agent has not seen a repository {owner}/{name} yet.",
                    code="no_such_reconciliation",
                )
            return self._seen[owner, name]

    def find(self, owner: str, name: str) -> Reconciliation | None:
        with self._lock:
            return self._seen.get((owner, name))

    def all(self) -> Mapping[Key, Reconciliation]:
        """A copy of everything, by owner and name."""
        with self._lock:
            return dict(self._seen)

    def change(self, owner: str, name: str, change: Change, *, keep: bool) -> None:
        """Publish what `change` makes of what was seen so far, which is None for a new repository.

        `keep` puts it on disk first, for the next start.
        """
        with self._lock:
            seen = change(self._seen.get((owner, name)))
            if keep:
                write_secret(self._file(owner, name), seen.model_dump_json().encode())
            self._seen[owner, name] = seen

    def forget(self, owner: str, name: str) -> None:
        with self._lock:
            self._seen.pop((owner, name), None)
            self._file(owner, name).unlink(missing_ok=True)

    def _file(self, owner: str, name: str) -> Path:
        return self._home / owner / f"{name}.json"

    def _load(self) -> dict[Key, Reconciliation]:
        loaded: dict[Key, Reconciliation] = {}
        for file in self._home.glob("*/*.json"):
            try:
                seen = Reconciliation.model_validate_json(file.read_bytes())
            except ValidationError:
                # Of another version of this program; the next look makes it anew.
                _log.warning("stored_reconciliation_unreadable", file=file.name)
                file.unlink()
                continue
            loaded[seen.owner, seen.name] = seen
        return loaded
