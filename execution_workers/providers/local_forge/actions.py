"""Repositories, protections and bindings at the forge: each one's do and undo, side by side."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

from execution_workers.failpoints import REPOSITORY_CREATED
from execution_workers.manifests import (
    OWNERSHIP_PATH,
    binding_manifest,
    binding_path,
    is_binding_of,
    seed_files,
)
from execution_workers.ports import Attempt, Made, Marker, Undone, foreign_owner
from execution_workers.providers.local_forge.client import ForgeClient
from execution_workers.providers.local_forge.errors import BRANCH_BUSY
from execution_workers.providers.local_forge.git import BranchCopy, Commit, Overtaken, with_trailers
from idp_kernel.errors import InvalidInput, NotAllowed, ProviderRejected
from idp_kernel.failpoints import failpoint
from idp_kernel.wire.forge import (
    BranchProtection,
    CreateForgeRepository,
    ForgeRepository,
    OwnershipMarker,
)
from idp_kernel.wire.worker import (
    AppEnvSubject,
    EffectKind,
    RepositoryWanted,
    SecretBindingWanted,
)
from idp_kernel.workflows import ProviderEvent

MOST_PUSHES = 5
"""Tries of one commit, when others push to the branch at the same time."""
_PAUSE_SECONDS = 0.1
Result = TypeVar("Result")


class LocalForge:
    """The port `GitForge` on the embedded default's forge."""

    def __init__(self, client: ForgeClient) -> None:
        self._client = client

    def repository(self, subject: AppEnvSubject, wanted: RepositoryWanted) -> RepositoryAction:
        return RepositoryAction(self._client, subject, wanted)

    def protection(
        self, subject: AppEnvSubject, wanted: RepositoryWanted, required_approvals: int
    ) -> ProtectionAction:
        return ProtectionAction(self._client, subject, wanted, required_approvals)

    def secret_bindings(
        self,
        subject: AppEnvSubject,
        repository: RepositoryWanted,
        bindings: Sequence[SecretBindingWanted],
    ) -> BindingsAction:
        return BindingsAction(self._client, subject, repository, tuple(bindings))


@dataclass(frozen=True)
class RepositoryAction:
    """A repository with its seed commit."""

    client: ForgeClient
    subject: AppEnvSubject
    repository: RepositoryWanted

    @property
    def item(self) -> str:
        return f"repository/{self.repository.repository_id}"

    @property
    def wanted(self) -> Mapping[str, object]:
        return _as_json(self.subject, repository=self.repository.model_dump(mode="json"))

    def do(self, attempt: Attempt) -> Made:
        marker = attempt.marker(self.repository.repository_id)
        found = _own_repository(self.client, self.repository, marker)
        standing = found or self._create(marker, attempt)
        failpoint(REPOSITORY_CREATED)
        revision = _pushed(self.client, self.repository, lambda copy: self._seeded(copy, attempt))
        return Made(
            references=self._references(standing, revision),
            created_by=standing.marker.request_id,
            created=found is None and _marker_of(standing.marker) == marker,
            event=_repository_event(standing, attempt),
        )

    def undo(self, attempt: Attempt) -> Undone:
        """Also keeps a repository that holds commits of other people: they are not ours to end."""
        found = self.client.repository(self.repository.owner, self.repository.name)
        if found is None:
            return Undone(EffectKind.ABSENT, {})
        references = {"name": found.name, "owner": found.owner}
        marker = attempt.marker(self.repository.repository_id)
        if _marker_of(found.marker) != marker or self._has_work_of_others(attempt):
            return Undone(EffectKind.KEPT, references)
        attempt.check_fence()
        self.client.delete_repository(self.repository.owner, self.repository.name)
        return Undone(EffectKind.UNDONE, references)

    def _create(self, marker: Marker, attempt: Attempt) -> ForgeRepository:
        wanted = CreateForgeRepository(
            owner=self.repository.owner,
            name=self.repository.name,
            description=self.repository.description,
            default_branch=self.repository.default_branch,
            marker=_wire_marker(marker),
        )
        attempt.check_fence()
        created = self.client.create_repository(wanted)
        return created or _required_repository(self.client, self.repository, marker)

    def _seeded(self, copy: BranchCopy, attempt: Attempt) -> str:
        """The seed commit, made now unless it is there; what people wrote before it stays."""
        if copy.files([OWNERSHIP_PATH]):
            return copy.last_commit([OWNERSHIP_PATH]).revision
        files = seed_files(self.subject, self.repository, attempt.installation_id)
        present = copy.files(list(files))
        missing = {path: content for path, content in files.items() if path not in present}
        message = _message(f"Describe {self.subject.application}", self.item, attempt)
        return _commit(copy, missing, message, attempt)

    def _has_work_of_others(self, attempt: Attempt) -> bool:
        remote = self.client.git(self.repository.owner, self.repository.name)
        with remote.copy(self.repository.default_branch) as copy:
            commits = copy.all_commits()
        return any(commit.installation_id != attempt.installation_id for commit in commits)

    def _references(self, standing: ForgeRepository, revision: str) -> dict[str, str | int]:
        return {
            "repositoryId": self.repository.repository_id,
            "name": standing.name,
            "owner": standing.owner,
            "url": standing.clone_url,
            "revision": revision,
        }


