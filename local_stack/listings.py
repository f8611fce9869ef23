"""Lists that the parts of the local stack ask each other for, again and again.

Whoever asks names the version it has, and is answered when there is another: that costs both less
than to ask as often, and what is new is seen as soon.
"""

from __future__ import annotations

import hashlib
import time
from asyncio import sleep
from collections.abc import Callable
from typing import Annotated, Generic, TypeVar

from fastapi import Query, Request, Response
from starlette.concurrency import run_in_threadpool

from idp_kernel.http.client import ETAG, ServiceClient
from idp_kernel.wire.base import WireModel

WAIT_SECONDS = 2.0
"""How long whoever has nothing else to do waits for another version; it ends no sooner either."""
LOOK_EVERY_SECONDS = 0.5
"""How often whoever is asked looks meanwhile whether there is another."""

Known = Annotated[str, Query(max_length=100)]
"""The version that the caller has."""
WaitSeconds = Annotated[float, Query(alias="waitSeconds", ge=0, le=5)]

Listed = TypeVar("Listed", bound=WireModel)


class Listing(Generic[Listed]):
    """A list at another part."""

    def __init__(self, client: ServiceClient, path: str, kind: type[Listed]) -> None:
        self._client = client
        self._path = path
        self._kind = kind
        self._known = ""

    def ask(self, *, patiently: bool) -> Listed:
        """The list as it is; patiently, as soon as it is another than at the last time, and after
        `WAIT_SECONDS` at the latest. Errors are those of `ServiceClient.call`.
        """
        query = {"known": self._known, "waitSeconds": str(WAIT_SECONDS)} if patiently else None
        listed, version = self._client.look(self._path, self._kind, query=query)
        self._known = version or ""
        return listed


async def listed_when_new(
    look: Callable[[], Listed],
    request: Request,
    response: Response,
    *,
    known: str,
    wait_seconds: float,
    version_of: Callable[[Listed], str],
) -> Listed:
    """What `look` finds, as soon as it is not the known version; when the time is over, that one.

    The answer's entity tag is its version.
    """
    until = time.monotonic() + wait_seconds
    while True:
        listed = await run_in_threadpool(look)
        version = version_of(listed)
        left = until - time.monotonic()
        if version != known or left <= 0 or await request.is_disconnected():
            response.headers[ETAG] = version
            return listed
        await sleep(min(left, LOOK_EVERY_SECONDS))


def version_of(listed: WireModel) -> str:
    """Of all that the list says."""
    return f'"{hashlib.sha256(listed.model_dump_json().encode()).hexdigest()[:32]}"'
