"""Whose repository stands at the forge, told by the marker it was created with."""

from __future__ import annotations

from execution_workers.ports import Marker, foreign_owner
from execution_workers.providers.local_forge.client import ForgeClient
from idp_kernel.errors import ProviderRejected
from idp_kernel.wire.forge import BranchProtection, ForgeRepository, OwnershipMarker
from idp_kernel.wire.worker import RepositoryWanted, Subject


def own_repository(
    client: ForgeClient, wanted: RepositoryWanted, marker: Marker
) -> ForgeRepository | None:
    """The entity's repository, None when it is not there; a foreign one is refused."""
    found = client.repository(wanted.owner, wanted.name)
    if found is not None and not marker_of(found.marker).is_of_same_entity(marker):
        raise foreign_owner(client.calls.provider, f"a repository {wanted.owner}/{wanted.name}")
    return found


def required_repository(
    client: ForgeClient, wanted: RepositoryWanted, marker: Marker
) -> ForgeRepository:
    found = own_repository(client, wanted, marker)
    if found is None:
        raise missing(client, f"there is no repository {wanted.owner}/{wanted.name}")
    return found


def missing(client: ForgeClient, found: str) -> ProviderRejected:
    return ProviderRejected(
        f"{client.calls.provider}: {found}. Restore it at the forge; what is "
        "not active yet may begin again with its first step.",
        code="repository_missing",
    )


def default_protection(
    repository: ForgeRepository | None, wanted: RepositoryWanted
) -> BranchProtection | None:
    """The protection of the default branch."""
    protections = () if repository is None else repository.protections
    return next((each for each in protections if each.branch == wanted.default_branch), None)


def as_json(subject: Subject, **wanted: object) -> dict[str, object]:
    return {"subject": subject.model_dump(mode="json"), **wanted}


def marker_of(marker: OwnershipMarker) -> Marker:
    return Marker(marker.installation_id, marker.entity_id, marker.request_id)


def wire_marker(marker: Marker) -> OwnershipMarker:
    return OwnershipMarker(
        installation_id=marker.installation_id,
        entity_id=marker.entity_id,
        request_id=marker.request_id,
    )
