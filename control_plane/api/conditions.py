"""Answers that are sent only when they differ from what the caller has, and changes that are made
only to what the caller has seen (RFC 9110, section 13).

The entity tag is a digest of the representation, the same on every replica. Where that shows more
than a change replaces, such as how much of a limit is used, the tag has two parts: a digest of what
is replaced, and one of all that is shown. `If-None-Match` compares the whole tag, `If-Match` the
first part: it asks whether what would be replaced is what was seen. A precondition is looked at in
the transaction of the change, once the thing is locked.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Response

from control_plane.application.ports import Answer, Work
from idp_kernel.errors import Conflict
from idp_kernel.wire.base import WireModel

IF_MATCH_HEADER = "If-Match"
IF_NONE_MATCH_HEADER = "If-None-Match"
ETAG_HEADER = "ETag"
_LONGEST = 4096
_BETWEEN_PARTS = "."
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


def etag_of(body: str) -> str:
    """The entity tag of a representation, a strong one."""
    return f'"{_digest(body)}"'


def etag_in_parts(replaced: str, body: str) -> str:
    """The entity tag of a representation of which a change replaces a part only."""
    return f'"{_digest(replaced)}{_BETWEEN_PARTS}{_digest(body)}"'


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:18]).decode()


TagOf = Callable[[str], str]
"""Makes the entity tag of a representation."""


@dataclass(frozen=True)
class Seen:
    """What the caller has already, as `If-None-Match` tells it."""

    tags: frozenset[str]

    def answer(self, shown: WireModel, tag_of: TagOf = etag_of) -> Response:
        """The representation with its tag, or `304` when the caller has it."""
        body = shown.model_dump_json()
        tag = tag_of(body)
        headers = {ETAG_HEADER: tag}
        if "*" in self.tags or tag in self.tags:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type="application/json")


@dataclass(frozen=True)
class Expected:
    """What the caller wants to change, as `If-Match` tells it; none of a tag is anything."""

    tags: frozenset[str] | None

    def check(self, current: WireModel, tag_of: TagOf = etag_of) -> None:
        """Raises `Conflict` (`precondition_failed`) when what would be replaced looks different
        now.
        """
        if self.tags is None or "*" in self.tags:
            return
        tag = tag_of(current.model_dump_json())
        replaced, in_parts, _ = tag.partition(_BETWEEN_PARTS)
        if not any(given.startswith(f"{replaced}{in_parts}") for given in self.tags):
            raise Conflict(
                "It has changed since it was seen as If-Match says. Nothing was done; look at it"
                " again, then decide.",
                code="precondition_failed",
                details={"etag": tag},
            )

    def before(
        self,
        act: Callable[[Work], Answer],
        held: Callable[[Work], WireModel],
        tag_of: TagOf = etag_of,
    ) -> Callable[[Work], Answer]:
        """Acts if the thing that `held` locks and shows is the expected one."""

        def checked(work: Work) -> Answer:
            if self.tags is not None:
                self.check(held(work), tag_of)
            return act(work)

        return checked


async def seen(
    given: Annotated[str | None, Header(alias=IF_NONE_MATCH_HEADER, max_length=_LONGEST)] = None,
) -> Seen:
    return Seen(frozenset() if given is None else _tags(given, is_weak_enough=True))


async def expected(
    given: Annotated[str | None, Header(alias=IF_MATCH_HEADER, max_length=_LONGEST)] = None,
) -> Expected:
    return Expected(None if given is None else _tags(given, is_weak_enough=False))


def _tags(given: str, *, is_weak_enough: bool) -> frozenset[str]:
    """The tags of a header. A weak one never matches strongly; what is no tag matches nothing."""
    if given.strip() == "*":
        return frozenset("*")
    found = _TAG.findall(given)
    strong = {tag.removeprefix("W/") for tag in found if is_weak_enough or tag.startswith('"')}
    return frozenset(strong)


IfNoneMatch = Annotated[Seen, Depends(seen)]
IfMatch = Annotated[Expected, Depends(expected)]
