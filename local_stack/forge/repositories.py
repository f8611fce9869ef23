"""Bare repositories on disk, each with its metadata beside its objects.

Layout of the data directory:

    repositories/<owner>/<name>.git/   a bare repository and
        idp-repository.json            what was said when it was created; never changes
        idp-protections.json           its branch protections, replaced whole
        idp-archived                   there once it is archived
        idp-pushes.jsonl               who pushed what (`local_stack.forge.pushes`)
    drafts/                            repositories being made
    trash/                             repositories being removed
    hooks/                             what git calls on a push

A repository appears by one rename, complete, and disappears by one: a kill at any moment leaves
none half made.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from idp_kernel.clock import Clock
from idp_kernel.errors import Conflict, NotFound
from idp_kernel.wire.base import WireModel
from idp_kernel.wire.forge import BranchProtection, CreateForgeRepository, OwnershipMarker
from local_stack.forge.pushes import ARCHIVED_FILE, BRANCHES, PROTECTIONS_FILE
from local_stack.git import Git
from local_stack.secret_files import sync_directory, write_secret

REPOSITORY_FILE = "idp-repository.json"
_HOOK = """\
#!/bin/sh
exec "$IDP_FORGE_PYTHON" -P -S -m local_stack.forge.pushes {name}
"""


class _Description(WireModel):
    """What `idp-repository.json` holds."""

    owner: str
    name: str
    description: str
    default_branch: str
    marker: OwnershipMarker
    created_at: datetime


@dataclass(frozen=True)
class Repository:
    """A repository as it stands; `path` is the bare repository."""

    path: Path
    owner: str
    name: str
    description: str
    default_branch: str
    marker: OwnershipMarker
    created_at: datetime
    protections: tuple[BranchProtection, ...]
    archived: bool

    def head_revision(self, branch: str) -> str | None:
        """The commit a branch points to, read from the files git keeps it in."""
        ref = BRANCHES + branch
        try:
            return (self.path / ref).read_text(encoding="ascii").strip()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return self._packed_revision(ref)

    def _packed_revision(self, ref: str) -> str | None:
        try:
            lines = (self.path / "packed-refs").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        return next((line[:40] for line in lines if line[40:] == f" {ref}"), None)


class Repositories:
    """All repositories of the forge. Thread-safe; one process owns the directory."""

    def __init__(self, data_dir: Path, git: Git, clock: Clock) -> None:
        self._home = data_dir / "repositories"
        self._drafts = data_dir / "drafts"
        self._trash = data_dir / "trash"
        self.hooks = data_dir / "hooks"
        self._git = git
        self._clock = clock
        self._lock = threading.Lock()
        self._prepare()
        found = (_read_repository(path) for path in sorted(self._home.glob("*/*.git")))
        self._known = {(each.owner, each.name): each for each in found}

    def all(self) -> list[Repository]:
        """Every repository, by owner and name."""
        with self._lock:
            return [self._known[key] for key in sorted(self._known)]

    def get(self, owner: str, name: str) -> Repository:
        """The repository, or `NotFound`."""
        with self._lock:
            if (owner, name) not in self._known:
                raise no_such_repository(owner, name)
            return self._known[owner, name]

    def create(self, wanted: CreateForgeRepository) -> Repository:
        """A new bare repository without commits; `Conflict` when the name is taken."""
        with self._lock:
            if (wanted.owner, wanted.name) in self._known:
                raise Conflict(
                    f"The repository {wanted.owner}/{wanted.name} is there already.",
                    code="repository_exists",
                )
            draft = self._draw_up(wanted)
            path = self._home / wanted.owner / f"{wanted.name}.git"
            self._make_owner(path.parent)
            draft.rename(path)
            sync_directory(path.parent)
            repository = _read_repository(path)
            self._known[wanted.owner, wanted.name] = repository
            return repository

    def delete(self, owner: str, name: str) -> None:
        """Gone at once; `NotFound` when it is not there."""
        with self._lock:
            if (owner, name) not in self._known:
                raise no_such_repository(owner, name)
            repository = self._known[owner, name]
            discarded = self._trash / secrets.token_hex(8)
            repository.path.rename(discarded)
            sync_directory(repository.path.parent)
            del self._known[owner, name]
        shutil.rmtree(discarded, ignore_errors=True)

    def archive(self, owner: str, name: str) -> Repository:
        """Read-only from now on; one that is archived stays so. `NotFound` when it is not there."""
        with self._lock:
            if (owner, name) not in self._known:
                raise no_such_repository(owner, name)
            path = self._known[owner, name].path
            write_secret(path / ARCHIVED_FILE, b"")
            self._known[owner, name] = _read_repository(path)
            return self._known[owner, name]

    def protect(self, owner: str, name: str, protection: BranchProtection) -> BranchProtection:
        """Add the protection or put it in the place of the branch's former one."""
        with self._lock:
            self._write_protections(
                owner, name, [*self._others(owner, name, protection.branch), protection]
            )
        return protection

    def unprotect(self, owner: str, name: str, branch: str) -> None:
        """Remove the branch's protection; `NotFound` when it has none."""
        with self._lock:
            others = self._others(owner, name, branch)
            if len(others) == len(self._known[owner, name].protections):
                raise no_such_protection(branch)
            self._write_protections(owner, name, others)

    def _others(self, owner: str, name: str, branch: str) -> list[BranchProtection]:
        if (owner, name) not in self._known:
            raise no_such_repository(owner, name)
        require_not_archived(self._known[owner, name])
        return [each for each in self._known[owner, name].protections if each.branch != branch]

    def _write_protections(
        self, owner: str, name: str, protections: Iterable[BranchProtection]
    ) -> None:
        path = self._known[owner, name].path
        ordered = sorted(protections, key=lambda each: each.branch)
        content = json.dumps([each.model_dump(mode="json") for each in ordered], indent=2)
        write_secret(path / PROTECTIONS_FILE, content.encode())
        self._known[owner, name] = _read_repository(path)

    def _draw_up(self, wanted: CreateForgeRepository) -> Path:
        """The whole repository in `drafts/`, on disk to the last byte."""
        draft = self._drafts / secrets.token_hex(8)
        branch = wanted.default_branch
        self._git.run(draft, ["init", "--quiet", "--bare", "--template=", f"-b{branch}"])
        description = _Description(
            **wanted.model_dump(mode="python", by_alias=False), created_at=self._clock.now()
        )
        write_secret(draft / REPOSITORY_FILE, description.model_dump_json(indent=2).encode())
        _sync_tree(draft)
        return draft

    def _make_owner(self, directory: Path) -> None:
        if not directory.exists():
            directory.mkdir()
            sync_directory(directory.parent)

    def _prepare(self) -> None:
        """Make the directories and clear away what a kill left."""
        for leftover in (self._drafts, self._trash):
            shutil.rmtree(leftover, ignore_errors=True)
        for directory in (self._home, self._drafts, self._trash, self.hooks):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for repository in self._home.glob("*/*.git"):
            _clear_interrupted_pushes(repository)
        for name in ("pre-receive", "post-receive"):
            hook = self.hooks / name
            hook.write_text(_HOOK.format(name=name), encoding="ascii")
            hook.chmod(0o700)