@dataclass(frozen=True)
class ProtectionAction:
    """The protection of a repository's default branch; the forge exempts the platform's bot."""

    client: ForgeClient
    subject: AppEnvSubject
    repository: RepositoryWanted
    required_approvals: int

    @property
    def item(self) -> str:
        return f"protection/{self.repository.repository_id}"

    @property
    def wanted(self) -> Mapping[str, object]:
        repository = self.repository.model_dump(mode="json")
        return _as_json(self.subject, repository=repository, approvals=self.required_approvals)

    def do(self, attempt: Attempt) -> Made:
        marker = attempt.marker(self.repository.repository_id)
        found = self._found(_required_repository(self.client, self.repository, marker))
        if found is not None and not _marker_of(found.marker).is_of_same_entity(marker):
            raise foreign_owner(self.client.calls.provider, f"a protection of {found.branch}")
        changed = found is None or found.required_approvals != self.required_approvals
        created_by = found.marker if found is not None else _wire_marker(marker)
        if changed:
            self._protect(created_by, attempt)
        is_told = changed or created_by.request_id == attempt.request_id
        return Made(
            references={"branch": self.repository.default_branch},
            created_by=created_by.request_id,
            created=found is None,
            event=ProviderEvent.GIT_BRANCH_PROTECTION_APPLIED if is_told else None,
        )

    def undo(self, attempt: Attempt) -> Undone:
        repository = self.client.repository(self.repository.owner, self.repository.name)
        found = self._found(repository)
        if found is None:
            return Undone(EffectKind.ABSENT, {})
        references = {"branch": found.branch}
        if _marker_of(found.marker) != attempt.marker(self.repository.repository_id):
            return Undone(EffectKind.KEPT, references)
        attempt.check_fence()
        self.client.unprotect(self.repository.owner, self.repository.name, found.branch)
        return Undone(EffectKind.UNDONE, references)

    def _found(self, repository: ForgeRepository | None) -> BranchProtection | None:
        protections = () if repository is None else repository.protections
        branch = self.repository.default_branch
        return next((each for each in protections if each.branch == branch), None)

    def _protect(self, marker: OwnershipMarker, attempt: Attempt) -> None:
        """A changed protection keeps the marker of who made it."""
        protection = BranchProtection(
            branch=self.repository.default_branch,
            required_approvals=self.required_approvals,
            marker=marker,
        )
        attempt.check_fence()
        self.client.protect(self.repository.owner, self.repository.name, protection)


