"""What the asset catalog is to show: of a finished workflow, and of what the control plane lists.
References only.
"""

from __future__ import annotations

from collections.abc import Callable

from dagster import AssetMaterialization, MetadataValue

from idp_dagster.catalog import APPLICATION_ENVIRONMENTS, SECRETS
from idp_dagster.ports import ControlPlane
from idp_dagster.reconciliation import committed_revision
from idp_dagster.rotation import credential_version, moved_revisions
from idp_kernel.wire.engine import (
    AppEnvAsset,
    AppEnvDesiredState,
    RotationDesiredState,
    SecretAsset,
)
from idp_kernel.wire.worker import AppEnvSubject, RepositoryWanted
from idp_kernel.workflows import Step

Link = Callable[[str], str]
"""Where the control plane's API shows what is at a path."""

_ENVIRONMENT_PATH = "/v1/application-environments/{id}"
_SECRET_PATH = "/v1/secrets/{id}"
_REQUEST_PATH = "/v1/workflow-requests/{id}"


def provisioned(control_plane: ControlPlane) -> list[AssetMaterialization]:
    """The environment that the request provisioned, and its secrets."""
    wanted = control_plane.claim.wanted(AppEnvDesiredState)
    outcomes = control_plane.outcomes
    url = outcomes[Step.MATERIALIZE_REPOSITORIES].reference(
        f"repository/{wanted.repository.repository_id}", "url"
    )
    environment = _environment(
        control_plane.link,
        wanted.subject,
        request=_request(control_plane),
        repository=MetadataValue.url(str(url)),
        revision=committed_revision(outcomes[Step.CREATE_SECRET_BINDINGS]),
    )
    secrets = [
        _secret(
            control_plane.link,
            wanted.subject,
            binding.secret_id,
            request=_request(control_plane),
            name=binding.name,
            store_path=binding.store_path,
            version=binding.version,
        )
        for binding in outcomes[Step.PROVISION_SECRETS].bindings(wanted)
    ]
    return [environment, *secrets]


def rotated(control_plane: ControlPlane) -> list[AssetMaterialization]:
    """The secret that the request rotated, and each environment it moved its binding in."""
    wanted = control_plane.claim.wanted(RotationDesiredState)
    revisions = moved_revisions(control_plane)
    secret = _secret(
        control_plane.link,
        wanted.subject,
        wanted.secret.secret_id,
        request=_request(control_plane),
        name=wanted.secret.name,
        store_path=wanted.store_path,
        version=credential_version(control_plane),
    )
    environments = [
        _environment(
            control_plane.link,
            binding.subject,
            request=_request(control_plane),
            repository=_named(binding.repository),
            revision=revisions[binding.binding_id],
        )
        for binding in wanted.bindings
    ]
    return [secret, *environments]


def listed_environment(listed: AppEnvAsset, link: Link) -> AssetMaterialization:
    """An environment as the control plane lists it."""
    expected = listed.expected
    return _environment(
        link,
        expected.subject,
        request={},
        repository=(
            _named(expected.repository) if listed.url is None else MetadataValue.url(listed.url)
        ),
        revision=expected.revision,
    )


def listed_secret(listed: SecretAsset, link: Link) -> AssetMaterialization:
    """A secret as the control plane lists it."""
    expected = listed.expected
    return _secret(
        link,
        expected.subject,
        expected.secret.secret_id,
        request={},
        name=expected.secret.name,
        store_path=expected.store_path,
        version=expected.version,
    )


def _environment(
    link: Link,
    subject: AppEnvSubject,
    *,
    request: dict[str, MetadataValue],
    repository: MetadataValue,
    revision: str,
) -> AssetMaterialization:
    path = _ENVIRONMENT_PATH.format(id=subject.application_environment_id)
    return AssetMaterialization(
        asset_key=APPLICATION_ENVIRONMENTS,
        partition=subject.application_environment_id,
        description=f"{subject.application} of {subject.team} in {subject.environment}",
        metadata={
            **_whose_and_where(link, subject, path),
            **request,
            "repository": repository,
            "revision": revision,
        },
    )


def _secret(
    link: Link,
    subject: AppEnvSubject,
    secret_id: str,
    *,
    request: dict[str, MetadataValue],
    name: str,
    store_path: str,
    version: int,
) -> AssetMaterialization:
    path = _SECRET_PATH.format(id=secret_id)
    return AssetMaterialization(
        asset_key=SECRETS,
        partition=secret_id,
        description=f"{name} of {subject.application} in {subject.environment}",
        metadata={
            **_whose_and_where(link, subject, path),
            **request,
            "store_path": store_path,
            "version": version,
        },
    )


def _named(repository: RepositoryWanted) -> MetadataValue:
    return MetadataValue.text(f"{repository.owner}/{repository.name}")


def _whose_and_where(link: Link, subject: AppEnvSubject, path: str) -> dict[str, MetadataValue]:
    return {
        "team": MetadataValue.text(subject.team),
        "api": MetadataValue.url(link(path)),
    }


def _request(control_plane: ControlPlane) -> dict[str, MetadataValue]:
    """What brought it about."""
    request_id = control_plane.claim.request_id
    return {
        "request": MetadataValue.url(control_plane.link(_REQUEST_PATH.format(id=request_id))),
        "request_id": MetadataValue.text(request_id),
    }