def hook_variables() -> dict[str, str]:
    """What a hook needs to find this code with this interpreter."""
    return {
        "IDP_FORGE_PYTHON": sys.executable,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def no_such_repository(owner: str, name: str) -> NotFound:
    """Also what somebody hears who may not know that it is there."""
    return NotFound(f"There is no repository {owner}/{name}.", code="no_such_repository")


def require_not_archived(repository: Repository) -> None:
    """Raises `Conflict` (`repository_archived`)."""
    if repository.archived:
        raise Conflict(
            f"The repository {repository.owner}/{repository.name} is archived: nothing in it is"
            " changed any more.",
            code="repository_archived",
        )


def no_such_protection(branch: str) -> NotFound:
    return NotFound(f"The branch {branch} has no protection.", code="no_such_protection")


def _read_repository(path: Path) -> Repository:
    description = _Description.model_validate_json((path / REPOSITORY_FILE).read_bytes())
    return Repository(
        path=path,
        protections=_read_protections(path),
        archived=(path / ARCHIVED_FILE).exists(),
        **vars(description),
    )


def _read_protections(path: Path) -> tuple[BranchProtection, ...]:
    try:
        documents = json.loads((path / PROTECTIONS_FILE).read_bytes())
    except FileNotFoundError:
        return ()
    return tuple(BranchProtection.model_validate(document) for document in documents)


def _clear_interrupted_pushes(repository: Path) -> None:
    """Locks, drafts and received objects of processes that were killed; none runs at our start."""
    for pattern in ("*.lock", "refs/**/*.lock", ".idp-*"):
        for leftover in repository.glob(pattern):
            leftover.unlink(missing_ok=True)
    for received in repository.glob("objects/*incoming-*"):
        shutil.rmtree(received, ignore_errors=True)


def _sync_tree(root: Path) -> None:
    for directory, _, files in os.walk(root):
        for name in files:
            descriptor = os.open(Path(directory) / name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(Path(directory))