@dataclass(frozen=True)
class BindingsAction:
    """All secret bindings of an application environment, in one commit on the default branch."""

    client: ForgeClient
    subject: AppEnvSubject
    repository: RepositoryWanted
    bindings: tuple[SecretBindingWanted, ...]

    def __post_init__(self) -> None:
        _require_bindable(self.subject, self.bindings)

    @property
    def item(self) -> str:
        return f"bindings/{self.subject.application_environment_id}"

    @property
    def wanted(self) -> Mapping[str, object]:
        return _as_json(
            self.subject,
            repository=self.repository.model_dump(mode="json"),
            bindings=[binding.model_dump(mode="json") for binding in self.bindings],
        )

    def do(self, attempt: Attempt) -> Made:
        marker = attempt.marker(self.repository.repository_id)
        _required_repository(self.client, self.repository, marker)
        return _pushed(self.client, self.repository, lambda copy: self._bound(copy, attempt))

    def undo(self, attempt: Attempt) -> Undone:
        """A commit that removes the manifests which this request added and nobody changed."""
        if self.client.repository(self.repository.owner, self.repository.name) is None:
            return Undone(EffectKind.ABSENT, {})
        return _pushed(self.client, self.repository, lambda copy: self._unbound(copy, attempt))

    def _bound(self, copy: BranchCopy, attempt: Attempt) -> Made:
        if copy.head is None:
            raise _missing(self.client, f"{self._name} has no commit yet")
        contents = self._contents(attempt)
        present = copy.files(list(contents))
        changed = {
            path: content
            for path, content in contents.items()
            if present.get(path) != copy.content_id(content)
        }
        if not changed:
            return self._adopted(copy.last_commit(list(contents)), attempt)
        self._require_ours(
            copy, {path: present[path] for path in changed if path in present}, attempt
        )
        message = _message(f"Bind {_count(changed)} of {self._name}", self.item, attempt)
        return Made(
            references={"revision": _commit(copy, changed, message, attempt)},
            created_by=attempt.request_id,
            created=True,
            event=ProviderEvent.GIT_SECRET_BINDINGS_COMMITTED,
        )

    def _adopted(self, commit: Commit, attempt: Attempt) -> Made:
        is_ours = commit.installation_id == attempt.installation_id and commit.entity == self.item
        is_this_requests = is_ours and commit.request_id == attempt.request_id
        return Made(
            references={"revision": commit.revision},
            created_by=commit.request_id if is_ours else "",
            created=False,
            event=ProviderEvent.GIT_SECRET_BINDINGS_COMMITTED if is_this_requests else None,
        )

    def _unbound(self, copy: BranchCopy, attempt: Attempt) -> Undone:
        contents = self._contents(attempt)
        present = copy.files(list(contents))
        if not present:
            return Undone(EffectKind.ABSENT, {})
        removable = [path for path in present if self._is_added_by(copy, path, contents, attempt)]
        if not removable:
            return Undone(EffectKind.KEPT, {})
        message = _message(f"Unbind {_count(removable)} of {self._name}", self.item, attempt)
        attempt.check_fence()
        revision = copy.commit(dict.fromkeys(removable), message)
        copy.push(revision)
        return Undone(EffectKind.UNDONE, {"revision": revision})

    def _is_added_by(
        self, copy: BranchCopy, path: str, contents: Mapping[str, bytes], attempt: Attempt
    ) -> bool:
        """Whether this request's own commit brought the file, and it is unchanged since."""
        if copy.files([path])[path] != copy.content_id(contents[path]):
            return False
        commit = copy.last_commit([path])
        of_this_request = Commit(
            commit.revision, attempt.installation_id, self.item, attempt.request_id
        )
        if commit != of_this_request:
            return False
        parent = copy.parent(commit.revision)
        return parent is None or not copy.files([path], parent)

    def _require_ours(self, copy: BranchCopy, present: Mapping[str, str], attempt: Attempt) -> None:
        """A managed path that holds another one's manifest is not overwritten."""
        by_path = {binding_path(binding): binding for binding in self.bindings}
        for path, content_id in present.items():
            content = copy.content(content_id)
            installation = attempt.installation_id
            if content is None or not is_binding_of(content, by_path[path], installation):
                raise foreign_owner(self.client.calls.provider, f"{path} in {self._name}")

    def _contents(self, attempt: Attempt) -> dict[str, bytes]:
        return {
            binding_path(binding): binding_manifest(self.subject, binding, attempt.installation_id)
            for binding in self.bindings
        }

    @property
    def _name(self) -> str:
        return f"{self.repository.owner}/{self.repository.name}"


