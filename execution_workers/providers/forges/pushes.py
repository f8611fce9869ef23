"""Commits on a branch that others push to as well: read, decide, push, and again when overtaken."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TypeVar

from execution_workers.ports import Attempt, foreign_owner
from execution_workers.providers.forges.git import (
    BranchCopy,
    Commit,
    Overtaken,
    Proposed,
    with_trailers,
)
from execution_workers.providers.forges.git_errors import BRANCH_BUSY
from execution_workers.providers.forges.host import ForgeHost
from execution_workers.providers.forges.pull_requests import (
    ByPullRequest,
    PullRequest,
    Standing,
    branch_for,
    branches_so_far,
)
from idp_kernel.wire.worker import RepositoryWanted

MOST_PUSHES = 8
"""Tries of one commit, when others push to the branch at the same time."""
_PAUSE_SECONDS = 0.1
Result = TypeVar("Result")


def pushed(
    host: ForgeHost,
    repository: RepositoryWanted,
    work: Callable[[BranchCopy], Result],
    *,
    topic: str,
    attempt: Attempt,
) -> Result:
    """What `work` answers on a fresh copy of the branch; again after others were faster.

    Where the forge takes the platform's commits by pull requests alone, the topic's is opened, and
    until it is merged `Unavailable` (`pull_request_open`) is raised. Its branch goes once the
    default branch has what it was to bring.
    """
    way, was_merged = host.by_pull_request, False
    with host.git(repository).copy(repository.default_branch, proposes=way is not None) as copy:
        for number in range(MOST_PUSHES):
            try:
                result = work(copy)
            except Overtaken:
                # Jitter, not cryptography: two workers that collided shall not collide again.
                time.sleep(random.uniform(0, _PAUSE_SECONDS * (number + 1)))  # noqa: S311
            except Proposed as proposed:
                assert way is not None  # noqa: S101 - narrows for mypy: only such a copy proposes
                found = _proposal(way, host, repository, copy, proposed.revision, topic, attempt)
                if was_merged or found.standing is not Standing.MERGED:
                    raise way.waits_for(found, host.provider) from None
                was_merged = True
            else:
                if way is not None:
                    _clear(copy, [branch_for(topic, attempt)], attempt)
                return result
            # Others were faster, or merged it meanwhile.
            copy.fetch()
    raise BRANCH_BUSY.of(host.provider, "git push", f"others pushed first {MOST_PUSHES} times")


def withdraw(host: ForgeHost, repository: RepositoryWanted, topic: str, attempt: Attempt) -> None:
    """The topic's branches go, of this generation and those before, and with a branch its pull
    request is closed, if it is open: what it was to bring is not wanted.
    """
    if host.by_pull_request is not None:
        with host.git(repository).copy(repository.default_branch) as copy:
            _clear(copy, branches_so_far(topic, attempt), attempt)


def _clear(copy: BranchCopy, branches: Sequence[str], attempt: Attempt) -> None:
    """Removes those of the platform's own branches that are there."""
    for branch in copy.beside(branches):
        attempt.check_fence()
        copy.remove_beside(branch)


def _proposal(
    way: ByPullRequest,
    host: ForgeHost,
    repository: RepositoryWanted,
    copy: BranchCopy,
    revision: str,
    topic: str,
    attempt: Attempt,
) -> PullRequest:
    """The topic's pull request, opened now unless there is one."""
    branch = branch_for(topic, attempt)
    found = way.forge.find(repository, branch)
    if found is not None:
        return found
    attempt.check_fence()
    copy.push_beside(revision, branch)
    title, _, text = copy.message(revision).partition("\n")
    opened = way.forge.open(repository, branch, title, text.strip())
    found = opened or way.forge.find(repository, branch)
    if found is None:
        raise BRANCH_BUSY.of(host.provider, "open pull request", "one is open and cannot be found")
    return found


def committed(
    copy: BranchCopy, contents: Mapping[str, bytes], message: str, attempt: Attempt
) -> str:
    """Commits and pushes the files; the new revision.

    Raises `foreign_owner` where a file or link of somebody's stands in the place of a folder, or a
    submodule in that of either: git would silently replace it.
    """
    in_the_way = copy.in_the_way(list(contents), _folders_of(contents))
    if in_the_way:
        places = ", ".join(in_the_way)
        raise foreign_owner(copy.provider, f"a file or submodule in the way at {places}")
    changes = {path: copy.content_id(content) for path, content in contents.items()}
    attempt.check_fence()
    revision = copy.commit(changes, message)
    copy.push(revision)
    return revision


def _folders_of(paths: Iterable[str]) -> list[str]:
    folders = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
    return sorted(folders - {"."})


def commit_message(subject: str, entity: str, attempt: Attempt) -> str:
    return with_trailers(
        subject,
        installation_id=attempt.installation_id,
        entity=entity,
        request_id=attempt.request_id,
    )


def is_of(commit: Commit, entity: str, attempt: Attempt) -> bool:
    """Whether the platform made the commit for this entity, in whichever request."""
    return commit.installation_id == attempt.installation_id and commit.entity == entity


def has_added(copy: BranchCopy, path: str, content: bytes, entity: str, attempt: Attempt) -> bool:
    """Whether this request's own commit for the entity brought the file, unchanged since."""
    if copy.files([path])[path] != copy.content_id(content):
        return False
    commit = copy.last_commit([path])
    if not is_of(commit, entity, attempt) or commit.request_id != attempt.request_id:
        return False
    parent = copy.parent(commit.revision)
    return parent is None or not copy.files([path], parent)


def has_work_of_others(host: ForgeHost, repository: RepositoryWanted, attempt: Attempt) -> bool:
    """Whether the default branch has commits that the platform did not make. No undo touches such
    a repository: it is not ours to end.
    """
    remote = host.git(repository)
    with remote.copy(repository.default_branch) as copy:
        commits = copy.all_commits()
    return any(commit.installation_id != attempt.installation_id for commit in commits)


def removed(copy: BranchCopy, paths: Iterable[str], message: str, attempt: Attempt) -> str:
    """Removes the files and pushes; the new revision."""
    attempt.check_fence()
    revision = copy.commit(dict.fromkeys(paths), message)
    copy.push(revision)
    return revision
