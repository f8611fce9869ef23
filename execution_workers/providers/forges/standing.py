"""Whose repository stands at the forge, told by the marker it was created with."""

from __future__ import annotations

from execution_workers.ports import Marker, foreign_owner
from execution_workers.providers.forges.host import ForgeHost, HostedRepository
from idp_kernel.errors import ProviderRejected
from idp_kernel.wire.worker import RepositoryWanted, Subject


def own_repository(
    host: ForgeHost, wanted: RepositoryWanted, marker: Marker
) -> HostedRepository | None:
    """The entity's repository, None when it is not there; a foreign one is refused."""
    found = host.find(wanted)
    if found is not None and not found.marker.is_of_same_entity(marker):
        raise foreign_owner(
            host.provider,
            f"a repository {host.full_name(wanted)}",
            otherwise=host.how_to_adopt(wanted, marker.installation_id),
        )
    return found


def required_repository(
    host: ForgeHost, wanted: RepositoryWanted, marker: Marker
) -> HostedRepository:
    """The entity's repository, which takes commits. Raises `ProviderRejected`:
    `repository_missing`, `repository_archived`.
    """
    found = own_repository(host, wanted, marker)
    if found is None:
        raise missing(host, f"there is no repository {host.full_name(wanted)}")
    require_unarchived(host, wanted, found)
    return found


def require_unarchived(host: ForgeHost, wanted: RepositoryWanted, found: HostedRepository) -> None:
    """Raises `ProviderRejected` (`repository_archived`) for one that takes no more commits."""
    if found.is_archived:
        raise ProviderRejected(
            f"{host.provider}: the repository {host.full_name(wanted)} is archived and takes no "
            "commits. Unarchive it there, then retry.",
            code="repository_archived",
        )


def require_default_branch(
    host: ForgeHost, wanted: RepositoryWanted, found: HostedRepository
) -> None:
    """Raises `ProviderRejected` (`default_branch_differs`) for a repository that people work on
    elsewhere. Of an empty one the forge tells another branch than the first push makes.
    """
    if found.default_branch == wanted.default_branch:
        return
    with host.git(wanted).copy(found.default_branch) as copy:
        is_empty = copy.head is None
    if not is_empty:
        raise ProviderRejected(
            f"{host.provider}: the default branch of {host.full_name(wanted)} is "
            f"{found.default_branch}, and the platform works on {wanted.default_branch}. Make "
            f"{wanted.default_branch} the default branch there, then retry.",
            code="default_branch_differs",
        )


def missing(host: ForgeHost, found: str) -> ProviderRejected:
    return ProviderRejected(
        f"{host.provider}: {found}. Restore it at the forge; what is "
        "not active yet may begin again with its first step.",
        code="repository_missing",
    )


def as_json(subject: Subject, **wanted: object) -> dict[str, object]:
    return {"subject": subject.model_dump(mode="json"), **wanted}
