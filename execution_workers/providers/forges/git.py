"""Commits without a work tree: a temporary bare copy of one branch, new files, a push.

There is no checkout, so nothing a repository contains (links, attributes, filters, hooks) has any
effect here. The whole history of the branch is fetched, since "which commit has these files last"
needs it, and nothing of other branches; manifests are small. The token reaches git through its
environment only, for the forge's own address only.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from execution_workers.credentials import SecretFile
from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.forges.folders import private_folder
from execution_workers.providers.forges.git_errors import (
    GIT_TIMEOUT,
    is_overtaken,
    is_without_branch,
    of_git,
    of_own_branch,
)
from idp_kernel.telemetry.traces import current_traceparent

COMMITTER_NAME = "IDP execution-workers"
COMMITTER_EMAIL = "execution-workers@idp.invalid"
INSTALLATION_TRAILER, ENTITY_TRAILER, REQUEST_TRAILER = (
    "Idp-Installation",
    "Idp-Entity",
    "Idp-Request",
)
_TRAILERS = (INSTALLATION_TRAILER, ENTITY_TRAILER, REQUEST_TRAILER)
"""In the order of the fields of `Commit`."""
LARGEST_FILE_READ_BYTES = 256 * 1024
_FILE_MODE = "100644"
_NO_OBJECT = "0" * 40
_OF_A_MERGE = ("the branch", "what was merged")
"""Parents."""
_FIELD = "\x1f"


Authorization = Callable[[], str]
"""Gives the value of the header, each time anew: a credential may be replaced meanwhile."""


class Overtaken(Exception):
    """The branch moved between reading and pushing; says how git told."""


class NoSuchBranch(Exception):
    """The repository has no such branch; says how git told."""


class Proposed(Exception):
    """A commit on a branch that takes it by a pull request alone."""

    def __init__(self, revision: str) -> None:
        super().__init__(revision)
        self.revision = revision


@dataclass(frozen=True)
class Commit:
    """A commit and what its trailers say."""

    revision: str
    installation_id: str
    entity: str
    request_id: str


@dataclass(frozen=True)
class GitRemote:
    """One repository of the forge, as git reaches it."""

    url: str
    authorization: Authorization
    calls: ProviderCalls
    timeout_seconds: float
    ca_file: Path | None = None
    """The authorities that vouch for the forge, as PEM; the well-known ones without it."""

    @contextmanager
    def copy(self, branch: str, *, proposes: bool = False) -> Iterator[BranchCopy]:
        """The branch as it is now, in a private folder that is gone after the block; one that
        `proposes` raises `Proposed` instead of a push, once the branch has commits.
        """
        with private_folder() as folder:
            copy = BranchCopy(folder, self, branch, proposes=proposes)
            copy.fetch()
            yield copy

    def run(
        self,
        folder: Path,
        arguments: Sequence[str],
        *,
        stdin: bytes = b"",
        variables: Mapping[str, str] | None = None,
        talks_to_forge: bool = False,
    ) -> bytes:
        """The output of `git <arguments>`; another end than success raises by the error table."""
        environment = {**self._environment(talks_to_forge=talks_to_forge), **(variables or {})}
        with subprocess.Popen(
            ["git", f"--git-dir={folder / 'copy.git'}", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            output, errors = self._communicate(process, stdin, arguments[0])
        if process.returncode == 0:
            return output
        said = errors.decode("utf-8", "replace")
        if arguments[0] == "push" and is_overtaken(said):
            raise Overtaken(said)
        if arguments[0] == "fetch" and is_without_branch(said):
            raise NoSuchBranch(said)
        raise of_git(said).of(self.calls.provider, f"git {arguments[0]}", said)

    def _communicate(
        self, process: subprocess.Popen[bytes], stdin: bytes, command: str
    ) -> tuple[bytes, bytes]:
        try:
            return process.communicate(stdin, timeout=self.timeout_seconds)
        except subprocess.TimeoutExpired as error:
            found = f"no end within {self.timeout_seconds:g} s"
            raise GIT_TIMEOUT.of(self.calls.provider, f"git {command}", found) from error
        finally:
            _end_group(process)

    def _environment(self, *, talks_to_forge: bool) -> dict[str, str]:
        configuration = {
            "core.hooksPath": os.devnull,
            "maintenance.auto": "false",
            "protocol.allow": "never",
            "protocol.http.allow": "always",
            "protocol.https.allow": "always",
            "http.followRedirects": "false",
        }
        if self.ca_file is not None:
            configuration["http.sslCAInfo"] = str(self.ca_file)
        if talks_to_forge:
            # Before the token: git passes over what is less specific than what it has.
            if (traceparent := current_traceparent()) is not None:
                configuration["http.extraHeader"] = f"traceparent: {traceparent}"
            configuration[f"http.{self.url}.extraHeader"] = f"Authorization: {self.authorization()}"
        return {**_BARE_ENVIRONMENT, **_as_variables(configuration)}


class BranchCopy:
    """A branch of a repository in a temporary bare repository; for one thread."""

    def __init__(
        self, folder: Path, remote: GitRemote, branch: str, *, proposes: bool = False
    ) -> None:
        self._proposes = proposes
        self._folder = folder
        self._remote = remote
        self._ref = _ref(branch)
        self._head: str | None = None
        self._git("init", "--quiet", "--bare", "--template=", str(folder / "copy.git"))

    @property
    def provider(self) -> str:
        return self._remote.calls.provider

    @property
    def head(self) -> str | None:
        """The branch's newest commit; None while it has none."""
        return self._head

    def fetch(self) -> None:
        """Reads the branch again, and no other: somebody's may be large."""
        try:
            with self._remote.calls.calling("git fetch"):
                self._fetch(self._ref)
        except NoSuchBranch:
            self._head = None
        else:
            self._head = self._git("rev-parse", "--verify", self._ref).decode().strip()

    def files(self, paths: Sequence[str], revision: str | None = None) -> dict[str, str]:
        """Which of the paths are files there, each with the id of its content."""
        found = self._entries(paths, revision or self._head)
        return {path: name for path, (kind, name) in found.items() if kind == "blob"}

    def in_the_way(self, paths: Sequence[str], folders: Sequence[str]) -> list[str]:
        """Where git would silently put a file or a folder of these in the place of what somebody
        has there: a submodule, or a file where a folder shall be.
        """
        found = self._entries([*paths, *folders], self._head)
        return sorted(
            path
            for path, (kind, _) in found.items()
            if kind == "commit" or (kind == "blob" and path in folders)
        )

    def _entries(self, paths: Sequence[str], at: str | None) -> dict[str, tuple[str, str]]:
        """By path, which kind of thing stands there, and its id."""
        if at is None or not paths:
            return {}
        listed = self._git("ls-tree", "-z", "--full-tree", at, "--", *paths)
        entries = listed.decode("utf-8", "surrogateescape").split("\0")
        pairs = (entry.split("\t", 1) for entry in entries if entry)
        found = {path: facts.split(" ") for facts, path in pairs if path in paths}
        return {path: (kind, name) for path, (_, kind, name) in found.items()}

    def content(self, content_id: str) -> bytes | None:
        """The content; None when it is larger than anything the platform writes."""
        if int(self._git("cat-file", "-s", content_id)) > LARGEST_FILE_READ_BYTES:
            return None
        return self._git("cat-file", "blob", content_id)

    def content_id(self, content: bytes) -> str:
        """The id that the content has in any repository; keeps it for a commit."""
        return self._git("hash-object", "-w", "--stdin", stdin=content).decode().strip()

    def last_commit(self, paths: Sequence[str]) -> Commit:
        """The newest commit of the branch that changed one of the paths, which are there; the
        newest of all for no path.

        What came by a merge has the merge's revision: that is when the branch got it.
        """
        found = self._log("-1", "--first-parent", str(self._head), "--", *paths)
        return self._of_the_merged(found[0], paths)

    def last_change(self, path: str) -> Commit | None:
        """The newest commit of the branch that changed the path, or removed it; None when none
        ever did.
        """
        if self._head is None:
            return None
        found = self._log("-1", "--first-parent", self._head, "--", path)
        return self._of_the_merged(found[0], [path]) if found else None

    def parent(self, revision: str) -> str | None:
        """The first parent; None for the first commit."""
        listed = self._git("rev-list", "--parents", "-1", revision).decode().split()
        return listed[1] if len(listed) > 1 else None

    def is_followed_by(self, revision: str, later: str) -> bool:
        """Whether the branch has `later`, and that is or descends from `revision`."""
        of_branch = self._git("rev-list", str(self._head)).decode().split() if self._head else []
        if not {revision, later} <= set(of_branch):
            return False
        return not self._git("rev-list", "--max-count=1", revision, f"^{later}")

    def all_commits(self) -> list[Commit]:
        """Every commit of every branch, newest first, without the merges that bring nothing of
        their own; fetches them all for it.
        """
        with self._remote.calls.calling("git fetch"):
            self._fetch("refs/heads/*")
        mere = self._mere_merges()
        return [each for each in self._log("--branches") if each.revision not in mere]

    def _mere_merges(self) -> set[str]:
        """Those of two parents in which each change is of one of these."""
        two_parents = ("--branches", "--min-parents=2", "--max-parents=2")
        shown = self._git("log", "--format=%x1f%H", "--cc", *two_parents).decode("utf-8", "replace")
        # A line of a file has its kind in front, so that none begins an entry.
        entries = (entry.partition("\n") for entry in re.split("(?m)^\x1f", shown)[1:])
        return {revision for revision, _, changes in entries if not changes.strip()}

    def commit(self, changes: Mapping[str, str | None], message: str) -> str:
        """A commit on the head that sets each path to a content id, or removes it for None."""
        index = {"GIT_INDEX_FILE": str(self._folder / "index")}
        tree = ["--empty"] if self._head is None else [self._head]
        self._git("read-tree", *tree, variables=index)
        lines = "".join(_index_line(path, changes[path]) for path in sorted(changes))
        self._git("update-index", "-z", "--index-info", stdin=lines.encode(), variables=index)
        written = self._git("write-tree", variables=index).decode().strip()
        parents = [] if self._head is None else ["-p", self._head]
        made = self._git("commit-tree", written, *parents, "-F", "-", stdin=message.encode())
        return made.decode().strip()

    def push(self, revision: str) -> None:
        """Moves the forge's branch forward; raises `Overtaken` when it has moved meanwhile."""
        if self._proposes and self._head is not None:
            raise Proposed(revision)
        with self._remote.calls.calling("git push"):
            self._git_with_token("push", "--quiet", self._remote.url, f"{revision}:{self._ref}")
        self._head = revision

    def message(self, revision: str) -> str:
        """Of the commit, with its trailers."""
        return self._git("log", "-1", "--format=%B", revision).decode()

    def push_beside(self, revision: str, branch: str) -> None:
        """Puts the commit onto a branch of the platform's own, whatever that had."""
        self._push_beside(f"+{revision}", branch)

    def beside(self, branches: Sequence[str]) -> list[str]:
        """Which of these branches the forge has now."""
        refs = {_ref(branch): branch for branch in branches}
        with self._remote.calls.calling("git fetch"):
            listed = self._git_with_token("ls-remote", "--heads", self._remote.url, *refs)
        there = set(listed.decode("utf-8", "surrogateescape").split())
        return [branch for ref, branch in refs.items() if ref in there]

    def remove_beside(self, branch: str) -> None:
        """Removes a branch of the platform's own, and with that its pull request."""
        self._push_beside("", branch)

    def _push_beside(self, what: str, branch: str) -> None:
        """Raises by the error table what a branch that nobody else pushes to should not meet."""
        try:
            with self._remote.calls.calling("git push"):
                self._git_with_token("push", "--quiet", self._remote.url, f"{what}:{_ref(branch)}")
        except Overtaken as overtaken:
            found = f"branch {branch}: {overtaken}"
            raise of_own_branch(found).of(self.provider, "git push", found) from None

    def _of_the_merged(self, commit: Commit, paths: Sequence[str]) -> Commit:
        """A merge that a person made says nothing of the platform; what it merged may, by the
        newest commit there that changed one of the paths.
        """
        if commit.installation_id:
            return commit
        parents = self._git("rev-list", "--parents", "-1", commit.revision).decode().split()[1:]
        if len(parents) != len(_OF_A_MERGE):
            return commit
        merged = self._log("-1", parents[1], "--", *paths)
        return replace(merged[0], revision=commit.revision) if merged else commit

    def _log(self, *selection: str) -> list[Commit]:
        fields = [f"%(trailers:key={key},valueonly,separator=%x2C)" for key in _TRAILERS]
        layout = "%x1f".join(["%H", *fields])
        listed = self._git("log", f"--format={layout}", "-z", *selection).decode("utf-8", "replace")
        return [_commit_of(entry) for entry in listed.split("\0") if entry]

    def _fetch(self, refs: str) -> None:
        self._git_with_token(
            "fetch", "--quiet", "--prune", "--no-tags", self._remote.url, f"+{refs}:{refs}"
        )

    def _git(
        self, *arguments: str, stdin: bytes = b"", variables: Mapping[str, str] | None = None
    ) -> bytes:
        return self._remote.run(self._folder, arguments, stdin=stdin, variables=variables)

    def _git_with_token(self, *arguments: str) -> bytes:
        return self._remote.run(self._folder, arguments, talks_to_forge=True)


