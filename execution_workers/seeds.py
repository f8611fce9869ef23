"""The first files of an application's own repositories: of its code, and of its deployment.

`catalog-info.yaml` is as Backstage's catalogue takes it
(https://backstage.io/docs/features/software-catalog/descriptor-format): one Component for each
application, in its code repository. The deployment repository begins with a kustomize base that
builds as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from execution_workers.manifests import (
    CODEOWNERS,
    CODEOWNERS_PATH,
    LABEL_PREFIX,
    OWNERSHIP_PATH,
    README_PATH,
    as_yaml,
)
from idp_kernel.errors import InvalidInput
from idp_kernel.wire.worker import RepositoryKind, RepositoryWanted, SeedRepositories

CATALOG_PATH = "catalog-info.yaml"
BASE_PATH = "base/kustomization.yaml"
SERVICE_ACCOUNT_PATH = "base/service-account.yaml"

CODE_README = """\
# {application}

{description}

The code of **{application}**, kept by team **{team}**.

- `{branch}` is protected: push a branch of your own and have a colleague merge it.
- `{catalog}` is how the software catalogue knows the application; change it as you need.
- `.idp/` is kept by the platform; everything else is yours.
"""
DEPLOYMENT_README = """\
# Deployment of {application}

{description}

What every environment of **{application}** shares; kept by team **{team}**.

- `base/` is a kustomize base. Add workloads to it, and refer to it from the environments'
  repositories, which are named `appenv-<id>`: what stands there below `manifests/` is applied.
- `{branch}` is protected: push a branch of your own and have a colleague merge it.
- `.idp/` is kept by the platform; everything else is yours.
"""


def application_seed_files(
    body: SeedRepositories,
    repository: RepositoryWanted,
    installation_id: str,
    *,
    code_owners: str,
) -> dict[str, bytes]:
    """The first commit's files, by path; `code_owners` is a line as the forge takes it."""
    files = _FILES_OF_KIND.get(repository.kind)
    if files is None:
        raise InvalidInput(
            f"A repository of the kind {repository.kind} is seeded when it is created.",
            code="wrong_repository_kind",
        )
    return {
        CODEOWNERS_PATH: CODEOWNERS.format(code_owners=code_owners).encode(),
        OWNERSHIP_PATH: as_yaml(_ownership(body, repository, installation_id)),
        **files(body, repository),
    }


def _code_files(body: SeedRepositories, repository: RepositoryWanted) -> dict[str, bytes]:
    return {
        README_PATH: _readme(CODE_README, body, repository),
        CATALOG_PATH: as_yaml(_component(body)),
    }


def _deployment_files(body: SeedRepositories, repository: RepositoryWanted) -> dict[str, bytes]:
    application = body.subject.application
    return {
        README_PATH: _readme(DEPLOYMENT_README, body, repository),
        BASE_PATH: as_yaml(_base(application)),
        SERVICE_ACCOUNT_PATH: as_yaml(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": application}}
        ),
    }


_FILES_OF_KIND: dict[
    RepositoryKind, Callable[[SeedRepositories, RepositoryWanted], dict[str, bytes]]
] = {
    RepositoryKind.CODE: _code_files,
    RepositoryKind.DEPLOYMENT: _deployment_files,
}


def _readme(text: str, body: SeedRepositories, repository: RepositoryWanted) -> bytes:
    return text.format(
        application=body.subject.application,
        team=body.subject.team,
        description=_one_line(body.description) or "Nobody has described it yet.",
        branch=repository.default_branch,
        catalog=CATALOG_PATH,
    ).encode()


def _component(body: SeedRepositories) -> dict[str, object]:
    metadata: dict[str, object] = {"name": body.subject.application}
    description = _one_line(body.description)
    if description:
        metadata["description"] = description
    metadata["annotations"] = {f"{LABEL_PREFIX}/application-id": body.subject.application_id}
    return {
        "apiVersion": "backstage.io/v1alpha1",
        "kind": "Component",
        "metadata": metadata,
        "spec": {
            "type": "service",
            "lifecycle": "experimental",
            "owner": f"group:{body.subject.team}",
        },
    }


def _base(application: str) -> dict[str, object]:
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "labels": [{"pairs": {"app.kubernetes.io/part-of": application}}],
        "resources": [SERVICE_ACCOUNT_PATH.removeprefix("base/")],
    }


def _ownership(
    body: SeedRepositories, repository: RepositoryWanted, installation_id: str
) -> Mapping[str, object]:
    return {
        "installationId": installation_id,
        "repositoryId": repository.repository_id,
        "applicationId": body.subject.application_id,
        "team": body.subject.team,
        "application": body.subject.application,
        "managedPaths": [".idp/"],
    }


def _one_line(text: str) -> str:
    return " ".join(text.split())
