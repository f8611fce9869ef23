"""Repositories and the protection of their branches: each one's do and undo, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from execution_workers.failpoints import REPOSITORY_CREATED
from execution_workers.manifests import seed_files
from execution_workers.ports import Attempt, Made, Marker, Undone, foreign_owner
from execution_workers.providers.local_forge.client import ForgeClient
from execution_workers.providers.local_forge.pushes import has_work_of_others
from execution_workers.providers.local_forge.seeding import Seed
from execution_workers.providers.local_forge.standing import (
    as_json,
    default_protection,
    marker_of,
    own_repository,
    required_repository,
    wire_marker,
)
from idp_kernel.failpoints import failpoint
from idp_kernel.wire.forge import (
    BranchProtection,
    CreateForgeRepository,
    ForgeRepository,
    OwnershipMarker,
)
from idp_kernel.wire.worker import AppEnvSubject, EffectKind, RepositoryWanted, Subject
from idp_kernel.workflows import ProviderEvent


@dataclass(frozen=True)
class RepositoryAction:
    """A repository; that of an application environment with its seed commit."""

    client: ForgeClient
    subject: Subject
    repository: RepositoryWanted

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
        found = own_repository(self.client, self.repository, marker)
        standing = found or self._create(marker, attempt)
        return Made(
            references={**self._references(standing), **self._seed(attempt)},
            created_by=standing.marker.request_id,
            created=found is None and marker_of(standing.marker) == marker,
            event=_repository_event(standing, attempt),
        )

    def undo(self, attempt: Attempt) -> Undone:
        """Also keeps a repository that holds commits of other people."""
        found = self.client.repository(self.repository.owner, self.repository.name)
        if found is None:
            return Undone(EffectKind.ABSENT, {})
        references = {"name": found.name, "owner": found.owner}
        marker = attempt.marker(self.repository.repository_id)
        is_ours = marker_of(found.marker) == marker
        if not is_ours or has_work_of_others(self.client, self.repository, attempt):
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
            marker=wire_marker(marker),
        )
        attempt.check_fence()
        created = self.client.create_repository(wanted)
        return created or required_repository(self.client, self.repository, marker)

    def _seed(self, attempt: Attempt) -> dict[str, str]:
        """The reference of the seed commit, where this call makes one."""
        if not isinstance(self.subject, AppEnvSubject):
            return {}
        failpoint(REPOSITORY_CREATED)
        files = seed_files(self.subject, self.repository, attempt.installation_id)
        seed = Seed(self.client, self.repository, self.subject.application, self.item, files)
        commit, _ = seed.do(attempt)
        return {"revision": commit.revision}

    def _references(self, standing: ForgeRepository) -> dict[str, str | int]:
        return {
            "repositoryId": self.repository.repository_id,
            "name": standing.name,
            "owner": standing.owner,
            "url": standing.clone_url,
        }


@dataclass(frozen=True)
class ProtectionAction:
    """The protection of a repository's default branch; the forge exempts the platform's bot."""

    client: ForgeClient
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
        marker = attempt.marker(self.repository.repository_id)
        repository = required_repository(self.client, self.repository, marker)
        found = default_protection(repository, self.repository)
        if found is not None and not marker_of(found.marker).is_of_same_entity(marker):
            raise foreign_owner(self.client.calls.provider, f"a protection of {found.branch}")
        changed = found is None or found.required_approvals != self.required_approvals
        created_by = found.marker if found is not None else wire_marker(marker)
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
        """Also keeps it where the repository is kept for the commits of other people."""
        repository = self.client.repository(self.repository.owner, self.repository.name)
        found = default_protection(repository, self.repository)
        if found is None:
            return Undone(EffectKind.ABSENT, {})
        references = {"branch": found.branch}
        is_ours = marker_of(found.marker) == attempt.marker(self.repository.repository_id)
        if not is_ours or has_work_of_others(self.client, self.repository, attempt):
            return Undone(EffectKind.KEPT, references)
        attempt.check_fence()
        self.client.unprotect(self.repository.owner, self.repository.name, found.branch)
        return Undone(EffectKind.UNDONE, references)

    def _protect(self, marker: OwnershipMarker, attempt: Attempt) -> None:
        """A changed protection keeps the marker of who made it."""
        protection = BranchProtection(
            branch=self.repository.default_branch,
            required_approvals=self.required_approvals,
            marker=marker,
        )
        attempt.check_fence()
        self.client.protect(self.repository.owner, self.repository.name, protection)


def _repository_event(standing: ForgeRepository, attempt: Attempt) -> ProviderEvent:
    if standing.marker.request_id == attempt.request_id:
        return ProviderEvent.GIT_REPOSITORY_CREATED
    return ProviderEvent.GIT_REPOSITORY_ADOPTED
