"""The port `GitForge` on the embedded default's forge."""

from __future__ import annotations

from collections.abc import Sequence

from execution_workers.ports import Attempt, Marker, Permission
from execution_workers.providers.forges.forge import HostedForge
from execution_workers.providers.forges.git import GitRemote
from execution_workers.providers.forges.host import HostedProtection, HostedRepository
from execution_workers.providers.local_forge.client import ForgeClient
from idp_kernel.wire.forge import (
    BranchProtection,
    CreateForgeRepository,
    ForgeRepository,
    OwnershipMarker,
)
from idp_kernel.wire.worker import RepositoryWanted


class LocalForge(HostedForge):
    """Repositories with their protections, seeds and bindings. Thread-safe."""

    def __init__(self, client: ForgeClient, installation_id: str) -> None:
        super().__init__(lambda: LocalForgeHost(client), installation_id)


class LocalForgeHost:
    """The forge's side of it: markers are fields of what it keeps, and teams are the platform's."""

    def __init__(self, client: ForgeClient) -> None:
        self._client = client

    @property
    def provider(self) -> str:
        return self._client.calls.provider

    @property
    def by_pull_request(self) -> None:
        """Its bot pushes past every protection."""
        return None

    def permissions(self) -> Sequence[Permission]:
        caller = self._client.caller()
        return (
            Permission(
                "create, protect and delete repositories, and push past protections",
                caller.administers,
                f"FORGE_TOKEN_FILE has to hold the bot's token; it is that of {caller.name}.",
            ),
        )

    def full_name(self, wanted: RepositoryWanted) -> str:
        return f"{wanted.owner}/{wanted.name}"

    def code_owners(self, team: str) -> str:
        return f"* @{team}"

    def how_to_adopt(self, _wanted: RepositoryWanted, _installation_id: str) -> str:
        """Nobody but the platform makes repositories there."""
        return ""

    def find(self, wanted: RepositoryWanted) -> HostedRepository | None:
        found = self._client.repository(wanted.owner, wanted.name)
        return None if found is None else _hosted(found, wanted)

    def create(self, wanted: RepositoryWanted, attempt: Attempt) -> HostedRepository | None:
        asked = CreateForgeRepository(
            owner=wanted.owner,
            name=wanted.name,
            description=wanted.description,
            default_branch=wanted.default_branch,
            marker=_wire_marker(attempt.marker(wanted.repository_id)),
        )
        attempt.check_fence()
        created = self._client.create_repository(asked)
        return None if created is None else _hosted(created, wanted)

    def let_team_in(self, _wanted: RepositoryWanted, _attempt: Attempt) -> None:
        """It is in: the forge asks the control plane who is in the team that owns a repository."""

    def delete(self, wanted: RepositoryWanted, attempt: Attempt) -> None:
        attempt.check_fence()
        self._client.delete_repository(wanted.owner, wanted.name)

    def archive(self, wanted: RepositoryWanted, attempt: Attempt) -> None:
        attempt.check_fence()
        self._client.archive(wanted.owner, wanted.name)

    def protect(
        self, wanted: RepositoryWanted, required_approvals: int, marker: Marker, attempt: Attempt
    ) -> None:
        """The forge exempts the platform's bot."""
        protection = BranchProtection(
            branch=wanted.default_branch,
            required_approvals=required_approvals,
            marker=_wire_marker(marker),
        )
        attempt.check_fence()
        self._client.protect(wanted.owner, wanted.name, protection)

    def unprotect(self, wanted: RepositoryWanted, attempt: Attempt) -> None:
        attempt.check_fence()
        self._client.unprotect(wanted.owner, wanted.name, wanted.default_branch)

    def git(self, wanted: RepositoryWanted) -> GitRemote:
        return self._client.git(wanted.owner, wanted.name)


def _hosted(found: ForgeRepository, wanted: RepositoryWanted) -> HostedRepository:
    protections = (each for each in found.protections if each.branch == wanted.default_branch)
    protection = next(map(_hosted_protection, protections), None)
    return HostedRepository(
        owner=found.owner,
        name=found.name,
        url=found.clone_url,
        marker=_marker_of(found.marker),
        default_branch=found.default_branch,
        protection=lambda: protection,
        is_archived=found.archived,
    )


def _hosted_protection(found: BranchProtection) -> HostedProtection:
    return HostedProtection(found.branch, found.required_approvals, _marker_of(found.marker))


def _marker_of(marker: OwnershipMarker) -> Marker:
    return Marker(marker.installation_id, marker.entity_id, marker.request_id)


def _wire_marker(marker: Marker) -> OwnershipMarker:
    return OwnershipMarker(
        installation_id=marker.installation_id,
        entity_id=marker.entity_id,
        request_id=marker.request_id,
    )
