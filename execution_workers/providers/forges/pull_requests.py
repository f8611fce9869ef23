"""Commits that get onto the default branch by a pull request, where nobody pushes past its
protection: one for each entity and request, which its people merge.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from execution_workers.ports import Attempt
from idp_kernel.clock import Clock
from idp_kernel.errors import PlatformError, ProviderRejected
from idp_kernel.pull_requests import pull_request_open
from idp_kernel.wire.worker import RepositoryWanted

_SHORTEST_LOOK, _LONGEST_LOOK = timedelta(seconds=30), timedelta(minutes=15)
_AGES_PER_LOOK = 10
"""One that is open for long is looked at ever more rarely."""


class Standing(StrEnum):
    """What has become of a pull request."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"
    """Without having been merged."""


@dataclass(frozen=True)
class PullRequest:
    """One of the platform's own."""

    url: str
    standing: Standing
    opened_at: datetime


class PullRequests(Protocol):
    """Those of a forge. Errors are raised by its error table."""

    def find(self, wanted: RepositoryWanted, branch: str) -> PullRequest | None:
        """The newest from that branch of the repository to its default branch, and to no other."""
        ...

    def open(
        self, wanted: RepositoryWanted, branch: str, title: str, text: str
    ) -> PullRequest | None:
        """A new one; None when one is open already."""
        ...


@dataclass(frozen=True)
class PullRequestRules:
    """How long a pull request may be open, and by which clock."""

    clock: Clock
    longest: timedelta


@dataclass(frozen=True)
class ByPullRequest:
    """How a forge's protected branches get the platform's commits."""

    forge: PullRequests
    rules: PullRequestRules

    def waits_for(self, found: PullRequest, provider: str) -> PlatformError:
        """The error of a commit that its pull request has not brought: `pull_request_open` as long
        as it may be merged, else what a person does.
        """
        if found.standing is Standing.MERGED:
            return _rejected(
                provider,
                f"pull request {found.url} was merged, and what it brought is not there any more. "
                "Bring it back, then retry.",
            )
        if found.standing is Standing.CLOSED:
            return _rejected(
                provider,
                f"pull request {found.url} was closed without being merged. Reopen it and have it "
                "merged, then retry.",
            )
        age = max(self.rules.clock.now() - found.opened_at, timedelta(0))
        if age >= self.rules.longest:
            return _rejected(
                provider,
                f"pull request {found.url} is open since {found.opened_at:%F %T} UTC, longer than "
                "it may. Have it merged, then retry.",
            )
        look = min(max(age / _AGES_PER_LOOK, _SHORTEST_LOOK), _LONGEST_LOOK)
        return pull_request_open(
            f"{provider}: pull request {found.url} waits to be approved and merged. Then the "
            "request goes on by itself.",
            [found.url],
            look.total_seconds(),
        )


def _rejected(provider: str, found: str) -> ProviderRejected:
    return ProviderRejected(f"{provider}: {found}", code="pull_request_not_merged")


def branch_for(topic: str, attempt: Attempt) -> str:
    """The branch that a pull request comes from: each generation of a request has its own for each
    topic, so that a retry after an undo meets none that the undo has closed.
    """
    return _branch(topic, attempt.request_id, attempt.generation)


def branches_so_far(topic: str, attempt: Attempt) -> list[str]:
    """Those of each generation up to the attempt's own."""
    generations = range(1, attempt.generation + 1)
    return [_branch(topic, attempt.request_id, each) for each in generations]


def _branch(topic: str, request_id: str, generation: int) -> str:
    return f"idp/{topic}/{request_id}-{generation}"
