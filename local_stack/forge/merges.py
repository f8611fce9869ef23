"""Merging a branch into the default branch, by somebody who did not push it.

All happens on objects and one compare-and-swap of the ref: there is no work tree, and of two
merges at once one sees the other's result and starts over.
"""

from __future__ import annotations

from idp_kernel.errors import Conflict, NotAllowed, NotFound, Unavailable
from idp_kernel.wire.forge import Merged
from local_stack.forge.callers import Person
from local_stack.forge.pushes import BRANCHES, recorded_pushes
from local_stack.forge.repositories import Repository
from local_stack.git import Git

TRIES = 3
_NAMED_FILES = 20
"""How many conflicting files a refusal names."""


def merge_branch(git: Git, repository: Repository, branch: str, merger: Person) -> Merged:
    """Merge `branch` into the default branch with a merge commit of the merger.

    Raises `NotFound` without such a branch, `NotAllowed` (`own_branch`) for one of its pushers,
    `Conflict` where there is nothing to merge or the two do not fit (`merge_conflict`).
    """
    for _ in range(TRIES):
        # The head before the authors: whoever pushed it is in the record by then.
        head = _branch_head(repository, branch)
        base = repository.head_revision(repository.default_branch)
        if base is None:
            raise Conflict(
                f"The default branch {repository.default_branch} has no commit to merge into yet.",
                code="empty_default_branch",
            )
        authors = unmerged_authors(git, repository, branch, base)
        _require_other_author(git, repository, branch, (base, head), authors, merger)
        merged = _merge_commit(git, repository, branch, (base, head), merger)
        if _move_default_branch(git, repository, (base, merged), merger):
            return Merged(revision=merged, merged_by=merger.name, authored_by=authors)
    raise Unavailable(
        f"The default branch of {repository.owner}/{repository.name} kept moving; try again.",
        code="branch_moved",
        retry_after_seconds=1,
    )


def unmerged_authors(git: Git, repository: Repository, branch: str, base: str) -> tuple[str, ...]:
    """Who pushed what the branch has, or had, beyond the default branch; in order of names."""
    pushes = recorded_pushes(repository.path, branch)
    revisions = "".join(f"{push.revision}\n" for push in pushes)
    listed = git.run(
        repository.path,
        ["rev-list", "--ignore-missing", "--stdin"],
        stdin=f"^{base}\n{revisions}".encode(),
    )
    unmerged = set(listed.line.split())
    return tuple(sorted({push.principal for push in pushes if push.revision in unmerged}))


def _branch_head(repository: Repository, branch: str) -> str:
    head = repository.head_revision(branch)
    if head is None:
        raise NotFound(
            f"{repository.owner}/{repository.name} has no branch {branch}; push it first.",
            code="no_such_branch",
        )
    return head


def _require_other_author(
    git: Git,
    repository: Repository,
    branch: str,
    revisions: tuple[str, str],
    authors: tuple[str, ...],
    merger: Person,
) -> None:
    base, head = revisions
    ancestry = ["merge-base", "--is-ancestor", head, base]
    if git.run(repository.path, ancestry, accepted=(0, 1)).exit_code == 0:
        raise Conflict(
            f"Everything on {branch} is in {repository.default_branch} already.",
            code="nothing_to_merge",
        )
    if merger.name in authors:
        raise NotAllowed(
            f"You pushed to {branch} yourself; ask another maintainer of team "
            f"{repository.owner} to run `idp repository merge` for it.",
            code="own_branch",
        )
    if not authors:
        raise Conflict(
            f"Nobody is on record as the author of {branch}; push it again under a new name.",
            code="unknown_author",
        )


def _merge_commit(
    git: Git, repository: Repository, branch: str, revisions: tuple[str, str], merger: Person
) -> str:
    base, head = revisions
    tree = _merged_tree(git, repository, branch, revisions)
    message = f"Merge branch '{branch}'\n"
    return git.run(
        repository.path,
        ["commit-tree", tree, "-p", base, "-p", head],
        stdin=message.encode(),
        variables=_identity(merger),
    ).line


def _merged_tree(git: Git, repository: Repository, branch: str, revisions: tuple[str, str]) -> str:
    arguments = ["merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", *revisions]
    merge = git.run(repository.path, arguments, accepted=(0, 1, 128))
    if merge.exit_code == 128:
        raise Conflict(
            f"{branch} cannot be merged into {repository.default_branch}: {merge.errors}",
            code="unrelated_histories",
        )
    tree, *files = merge.output.decode("utf-8", "replace").rstrip("\0").split("\0")
    if merge.exit_code == 1:
        raise Conflict(
            f"{branch} conflicts with {repository.default_branch} in {', '.join(files[:5])}. "
            f"Merge {repository.default_branch} into {branch}, solve the conflicts and push it.",
            code="merge_conflict",
            details={"files": files[:_NAMED_FILES]},
        )
    return tree


def _move_default_branch(
    git: Git, repository: Repository, revisions: tuple[str, str], merger: Person
) -> bool:
    """Whether the branch was still where the merge began, and is moved."""
    base, merged = revisions
    ref = BRANCHES + repository.default_branch
    arguments = ["update-ref", "-m", f"merge by {merger.name}", ref, merged, base]
    moved = git.run(repository.path, arguments, accepted=(0, 1, 128), variables=_identity(merger))
    if moved.exit_code != 0 and repository.head_revision(repository.default_branch) == base:
        raise Unavailable(
            f"The default branch could not be moved: {moved.errors}",
            code="branch_locked",
            retry_after_seconds=1,
        )
    return moved.exit_code == 0


def _identity(person: Person) -> dict[str, str]:
    email = person.name if "@" in person.name else f"{person.name}@users.idp.invalid"
    return {
        "GIT_AUTHOR_NAME": person.name,
        "GIT_AUTHOR_EMAIL": email,
        "GIT_COMMITTER_NAME": person.name,
        "GIT_COMMITTER_EMAIL": email,
    }
