"""What the platform commits to an application environment's repository, the same at every forge.

Managed paths are those of `seed_files` and `manifests/external-secrets/`; the platform writes
nothing else. Applications' own repositories are described in `seeds`.
Labels and annotations carry the prefix `idp.example/`: `binding-id`, `secret-id` and
`installation-id` say whose an ExternalSecret is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import yaml

from execution_workers.ports import Pin
from idp_kernel.wire.worker import (
    CREDENTIAL_PROPERTIES,
    DOCKER_CONFIG,
    AppEnvSubject,
    BindingTarget,
    RepositoryWanted,
    RotatedSecret,
    SecretBindingWanted,
)

LABEL_PREFIX = "idp.example"
OWNERSHIP_PATH = ".idp/ownership.yaml"
README_PATH = "README.md"
CODEOWNERS_PATH = "CODEOWNERS"
NAMESPACE_PATH = "manifests/namespace.yaml"
BINDINGS_FOLDER = "manifests/external-secrets"
REFRESH_INTERVAL = "1h"
SECRET_STORE = {"name": "openbao", "kind": "ClusterSecretStore"}
KUBERNETES_KEYS = {DOCKER_CONFIG: ".dockerconfigjson"}
"""Where Kubernetes wants a property under another name than the store has it."""
PULL_SECRET_TYPE = "kubernetes.io/dockerconfigjson"
NAMESPACE_MAX_LENGTH = 63
_DIGEST_LENGTH = 8
_LABEL_LINE = re.compile(rb"^ {4}(%s/[^\r\n]*)" % re.escape(LABEL_PREFIX).encode(), re.MULTILINE)
"""Two levels deep, as `metadata` and `labels` lead to it."""
_PIN_LINE = re.compile(rb"^ {6}(key|version): ['\"]?([^'\"\r\n]+?)['\"]?[ \t\r]*$", re.MULTILINE)
"""Three levels deep, as `spec`, `data` and `remoteRef` lead to it."""
_LONGEST_VERSION = 9

README = """\
# {application} in {environment}

{description}

This repository describes what runs as **{application}** in the environment **{environment}** of
team **{team}**. A GitOps agent applies everything below `manifests/` from the branch `{branch}`.

- `{branch}` is protected: push a branch of your own and have a colleague merge it.
- `{bindings}/`, `{namespace}` and `.idp/` are kept by the platform; everything else is yours.
- Secret values are in the secret store only; `{bindings}/` says which version reaches the workload.
"""
CODEOWNERS = """\
# Who reviews changes. `.idp/` and the managed manifests are written by the platform.
{code_owners}
"""


def namespace_name(subject: AppEnvSubject) -> str:
    """`<application>-<environment>`, cut and made unique again where Kubernetes takes no more."""
    name = f"{subject.application}-{subject.environment}"
    if len(name) <= NAMESPACE_MAX_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_LENGTH]
    return f"{name[: NAMESPACE_MAX_LENGTH - _DIGEST_LENGTH - 1].rstrip('-')}-{digest}"


def seed_files(
    subject: AppEnvSubject,
    repository: RepositoryWanted,
    installation_id: str,
    *,
    code_owners: str,
) -> dict[str, bytes]:
    """The first commit's files, by path; `code_owners` is a line as the forge takes it."""
    return {
        README_PATH: _readme(subject, repository).encode(),
        CODEOWNERS_PATH: CODEOWNERS.format(code_owners=code_owners).encode(),
        OWNERSHIP_PATH: as_yaml(_ownership(subject, repository, installation_id)),
        NAMESPACE_PATH: as_yaml(_namespace(subject, installation_id)),
    }


def binding_path(binding: SecretBindingWanted) -> str:
    """Where a binding's manifest stands."""
    return f"{BINDINGS_FOLDER}/{binding.name}.yaml"


def binding_manifest(
    subject: AppEnvSubject, binding: SecretBindingWanted, installation_id: str
) -> bytes:
    """An ExternalSecret that pins one version of one secret. Says nothing of the request, so a
    later one finds it as it wants it.
    """
    return as_yaml(
        {
            "apiVersion": "external-secrets.io/v1",
            "kind": "ExternalSecret",
            "metadata": {
                "name": binding.name,
                "namespace": namespace_name(subject),
                "labels": _binding_labels(binding, installation_id),
            },
            "spec": {
                "refreshInterval": REFRESH_INTERVAL,
                "secretStoreRef": SECRET_STORE,
                "target": _target(binding),
                "data": [
                    {
                        "secretKey": KUBERNETES_KEYS.get(name, name),
                        "remoteRef": {
                            "key": binding.store_path,
                            "property": name,
                            "version": str(binding.version),
                        },
                    }
                    for name in CREDENTIAL_PROPERTIES[binding.issuer]
                ],
            },
        }
    )