def _pushed(
    client: ForgeClient, repository: RepositoryWanted, work: Callable[[BranchCopy], Result]
) -> Result:
    """What `work` answers on a fresh copy of the branch; again after others were faster."""
    with client.git(repository.owner, repository.name).copy(repository.default_branch) as copy:
        for number in range(MOST_PUSHES):
            try:
                return work(copy)
            except Overtaken:
                # Jitter, not cryptography: two workers that collided shall not collide again.
                time.sleep(random.uniform(0, _PAUSE_SECONDS * (number + 1)))  # noqa: S311
                copy.fetch()
    raise BRANCH_BUSY.of(
        client.calls.provider, "git push", f"others pushed first {MOST_PUSHES} times"
    )


def _commit(copy: BranchCopy, contents: Mapping[str, bytes], message: str, attempt: Attempt) -> str:
    """Commits and pushes the files; the new revision.

    Raises `foreign_owner` where a file or link of somebody's stands in the place of a folder: git
    would silently put the folder there instead.
    """
    in_the_way = copy.files(_folders_of(contents))
    if in_the_way:
        places = ", ".join(sorted(in_the_way))
        raise foreign_owner(copy.provider, f"no folder but a file at {places}")
    changes = {path: copy.content_id(content) for path, content in contents.items()}
    attempt.check_fence()
    revision = copy.commit(changes, message)
    copy.push(revision)
    return revision


def _folders_of(paths: Iterable[str]) -> list[str]:
    folders = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
    return sorted(folders - {"."})


def _own_repository(
    client: ForgeClient, wanted: RepositoryWanted, marker: Marker
) -> ForgeRepository | None:
    """The entity's repository, None when it is not there; a foreign one is refused."""
    found = client.repository(wanted.owner, wanted.name)
    if found is not None and not _marker_of(found.marker).is_of_same_entity(marker):
        raise foreign_owner(client.calls.provider, f"a repository {wanted.owner}/{wanted.name}")
    return found


def _required_repository(
    client: ForgeClient, wanted: RepositoryWanted, marker: Marker
) -> ForgeRepository:
    found = _own_repository(client, wanted, marker)
    if found is None:
        raise _missing(client, f"there is no repository {wanted.owner}/{wanted.name}")
    return found


def _missing(client: ForgeClient, found: str) -> ProviderRejected:
    return ProviderRejected(
        f"{client.calls.provider}: {found}. Provision the environment again from its first step.",
        code="repository_missing",
    )


def _require_bindable(subject: AppEnvSubject, bindings: Sequence[SecretBindingWanted]) -> None:
    names = [binding.name for binding in bindings]
    if len(set(names)) != len(names):
        raise InvalidInput("Two bindings have the same name.", code="duplicate_binding")
    own_path = re.compile(rf"teams/{re.escape(subject.team)}(/[a-z0-9][a-z0-9-]*)+")
    for binding in bindings:
        if not own_path.fullmatch(binding.store_path):
            raise NotAllowed(
                f"The binding {binding.name} leads to a secret outside of team {subject.team}.",
                code="foreign_team",
            )


def _repository_event(standing: ForgeRepository, attempt: Attempt) -> ProviderEvent:
    if standing.marker.request_id == attempt.request_id:
        return ProviderEvent.GIT_REPOSITORY_CREATED
    return ProviderEvent.GIT_REPOSITORY_ADOPTED


def _message(subject: str, entity: str, attempt: Attempt) -> str:
    return with_trailers(
        subject,
        installation_id=attempt.installation_id,
        entity=entity,
        request_id=attempt.request_id,
    )


def _count(paths: Mapping[str, object] | Sequence[str]) -> str:
    return "1 secret" if len(paths) == 1 else f"{len(paths)} secrets"


def _as_json(subject: AppEnvSubject, **wanted: object) -> dict[str, object]:
    return {"subject": subject.model_dump(mode="json"), **wanted}


def _marker_of(marker: OwnershipMarker) -> Marker:
    return Marker(marker.installation_id, marker.entity_id, marker.request_id)


def _wire_marker(marker: Marker) -> OwnershipMarker:
    return OwnershipMarker(
        installation_id=marker.installation_id,
        entity_id=marker.entity_id,
        request_id=marker.request_id,
    )
