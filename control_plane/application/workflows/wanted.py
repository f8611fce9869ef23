"""Things of the domain in the words of execution-workers."""

from __future__ import annotations

from idp_kernel.wire.worker import AppEnvSubject, RepositoryWanted


def appenv_repository_wanted(
    repository_id: str, owner: str, name: str, subject: AppEnvSubject
) -> RepositoryWanted:
    """The repository of an application environment."""
    return RepositoryWanted(
        repository_id=repository_id,
        owner=owner,
        name=name,
        description=f"{subject.application} in {subject.environment}",
    )
