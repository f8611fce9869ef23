"""The first files of a repository, in one commit; what people wrote before it stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from execution_workers.manifests import OWNERSHIP_PATH, is_ownership_of
from execution_workers.ports import Attempt, Made, Undone, foreign_owner
from execution_workers.providers.forges.git import BranchCopy, Commit
from execution_workers.providers.forges.host import ForgeHost
from execution_workers.providers.forges.pushes import (
    commit_message,
    committed,
    has_added,
    has_work_of_others,
    is_of,
    pushed,
    removed,
    withdraw,
)
from execution_workers.providers.forges.standing import as_json, required_repository
from execution_workers.seeds import application_seed_files
from idp_kernel.wire.worker import EffectKind, RepositoryWanted, SeedRepositories
from idp_kernel.workflows import ProviderEvent


@dataclass(frozen=True)
class Seed:
    """Files that a repository begins with."""

    host: ForgeHost
    repository: RepositoryWanted
    application: str
    entity: str
    """In the commit's trailers."""
    files: Mapping[str, bytes]

    def do(self, attempt: Attempt) -> tuple[Commit, bool]:
        """The commit that has them, and whether it was made now since they were not there."""
        return pushed(
            self.host,
            self.repository,
            lambda copy: self._seeded(copy, attempt),
            topic=self.entity,
            attempt=attempt,
        )

    def undo(self, attempt: Attempt) -> Undone:
        """A commit that removes what this request's own brought and nobody changed since."""
        withdraw(self.host, self.repository, self.entity, attempt)
        return pushed(
            self.host,
            self.repository,
            lambda copy: self._unseeded(copy, attempt),
            topic=f"undo/{self.entity}",
            attempt=attempt,
        )

    def _seeded(self, copy: BranchCopy, attempt: Attempt) -> tuple[Commit, bool]:
        standing = copy.files([OWNERSHIP_PATH]).get(OWNERSHIP_PATH)
        if standing is not None:
            self._require_own(copy.content(standing), attempt)
            return copy.last_commit([OWNERSHIP_PATH]), False
        present = copy.files(list(self.files))
        added = {path: content for path, content in self.files.items() if path not in present}
        message = commit_message(f"Describe {self.application}", self.entity, attempt)
        revision = committed(copy, added, message, attempt)
        commit = Commit(revision, attempt.installation_id, self.entity, attempt.request_id)
        return commit, True

    def _unseeded(self, copy: BranchCopy, attempt: Attempt) -> Undone:
        present = copy.files(list(self.files))
        if OWNERSHIP_PATH not in present:
            return Undone(EffectKind.ABSENT, {})
        removable = [
            path
            for path in present
            if has_added(copy, path, self.files[path], self.entity, attempt)
        ]
        if OWNERSHIP_PATH not in removable:
            return Undone(EffectKind.KEPT, {})
        message = commit_message(f"Describe {self.application} no more", self.entity, attempt)
        revision = removed(copy, removable, message, attempt)
        return Undone(EffectKind.UNDONE, {"revision": revision})

    def _require_own(self, content: bytes | None, attempt: Attempt) -> None:
        installation = attempt.installation_id
        if content is None or not is_ownership_of(content, self.repository, installation):
            name = self.host.full_name(self.repository)
            raise foreign_owner(self.host.provider, f"another's {OWNERSHIP_PATH} in {name}")


@dataclass(frozen=True)
class SeedAction:
    """The first commit of an application's own repository."""

    host: ForgeHost
    body: SeedRepositories
    repository: RepositoryWanted

    @property
    def item(self) -> str:
        return f"seed/{self.repository.repository_id}"

    @property
    def locks(self) -> tuple[str]:
        return (self.item,)

    @property
    def wanted(self) -> Mapping[str, object]:
        return as_json(
            self.body.subject,
            description=self.body.description,
            repository=self.repository.model_dump(mode="json"),
        )

    def do(self, attempt: Attempt) -> Made:
        marker = attempt.marker(self.repository.repository_id)
        required_repository(self.host, self.repository, marker)
        commit, created = self._seed(attempt).do(attempt)
        is_ours = is_of(commit, self.item, attempt)
        is_this_requests = is_ours and commit.request_id == attempt.request_id
        return Made(
            references={
                "repositoryId": self.repository.repository_id,
                "revision": commit.revision,
            },
            created_by=commit.request_id if is_ours else "",
            created=created,
            event=ProviderEvent.GIT_REPOSITORY_SEEDED if is_this_requests else None,
        )

    def undo(self, attempt: Attempt) -> Undone:
        """Also keeps it where the repository is kept for the commits of other people."""
        if self.host.find(self.repository) is None:
            return Undone(EffectKind.ABSENT, {})
        if has_work_of_others(self.host, self.repository, attempt):
            return Undone(EffectKind.KEPT, {})
        return self._seed(attempt).undo(attempt)

    def _seed(self, attempt: Attempt) -> Seed:
        application, team = self.body.subject.application, self.body.subject.team
        files = application_seed_files(
            self.body,
            self.repository,
            attempt.installation_id,
            code_owners=self.host.code_owners(team),
        )
        return Seed(self.host, self.repository, application, self.item, files)
