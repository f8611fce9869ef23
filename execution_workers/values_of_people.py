"""Which versions of a secret a person wrote: what opens a door elsewhere, and nobody here can draw.

See `docs/decisions/0012-bindings-say-what-is-in-use.md`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from execution_workers.ports import SecretStore, StoredValue


def written_by_people(
    store: SecretStore, path: str, numbers: Collection[int]
) -> Iterator[tuple[int, StoredValue]]:
    """Those of the versions that a person wrote, newest first; each is read when it is its turn."""
    for number in sorted(numbers, reverse=True):
        value = store.read(path, number)
        if value is not None and not value.written_by:
            yield number, value
