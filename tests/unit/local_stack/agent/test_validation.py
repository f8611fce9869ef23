"""Which objects a cluster would take."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from idp_kernel.wire.agent import AppliedSecret
from idp_kernel.wire.worker import CREDENTIAL_PROPERTIES, CredentialIssuerName
from local_stack.agent.manifests import ManifestObject
from local_stack.agent.validation import applied_secrets, validate_objects

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: web, image: "registry.example.test/web:1"}
"""
EXTERNAL_SECRET = """
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: app-key}
spec:
  refreshInterval: 1h0m0s
  secretStoreRef: {name: openbao, kind: ClusterSecretStore}
  target: {name: app-key, creationPolicy: Owner}
  data:
    - secretKey: value
      remoteRef: {key: teams/a/app-key, property: value, version: "2"}
    - secretKey: again
      remoteRef: {key: teams/a/app-key, property: other, version: "2"}
  dataFrom:
    - extract: {key: teams/a/app-key, version: "2"}
"""
WHOLE_SECRET = """
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: whole}
spec:
  secretStoreRef: {name: openbao, kind: ClusterSecretStore}
  dataFrom:
    - extract: {key: teams/a/whole, version: latest}
"""
LOGIN = """
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: orders-db}
spec:
  secretStoreRef: {name: openbao, kind: ClusterSecretStore}
  data:
""" + "".join(
    f"""
    - secretKey: {name}
      remoteRef: {{key: teams/a/orders-db, property: {name}, version: "4"}}
"""
    for name in CREDENTIAL_PROPERTIES[CredentialIssuerName.POSTGRES]
)


def document(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def changed(text: str, path: str, value: object) -> dict[str, Any]:
    """The document with one value set, or removed when it is `...`."""
    result = document(text)
    *parents, last = path.split("/")
    place: Any = result
    for part in parents:
        place = place[int(part)] if part.isdigit() else place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return result


def problems(*documents: dict[str, Any]) -> list[str]:
    objects = [ManifestObject(f"{n}.yaml", each) for n, each in enumerate(documents)]
    return [str(problem) for problem in validate_objects(objects)]


def test_valid_objects_have_no_problems() -> None:
    assert problems(document(DEPLOYMENT), document(EXTERNAL_SECRET)) == []


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("spec/replicas", "two", "Deployment/shop/web: spec.replicas: 'two' is not of type"),
        ("spec/replica", 2, "'replica' was unexpected"),
        ("spec/template/spec/containers/0/imagee", "x", "'imagee' was unexpected"),
        ("spec/selector", ..., "'selector' is a required property"),
        ("apiVersion", "apps.example.test/v1", "is not one of ['apps/v1']"),
        ("apiVersion", "../../x", "apiVersion: '../../x' is none"),
        ("apiVersion", 1, "apiVersion: 1 is none"),
        ("apiVersion", ..., "apiVersion: nothing is none"),
        ("kind", "deployment", "kind: 'deployment' is none"),
        ("kind", "../Secret", "kind: '../Secret' is none"),
        ("kind", "Wizard", "has no kind Wizard in apps/v1"),
        ("kind", ["x"], "kind: ['x'] is none"),
        ("metadata", ..., "metadata.name: nothing is no name"),
        ("metadata", "x", "metadata.name: nothing is no name"),
        ("metadata/name", "Bad Name", "'Bad Name' is no name"),
        ("metadata/name", "x\n", "is no name"),
        ("metadata/namespace", "../x", "is no name of a namespace"),
    ],
)
def test_wrong_core_objects_are_told(path: str, value: object, error: str) -> None:
    (problem,) = problems(changed(DEPLOYMENT, path, value))
    assert error in problem


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("apiVersion", "external-secrets.io/v1beta1", "has no kind ExternalSecret"),
        ("metadata/finalizers", [], "'finalizers' was unexpected"),
        ("spec/secretStoreRef", ..., "'secretStoreRef' is a required property"),
        ("spec/secretStoreRef/kind", "Store", "is not one of"),
        ("spec/secretStoreRef/name", "Open Bao", "does not match"),
        ("spec/refreshInterval", "soon", "does not match"),
        ("spec/target/nmae", "x", "'nmae' was unexpected"),
        ("spec/data/0/remoteRef/version", 2, "2 is not of type 'string'"),
        ("spec/data/0/remoteRef/key", ..., "'key' is a required property"),
        ("spec/data/0/remoteRef/path", "x", "'path' was unexpected"),
        ("spec/data/0/secretKey", "no spaces", "does not match"),
        ("spec/data/0/sourceRef", {}, "'sourceRef' was unexpected"),
        ("spec/data", [], "should be non-empty"),
        ("spec/generator", {}, "'generator' was unexpected"),
        ("spec", ..., "'spec' is a required property"),
    ],
)
def test_wrong_external_secrets_are_told(path: str, value: object, error: str) -> None:
    (problem,) = problems(changed(EXTERNAL_SECRET, path, value))
    assert error in problem


def test_an_object_stands_once_whatever_its_version_or_file() -> None:
    again = changed(EXTERNAL_SECRET, "metadata/namespace", "default")
    (problem,) = problems(document(EXTERNAL_SECRET), again)
    assert problem == "1.yaml: ExternalSecret/default/app-key: it is defined already in 0.yaml"
    elsewhere = changed(EXTERNAL_SECRET, "metadata/namespace", "other")
    assert problems(document(EXTERNAL_SECRET), elsewhere) == []


def test_long_errors_are_cut() -> None:
    (problem,) = problems(changed(DEPLOYMENT, "spec/replicas", "x" * 100_000))
    assert len(problem) < 500


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("spec/data/1/remoteRef/version", "3", "teams/a/app-key at version 3"),
        ("spec/data/1/remoteRef/version", ..., "teams/a/app-key at version unsaid"),
        ("spec/data/1/remoteRef/key", "teams/a/other", "teams/a/other at version 2"),
        ("spec/dataFrom/0/extract/version", "1", "teams/a/app-key at version 1"),
    ],
)
def test_entries_that_disagree_are_told(path: str, value: object, told: str) -> None:
    (problem,) = problems(changed(EXTERNAL_SECRET, path, value))
    assert problem == (
        "0.yaml: ExternalSecret/default/app-key: spec: all entries must name one key and one "
        f"version, these name teams/a/app-key at version 2, {told}"
    )


def test_applied_secrets_name_key_version_and_properties() -> None:
    texts = (DEPLOYMENT, EXTERNAL_SECRET, WHOLE_SECRET, LOGIN)
    objects = [ManifestObject("a.yaml", document(text)) for text in texts]
    assert validate_objects(objects) == []
    assert applied_secrets(objects) == (
        AppliedSecret(
            name="app-key", remote_key="teams/a/app-key", version=2, properties=("value", "other")
        ),
        AppliedSecret(name="whole", remote_key="teams/a/whole", version=None),
        AppliedSecret(
            name="orders-db",
            remote_key="teams/a/orders-db",
            version=4,
            properties=("host", "port", "database", "username", "password"),
        ),
    )
