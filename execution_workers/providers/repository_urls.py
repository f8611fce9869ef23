"""Which repository an address names, however it is written."""

from __future__ import annotations

import re
from collections.abc import Callable

OwnerAtForge = Callable[[str], str]
"""Who has the repositories of a team, given by its slug, as their addresses name it."""
_SUFFIX = ".git"


def is_of_repository(url: str, owner: str, name: str) -> bool:
    """Whether the address, of HTTP or of SSH in either form, ends in this owner and name."""
    parts = [part for part in re.split(r"[/:]", url.strip().lower().rstrip("/")) if part]
    return [part.removesuffix(_SUFFIX) for part in parts[-2:]] == [owner.lower(), name.lower()]
