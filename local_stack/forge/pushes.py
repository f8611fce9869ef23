"""The record of pushes beside a repository, and what a push may do to its branches.

Git runs this as its `pre-receive` and `post-receive` hook: before a branch moves, the push is
judged and its author recorded, so nobody's part in a branch can be lost to a kill. Only the
standard library is imported, so that the hook starts at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

BOT = "idp[bot]"
"""The name of the platform's own identity in records; no person can have it."""
CALLER_VARIABLE = "IDP_FORGE_CALLER"
"""Tells the hook who pushes: a principal or `BOT`."""
PROTECTIONS_FILE = "idp-protections.json"
ARCHIVED_FILE = "idp-archived"
"""Is there once the repository is archived."""
PUSHES_FILE = "idp-pushes.jsonl"
BRANCHES = "refs/heads/"
TAGS = "refs/tags/"
_ZERO = "0" * 40


@dataclass(frozen=True)
class RefUpdate:
    """One line a hook gets: a ref and where it shall move. A zero revision is none."""

    old: str
    new: str
    ref: str

    @property
    def branch(self) -> str | None:
        """The branch's name, if it is a branch."""
        return self.ref.removeprefix(BRANCHES) if self.ref.startswith(BRANCHES) else None

    @property
    def deletes(self) -> bool:
        return self.new == _ZERO

    @property
    def creates(self) -> bool:
        return self.old == _ZERO


@dataclass(frozen=True)
class PushRecord:
    """Somebody moved a branch to a revision; a zero revision says that it was deleted."""

    branch: str
    principal: str
    revision: str


def refusal(
    update: RefUpdate,
    caller: str,
    protected: Iterable[str],
    is_fast_forward: Callable[[RefUpdate], bool],
) -> str | None:
    """Why the update may not happen and what to do instead; None when it may.

    Names that differ in case only are one file where the disk takes no notice of case, so they
    share the protection.
    """
    branch = update.branch
    if branch is None:
        if update.ref.startswith(TAGS):
            return None
        return f"{update.ref} is refused: push branches ({BRANCHES}…) and tags ({TAGS}…) only."
    if branch.casefold() not in {name.casefold() for name in protected}:
        return None
    return _refusal_on_protected(update, branch, caller, is_fast_forward)


def _refusal_on_protected(
    update: RefUpdate, branch: str, caller: str, is_fast_forward: Callable[[RefUpdate], bool]
) -> str | None:
    if update.deletes:
        return f"The branch {branch} is protected: it cannot be deleted."
    if caller != BOT:
        return (
            f"The branch {branch} is protected: nobody pushes to it directly. Push a branch of "
            f"your own instead, such as\n  git push origin HEAD:{BRANCHES}my-change\n"
            "and ask a colleague to run `idp repository merge` for it."
        )
    if not update.creates and not is_fast_forward(update):
        return f"The branch {branch} is protected: it only moves forward. Fetch, rebase, push."
    return None


def record_pushes(repository: Path, records: Iterable[PushRecord]) -> None:
    """Append to the repository's record and put it on disk.

    Each line begins with a line end too, so one that a power cut tore spoils no other.
    """
    lines = "".join(f"\n{json.dumps(vars(record))}\n" for record in records)
    if not lines:
        return
    descriptor = os.open(repository / PUSHES_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, lines.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def recorded_pushes(repository: Path, branch: str) -> list[PushRecord]:
    """The pushes to a branch since it was last deleted, oldest first."""
    records: list[PushRecord] = []
    for record in _read_records(repository):
        if record.branch != branch:
            continue
        if record.revision == _ZERO:
            records.clear()
        else:
            records.append(record)
    return records


def _read_records(repository: Path) -> Iterator[PushRecord]:
    try:
        text = (repository / PUSHES_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            yield PushRecord(**json.loads(line))
        except (ValueError, TypeError):
            continue


def _protected_branches(repository: Path) -> set[str]:
    try:
        text = (repository / PROTECTIONS_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return set()
    return {str(protection["branch"]) for protection in json.loads(text)}


def _is_fast_forward(update: RefUpdate) -> bool:
    command = ["git", "merge-base", "--is-ancestor", update.old, update.new]
    return subprocess.run(command, timeout=60, check=False).returncode == 0


def _pre_receive(repository: Path, caller: str, updates: list[RefUpdate]) -> int:
    if (repository / ARCHIVED_FILE).exists():
        sys.stderr.write("\nThe repository is archived: nobody pushes to it any more.\n\n")
        return 1
    protected = _protected_branches(repository)
    found = [refusal(update, caller, protected, _is_fast_forward) for update in updates]
    reasons = [reason for reason in found if reason is not None]
    if reasons:
        sys.stderr.write("\n".join(["", *reasons, "", ""]))
        return 1
    record_pushes(
        repository,
        (
            PushRecord(update.branch, caller, update.new)
            for update in updates
            if update.branch is not None and not update.deletes
        ),
    )
    return 0


def _post_receive(repository: Path, caller: str, updates: list[RefUpdate]) -> int:
    """Only what really happened is told here: a deletion ends the branch's record."""
    record_pushes(
        repository,
        (
            PushRecord(update.branch, caller, update.new)
            for update in updates
            if update.branch is not None and update.deletes
        ),
    )
    return 0


def main() -> int:
    """The hook named by the first argument."""
    repository = Path(os.environ["GIT_DIR"]).resolve()
    caller = os.environ[CALLER_VARIABLE]
    updates = [RefUpdate(*line.rstrip("\n").split(" ", 2)) for line in sys.stdin]
    run = {"pre-receive": _pre_receive, "post-receive": _post_receive}[sys.argv[1]]
    return run(repository, caller, updates)


if __name__ == "__main__":
    sys.exit(main())