def _target(binding: SecretBindingWanted) -> dict[str, Any]:
    """The Secret in the cluster; one with a registry login is fit for `imagePullSecrets`."""
    target = {"name": binding.name, "creationPolicy": "Owner"}
    if DOCKER_CONFIG not in CREDENTIAL_PROPERTIES[binding.issuer]:
        return target
    return {**target, "template": {"type": PULL_SECRET_TYPE}}


def binding_at(body: RotatedSecret, target: BindingTarget, version: int) -> SecretBindingWanted:
    """The binding as its manifest has it at that version."""
    return SecretBindingWanted(
        binding_id=target.binding_id,
        secret_id=body.secret.secret_id,
        name=target.name,
        issuer=body.secret.issuer,
        store_path=body.store_path,
        version=version,
    )


def is_binding_of(content: bytes, binding: SecretBindingWanted, installation_id: str) -> bool:
    """Whether a file is this binding's manifest, at whichever version it stands.

    Compares the lines of our labels as they are written here; other people may add labels of
    theirs. The file is not parsed, since a team's YAML may unfold to more than this process holds.
    """
    wanted = as_yaml(_binding_labels(binding, installation_id)).splitlines()
    return sorted(_LABEL_LINE.findall(content)) == sorted(wanted)


def pin_of(content: bytes | None, binding: SecretBindingWanted, installation_id: str) -> Pin:
    """Which version a file pins, as far as it is this binding's manifest.

    Reads the lines of `key` and `version` as they are written here, for the reason that
    `is_binding_of` gives; lines that contradict each other pin nothing.
    """
    path = binding_path(binding)
    if content is None:
        return Pin(None, f"there is no {path}", is_there=False)
    if not is_binding_of(content, binding, installation_id):
        return Pin(None, f"{path} is not the manifest of this binding", is_there=False)
    pairs = _PIN_LINE.findall(content)
    keys = {value for name, value in pairs if name == b"key"}
    versions = {value for name, value in pairs if name == b"version"}
    if keys != {binding.store_path.encode()} or len(versions) != 1:
        return Pin(None, f"{path} pins no single version of {binding.store_path}")
    (version,) = versions
    if not version.isdigit() or len(version) > _LONGEST_VERSION or int(version) == 0:
        return Pin(None, f"{path} pins a version that is no number")
    return Pin(int(version), f"{path} pins version {int(version)}")


def _binding_labels(binding: SecretBindingWanted, installation_id: str) -> dict[str, str]:
    return {
        f"{LABEL_PREFIX}/binding-id": binding.binding_id,
        f"{LABEL_PREFIX}/secret-id": binding.secret_id,
        f"{LABEL_PREFIX}/installation-id": installation_id,
    }


def _readme(subject: AppEnvSubject, repository: RepositoryWanted) -> str:
    return README.format(
        application=subject.application,
        environment=subject.environment,
        team=subject.team,
        description=" ".join(repository.description.split()),
        branch=repository.default_branch,
        bindings=BINDINGS_FOLDER,
        namespace=NAMESPACE_PATH,
    )


def is_ownership_of(content: bytes, repository: RepositoryWanted, installation_id: str) -> bool:
    """Whether a file is this repository's ownership file, by its lines; not parsed either."""
    lines = content.splitlines()
    wanted = {"installationId": installation_id, "repositoryId": repository.repository_id}
    return all(line in lines for line in _lines(wanted))


def _lines(document: Mapping[str, object]) -> list[bytes]:
    return as_yaml(document).splitlines()


def _ownership(
    subject: AppEnvSubject, repository: RepositoryWanted, installation_id: str
) -> dict[str, Any]:
    return {
        "installationId": installation_id,
        "repositoryId": repository.repository_id,
        "applicationEnvironmentId": subject.application_environment_id,
        "team": subject.team,
        "application": subject.application,
        "environment": subject.environment,
        "managedPaths": [".idp/", NAMESPACE_PATH, f"{BINDINGS_FOLDER}/"],
    }


def _namespace(subject: AppEnvSubject, installation_id: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": namespace_name(subject),
            "labels": {
                f"{LABEL_PREFIX}/team": subject.team,
                f"{LABEL_PREFIX}/application": subject.application,
                f"{LABEL_PREFIX}/environment": subject.environment,
                f"{LABEL_PREFIX}/installation-id": installation_id,
            },
        },
    }


def as_yaml(document: Mapping[str, object]) -> bytes:
    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True).encode()
