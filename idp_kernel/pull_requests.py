"""Waits for pull requests: how one is told between services, and several of one step as one.

The parts of a step do not depend on each other, so none of them waits until another one's pull
request is merged: all are opened, and then all are awaited.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from idp_kernel.downstream import PULL_REQUEST_OPEN
from idp_kernel.errors import PlatformError, Unavailable

_ADDRESSES = "pullRequests"
"""Among the details of the error."""


def pull_request_open(message: str, addresses: Sequence[str], look_seconds: float) -> Unavailable:
    """What is raised until somebody has merged them; they are looked for again after so long."""
    return Unavailable(
        message,
        code=PULL_REQUEST_OPEN,
        retry_after_seconds=look_seconds,
        details={_ADDRESSES: list(addresses)},
    )


def said_too(wait: Unavailable, words: str) -> Unavailable:
    """The same wait, with a sentence more."""
    return Unavailable(
        f"{wait.message} {words}",
        code=wait.code,
        retry_after_seconds=wait.retry_after_seconds,
        details=wait.details,
    )


def addresses_of(error: PlatformError) -> list[str]:
    """Of the pull requests that are waited for; none for any other error."""
    told = error.details.get(_ADDRESSES, ())
    return [str(each) for each in told] if isinstance(told, list) else []


class AwaitedMerges:
    """The pull requests that the parts of a step wait for."""

    def __init__(self) -> None:
        self._waits: list[Unavailable] = []

    @contextmanager
    def passed_by(self) -> Iterator[None]:
        """Around one part: what waits for a pull request is kept for the end. Other errors come
        through.
        """
        try:
            yield
        except Unavailable as error:
            if error.code != PULL_REQUEST_OPEN:
                raise
            self._waits.append(error)

    def require_none(self) -> None:
        """Raises one `Unavailable` (`pull_request_open`) for all that were met, which are looked
        for again when the first of them is.
        """
        if len(self._waits) == 1:
            raise self._waits[0]
        addresses = dict.fromkeys(each for error in self._waits for each in addresses_of(error))
        if self._waits:
            raise pull_request_open(
                f"{len(addresses)} pull requests wait to be approved and merged: "
                f"{', '.join(addresses)}. Then the request goes on by itself.",
                list(addresses),
                min(each.retry_after_seconds or 0 for each in self._waits),
            )