def _ref(branch: str) -> str:
    return f"refs/heads/{branch}"


def bearer(token: SecretFile) -> Authorization:
    """The token as it is, for forges that take it so."""
    return lambda: f"Bearer {token.read()}"


def basic(user: str, token: Callable[[], str]) -> Authorization:
    """The token as the user's password, which is how git itself would send it."""
    return lambda: f"Basic {b64encode(f'{user}:{token()}'.encode()).decode()}"


_BARE_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": COMMITTER_NAME,
    "GIT_AUTHOR_EMAIL": COMMITTER_EMAIL,
    "GIT_COMMITTER_NAME": COMMITTER_NAME,
    "GIT_COMMITTER_EMAIL": COMMITTER_EMAIL,
}


def _as_variables(configuration: Mapping[str, str]) -> dict[str, str]:
    variables = {"GIT_CONFIG_COUNT": str(len(configuration))}
    for index, (key, value) in enumerate(configuration.items()):
        variables[f"GIT_CONFIG_KEY_{index}"] = key
        variables[f"GIT_CONFIG_VALUE_{index}"] = value
    return variables


def _commit_of(entry: str) -> Commit:
    """The commit of an entry of the log; trailers that hold our separator are none of ours."""
    revision, *trailers = entry.split(_FIELD)
    if len(trailers) != len(_TRAILERS):
        return Commit(revision, "", "", "")
    return Commit(revision, *trailers)


def _index_line(path: str, content_id: str | None) -> str:
    mode = "0" if content_id is None else _FILE_MODE
    return f"{mode} {content_id or _NO_OBJECT}\t{path}\0"


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """The children of git, such as its HTTP transport, end with it, whatever they wait for."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def with_trailers(subject: str, *, installation_id: str, entity: str, request_id: str) -> str:
    """A commit message that says who made the commit, for which entity and request."""
    trailers = {
        REQUEST_TRAILER: request_id,
        ENTITY_TRAILER: entity,
        INSTALLATION_TRAILER: installation_id,
    }
    lines = "\n".join(f"{key}: {value}" for key, value in trailers.items())
    return f"{_one_line(subject)}\n\n{lines}\n"


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
