"""Cursor pages: 50 items unless asked for up to 200; the cursor is opaque to the caller."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Query

from control_plane.application.queries import Slice
from idp_kernel.errors import InvalidInput
from idp_kernel.ids import ID_PATTERN
from idp_kernel.wire.api import Page
from idp_kernel.wire.base import WireModel

DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 200
_SEQUENCE = r"[0-9]{1,18}"
_PRINCIPAL = r"[a-z0-9._@-]{1,80}"

Item = TypeVar("Item", bound=WireModel)
Cursor = Annotated[str | None, Query(max_length=200)]
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE_SIZE)]


@dataclass(frozen=True)
class PageWanted:
    """Where the page begins and how many items it has."""

    after: str | None
    size: int

    @property
    def slice(self) -> Slice:
        """One item more than the page has: it tells whether there is a next one."""
        return Slice(self.after, self.size + 1)


def page_of(
    items: Sequence[Item], wanted: PageWanted, position: Callable[[Item], str]
) -> Page[Item]:
    """The page, with the cursor of the next one if there is one."""
    shown = tuple(items[: wanted.size])
    more = len(items) > wanted.size
    return Page(items=shown, next_cursor=_encode(position(shown[-1])) if more else None)


def _by(pattern: str) -> Callable[[str | None, int], Awaitable[PageWanted]]:
    async def page_wanted(cursor: Cursor = None, limit: Limit = DEFAULT_PAGE_SIZE) -> PageWanted:
        return PageWanted(None if cursor is None else _decode(cursor, pattern), limit)

    return page_wanted


ById = Annotated[PageWanted, Depends(_by(ID_PATTERN))]
ByPrincipal = Annotated[PageWanted, Depends(_by(_PRINCIPAL))]
BySequence = Annotated[PageWanted, Depends(_by(_SEQUENCE))]


def _encode(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def _decode(cursor: str, pattern: str) -> str:
    try:
        position = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (ValueError, binascii.Error):
        position = ""
    if re.fullmatch(pattern, position) is None:
        raise InvalidInput(
            "The cursor is none that a page of this list gave.", code="cursor_invalid"
        )
    return position
