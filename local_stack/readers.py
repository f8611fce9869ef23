"""Who may read what a local part publishes: whoever shows the one token that is kept for that."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Any

from fastapi import Depends, Header

from idp_kernel.errors import Unauthenticated


def readers_only(reader_token: str, refusal: str) -> Any:
    """A dependency for routes; raises `Unauthenticated` with `refusal` for any other bearer."""
    expected = _digest(f"Bearer {reader_token}")

    def authenticated(authorization: Annotated[str, Header()] = "") -> None:
        if not hmac.compare_digest(expected, _digest(authorization)):
            raise Unauthenticated(refusal)

    return Depends(authenticated)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
