"""Copies of the watched repositories, fetched over smart HTTP; a cache that may be lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from idp_kernel.errors import PlatformError
from local_stack.agent.manifests import MAX_FILE_BYTES, ManifestFile, Problem
from local_stack.git import Git

MANIFESTS = "manifests/"
MAX_FILES = 500
MAX_TOTAL_BYTES = 4 * 1024 * 1024
"""Of all files that are read."""
MAX_ANCESTORS = 100
FETCH_TIMEOUT_SECONDS = 30.0
GIT_CONFIGURATION = {
    "gc.auto": "0",
    "fetch.fsckObjects": "true",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "20",
    "protocol.allow": "never",
    "protocol.http.allow": "always",
    "protocol.https.allow": "always",
}


@dataclass(frozen=True)
class _Entry:
    """A line of `git ls-tree`."""

    mode: str
    revision: str
    size: int
    path: str

    @property
    def is_file(self) -> bool:
        return self.mode in ("100644", "100755")


@dataclass(frozen=True)
class Snapshot:
    """What a branch held at one moment."""

    revision: str
    ancestors: tuple[str, ...]
    """Where the branch stood before it, newest first, at most `MAX_ANCESTORS`. Commits that came
    by a merge are none of them: their dates cannot push out where the branch has been.
    """
    files: tuple[ManifestFile, ...]
    """Every `*.yaml` below `manifests/`, by path."""
    refused: tuple[Problem, ...]
    """What is below `manifests/` and is not read: links, large files, what is too much."""


class Mirrors:
    """Fetches branches and reads them. One thread at a time for each repository."""

    def __init__(self, data_dir: Path, git: Git, *, forge_url: str, forge_token: str) -> None:
        self._home = data_dir / "mirrors"
        self._git = git
        self._forge_url = forge_url.rstrip("/")
        # Reaches git in its environment, where only this account sees it.
        self._credentials = {
            f"http.{self._forge_url}/.extraHeader": f"Authorization: Bearer {forge_token}"
        }

    def fetch(self, owner: str, name: str, branch: str) -> Snapshot:
        """The branch as the forge has it now.

        After a failure the mirror is thrown away: whatever was wrong with it, the next fetch
        starts from nothing.
        """
        mirror = self._path(owner, name)
        try:
            if not mirror.exists():
                mirror.parent.mkdir(parents=True, exist_ok=True)
                self._git.run(mirror, ["init", "--quiet", "--bare", "--template="])
            self._fetch_branch(mirror, f"{self._forge_url}/{owner}/{name}.git", branch)
            return self._read(mirror, branch)
        except PlatformError:
            self.forget(owner, name)
            raise

    def forget(self, owner: str, name: str) -> None:
        """Remove the mirror, if there is one."""
        shutil.rmtree(self._path(owner, name), ignore_errors=True)

    def _path(self, owner: str, name: str) -> Path:
        return self._home / owner / f"{name}.git"

    def _fetch_branch(self, mirror: Path, url: str, branch: str) -> None:
        ref = f"refs/heads/{branch}"
        options = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"]
        self._git.run(
            mirror,
            ["fetch", *options, "--", url, f"+{ref}:{ref}"],
            configuration=self._credentials,
            timeout_seconds=FETCH_TIMEOUT_SECONDS,
        )

    def _read(self, mirror: Path, branch: str) -> Snapshot:
        selection = ["--first-parent", f"--max-count={MAX_ANCESTORS + 1}"]
        listed = self._git.run(mirror, ["rev-list", *selection, f"refs/heads/{branch}", "--"])
        revision, *ancestors = listed.line.split()
        entries = list(self._manifests(mirror, revision))
        refused = [*_refusals(entries)]
        refused_paths = {problem.path for problem in refused}
        readable = [entry for entry in entries[:MAX_FILES] if entry.path not in refused_paths]
        return Snapshot(
            revision=revision,
            ancestors=tuple(ancestors),
            files=tuple(self._contents(mirror, readable)),
            refused=tuple(refused),
        )

    def _manifests(self, mirror: Path, revision: str) -> Iterator[_Entry]:
        arguments = ["ls-tree", "-r", "-z", "-l", "--full-tree", revision, "--", MANIFESTS]
        for line in self._git.run(mirror, arguments).output.split(b"\0"):
            if not line.endswith(b".yaml"):
                continue
            facts, _, path = line.partition(b"\t")
            mode, _, revision_of_file, size = facts.decode("ascii").split()
            yield _Entry(
                mode,
                revision_of_file,
                int(size) if size.isdigit() else 0,
                path.decode("utf-8", "backslashreplace"),
            )

    def _contents(self, mirror: Path, entries: list[_Entry]) -> Iterator[ManifestFile]:
        """The files' contents, all from one process."""
        asked = "".join(f"{entry.revision}\n" for entry in entries).encode()
        answer = self._git.run(mirror, ["cat-file", "--batch"], stdin=asked).output
        position = 0
        for entry in entries:
            start = answer.index(b"\n", position) + 1
            yield ManifestFile(entry.path, answer[start : start + entry.size])
            position = start + entry.size + 1


def _refusals(entries: list[_Entry]) -> Iterator[Problem]:
    total = 0
    for entry in entries[:MAX_FILES]:
        if not entry.is_file:
            yield Problem(entry.path, "it is no plain file")
        elif entry.size > MAX_FILE_BYTES:
            yield Problem(entry.path, f"it is larger than {MAX_FILE_BYTES // 1024} KiB")
        elif total + entry.size > MAX_TOTAL_BYTES:
            limit = MAX_TOTAL_BYTES // 1024
            yield Problem(entry.path, f"with it the manifests are larger than {limit} KiB")
        else:
            total += entry.size
    if len(entries) > MAX_FILES:
        yield Problem(entries[MAX_FILES].path, f"there are more than {MAX_FILES} manifests")
