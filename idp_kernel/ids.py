"""Identifiers: UUID version 7 (RFC 9562) as lower-case text, ordered by their time of birth."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Annotated

from pydantic import StringConstraints

ID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
SLUG_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
SLUG_MAX_LENGTH = 40

Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
"""An identifier as it stands in paths and bodies."""

Slug = Annotated[
    str, StringConstraints(pattern=SLUG_PATTERN, min_length=2, max_length=SLUG_MAX_LENGTH)
]
"""A name people type: lower case, digits and single hyphens, fit for paths, hosts and branches."""


def new_id() -> str:
    """A new identifier; later calls sort after earlier ones to the millisecond."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (2**48 - 1)) << 80
    value |= 0x7 << 76
    value |= secrets.randbits(12) << 64
    value |= 0b10 << 62
    value |= secrets.randbits(62)
    return str(uuid.UUID(int=value))
