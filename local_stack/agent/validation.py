"""Whether objects would be accepted by a cluster: schemas, names, no object twice.

Stricter than a cluster in one thing: an ExternalSecret brings one version of one secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from idp_kernel.wire.agent import AppliedSecret
from local_stack.agent.manifests import ManifestObject, Problem

KUBERNETES_VERSION = "1.36"
"""Fixed, so that an upgrade of the schemas is a decision."""
EXTERNAL_SECRET = ("external-secrets.io/v1", "ExternalSecret")
DEFAULT_NAMESPACE = "default"
_SCHEMA = Path(__file__).with_name("external_secret_schema.json")
_API_VERSION = re.compile(r"[a-z0-9][a-z0-9.-]{0,250}(/[a-z0-9]{1,63})?")
_KIND = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9:]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9:]*[a-z0-9])?)*"
)
_PINNED = re.compile(r"[0-9]{1,9}")
_MESSAGE_LENGTH = 300


@dataclass(frozen=True)
class Identity:
    """What tells an object from all others in a cluster."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


def validate_objects(objects: Iterable[ManifestObject]) -> list[Problem]:
    """Everything that stands against applying the objects, in their order."""
    problems: list[Problem] = []
    first_path: dict[Identity, str] = {}
    for each in objects:
        identity = _identity(each.document)
        if isinstance(identity, str):
            problems.append(Problem(each.path, identity))
            continue
        found = list(_schema_errors(each.document))
        if identity in first_path:
            found.append(f"it is defined already in {first_path[identity]}")
        first_path.setdefault(identity, each.path)
        problems.extend(Problem(each.path, error, str(identity)) for error in found)
    return problems


def applied_secrets(objects: Iterable[ManifestObject]) -> tuple[AppliedSecret, ...]:
    """Which version of which secret each ExternalSecret among valid objects brings."""
    return tuple(
        _applied_secret(each.document)
        for each in objects
        if _type_of(each.document) == EXTERNAL_SECRET
    )


def _type_of(document: dict[str, Any]) -> tuple[object, object]:
    return document.get("apiVersion"), document.get("kind")


def _identity(document: dict[str, Any]) -> Identity | str:
    """The object's identity, or what is wrong with it."""
    api_version, kind = _type_of(document)
    metadata = document.get("metadata")
    if not isinstance(api_version, str) or not _API_VERSION.fullmatch(api_version):
        return f"apiVersion: {_short(api_version)} is none"
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        return f"kind: {_short(kind)} is none"
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"{kind}: metadata.name: {_short(name)} is no name of an object"
    namespace = metadata.get("namespace") or DEFAULT_NAMESPACE
    if not isinstance(namespace, str) or not _NAME.fullmatch(namespace):
        return f"{kind}/{name}: metadata.namespace: {_short(namespace)} is no name of a namespace"
    group, _, version = api_version.rpartition("/")
    return Identity(group if version else "", kind, namespace, name)


def _schema_errors(document: dict[str, Any]) -> Iterator[str]:
    if _type_of(document) == EXTERNAL_SECRET:
        error = best_match(_external_secret_validator().iter_errors(document))
        if error is not None:
            yield _told(error)
        else:
            yield from _disagreement(document)
        return
    try:
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        api_version, kind = _type_of(document)
        yield f"Kubernetes {KUBERNETES_VERSION} has no kind {kind} in {api_version}"
    except ValidationError as error:
        yield _told(error)


@cache
def _external_secret_validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(_SCHEMA.read_bytes()))


def _told(error: ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    return f"{where}: {_clipped(error.message)}" if where else _clipped(error.message)


def _disagreement(document: dict[str, Any]) -> Iterator[str]:
    """A login whose parts come from different versions would open nothing."""
    entries = dict.fromkeys(map(_entry, _references(document)))
    if len(entries) > 1:
        told = ", ".join(f"{key} at version {version or 'unsaid'}" for key, version in entries)
        yield _clipped(f"spec: all entries must name one key and one version, these name {told}")


def _applied_secret(document: dict[str, Any]) -> AppliedSecret:
    references = _references(document)
    key, version = _entry(references[0])
    named = [each["property"] for each in references if "property" in each]
    return AppliedSecret(
        name=document["metadata"]["name"],
        remote_key=key,
        version=int(version) if _PINNED.fullmatch(version) else None,
        properties=tuple(dict.fromkeys(named)),
    )


def _references(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Where in the store an ExternalSecret's entries point; the schema asks for at least one."""
    spec = document["spec"]
    references = [item["remoteRef"] for item in spec.get("data", ())]
    return references + [item["extract"] for item in spec.get("dataFrom", ())]


def _entry(reference: dict[str, Any]) -> tuple[str, str]:
    """The key and the version as it is written, empty for none."""
    return reference["key"], str(reference.get("version", ""))


def _short(value: object) -> str:
    return _clipped(repr(value)) if value is not None else "nothing"


def _clipped(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= _MESSAGE_LENGTH else f"{one_line[:_MESSAGE_LENGTH]}…"
