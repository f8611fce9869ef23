"""Repositories, their end and the protection of their branches: do and undo side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from execution_workers.failpoints import REPOSITORY_CREATED
from execution_workers.manifests import seed_files
from execution_workers.ports import Attempt, Made, Marker, Undone, foreign_owner
from execution_workers.providers.forges.host import ForgeHost, HostedProtection, HostedRepository
from execution_workers.providers.forges.pushes import has_work_of_others
from execution_workers.providers.forges.seeding import Seed
from execution_workers.providers.forges.standing import (
    as_json,
    own_repository,
    require_default_branch,
    require_unarchived,
    required_repository,
)
from idp_kernel.failpoints import failpoint
from idp_kernel.wire.worker import AppEnvSubject, EffectKind, RepositoryWanted, Subject
from idp_kernel.workflows import ProviderEvent

_OWN_PROTECTION = {
    True: "A protection of the platform's own names it among those who may push.",
    False: "A protection of the platform's own lets nobody else push.",
}
"""How one is told from others, by whether the platform pushes past it."""


@dataclass(frozen=True)
class RepositoryAction:
    """A repository; that of an application environment with its seed commit."""

    host: ForgeHost
    subject: Subject
    repository: RepositoryWanted
    may_create: bool = True
    """Else it has to be there."""

    @property
    def item(self) -> str:
        return f"repository/{self.repository.repository_id}"

    @property
    def locks(self) -> tuple[str]:
        return (self.item,)

    @property
    def wanted(self) -> Mapping[str, object]:
        return as_json(self.subject, repository=self.repository.model_dump(mode="json"))

    def do(self, attempt: Attempt) -> Made:
        marker = attempt.marker(self.repository.repository_id)
        found = own_repository(self.host, self.repository, marker)
        standing = found or self._create(marker, attempt)
        require_unarchived(self.host, self.repository, standing)
        require_default_branch(self.host, self.repository, standing)
        self.host.let_team_in(self.repository, attempt)
        return Made(
            references={**self._references(standing), **self._seed(attempt)},
            created_by=standing.marker.request_id,
            created=found is None and standing.marker == marker,
            event=_repository_event(standing, attempt),
        )

    def undo(self, attempt: Attempt) -> Undone:
        """Also keeps a repository that holds commits of other people."""
        found = self.host.find(self.repository)
        if found is None:
            return Undone(EffectKind.ABSENT, {})
        references = {"name": found.name, "owner": found.owner}
        is_ours = found.marker == attempt.marker(self.repository.repository_id)
        if not is_ours or has_work_of_others(self.host, self.repository, attempt):
            return Undone(EffectKind.KEPT, references)
        self.host.delete(self.repository, attempt)
        return Undone(EffectKind.UNDONE, references)

    def _create(self, marker: Marker, attempt: Attempt) -> HostedRepository:
        if not self.may_create:
            return required_repository(self.host, self.repository, marker)
        created = self.host.create(self.repository, attempt)
        return created or required_repository(self.host, self.repository, marker)

    def _seed(self, attempt: Attempt) -> dict[str, str]:
        """The reference of the seed commit, where this call makes one."""
        if not isinstance(self.subject, AppEnvSubject):
            return {}
        failpoint(REPOSITORY_CREATED)
        files = seed_files(
            self.subject,
            self.repository,
            attempt.installation_id,
            code_owners=self.host.code_owners(self.subject.team),
        )
        seed = Seed(self.host, self.repository, self.subject.application, self.item, files)
        commit, _ = seed.do(attempt)
        return {"revision": commit.revision}

    def _references(self, standing: HostedRepository) -> dict[str, str | int]:
        return {
            "repositoryId": self.repository.repository_id,
            "name": standing.name,
            "owner": standing.owner,
            "url": standing.url,
        }


@dataclass(frozen=True)
class ArchiveAction:
    """A repository that takes no more commits; for good, and with all that people put there."""

    host: ForgeHost
    subject: Subject
    repository: RepositoryWanted

    @property
    def item(self) -> str:
        return f"archive/{self.repository.repository_id}"

    @property
    def locks(self) -> tuple[str]:
        return (self.item,)

    @property
    def wanted(self) -> Mapping[str, object]:
        return as_json(self.subject, repository=self.repository.model_dump(mode="json"))

    def do(self, attempt: Attempt) -> Made:
        """Each request that sees it archived tells it: the forge does not say who did it."""
        marker = attempt.marker(self.repository.repository_id)
        found = own_repository(self.host, self.repository, marker)
        if found is None:
            return Made(references={}, created_by="", created=False)
        if not found.is_archived:
            self.host.archive(self.repository, attempt)
        return Made(
            references={"name": found.name, "owner": found.owner},
            created_by=attempt.request_id,
            created=not found.is_archived,
            event=ProviderEvent.GIT_REPOSITORY_ARCHIVED,
        )


@dataclass(frozen=True)
class ProtectionAction:
    """The protection of a repository's default branch."""

    host: ForgeHost
    subject: Subject
    repository: RepositoryWanted
    required_approvals: int

    @property
    def item(self) -> str:
        return f"protection/{self.repository.repository_id}"

    @property
    def locks(self) -> tuple[str]:
        return (self.item,)

    @property
    def wanted(self) -> Mapping[str, object]:
        repository = self.repository.model_dump(mode="json")
        return as_json(self.subject, repository=repository, approvals=self.required_approvals)

    def do(self, attempt: Attempt) -> Made:
        """A changed protection keeps the marker of who made it."""
        marker = attempt.marker(self.repository.repository_id)
        found = required_repository(self.host, self.repository, marker).protection()
        if found is not None and not found.marker.is_of_same_entity(marker):
            raise foreign_owner(
                self.host.provider,
                f"a protection of {found.branch} of {self.host.full_name(self.repository)}",
                otherwise=_OWN_PROTECTION[self.host.by_pull_request is None],
            )
        changed = found is None or not self._is_as_wanted(found)
        created_by = found.marker if found is not None else marker
        if changed:
            self.host.protect(self.repository, self.required_approvals, created_by, attempt)
        is_told = changed or created_by.request_id == attempt.request_id
        return Made(
            references={"branch": self.repository.default_branch},
            created_by=created_by.request_id,
            created=found is None,
            event=ProviderEvent.GIT_BRANCH_PROTECTION_APPLIED if is_told else None,
        )

    def undo(self, attempt: Attempt) -> Undone:
        """Also keeps it where the repository is kept for the commits of other people."""
        repository = self.host.find(self.repository)
        found = None if repository is None else repository.protection()
        if found is None:
            self._forget_mark(repository, attempt)
            return Undone(EffectKind.ABSENT, {})
        references = {"branch": found.branch}
        is_ours = found.marker == attempt.marker(self.repository.repository_id)
        if not is_ours or has_work_of_others(self.host, self.repository, attempt):
            return Undone(EffectKind.KEPT, references)
        self.host.unprotect(self.repository, attempt)
        return Undone(EffectKind.UNDONE, references)

    def _forget_mark(self, repository: HostedRepository | None, attempt: Attempt) -> None:
        """Of a protection that is gone: the next one may be somebody else's."""
        marker = attempt.marker(self.repository.repository_id)
        if repository is not None and repository.protection_mark == marker:
            self.host.unprotect(self.repository, attempt)

    def _is_as_wanted(self, found: HostedProtection) -> bool:
        return found.required_approvals == self.required_approvals and not found.weaknesses


def _repository_event(standing: HostedRepository, attempt: Attempt) -> ProviderEvent:
    if standing.marker.request_id == attempt.request_id:
        return ProviderEvent.GIT_REPOSITORY_CREATED
    return ProviderEvent.GIT_REPOSITORY_ADOPTED
