"""Whether objects would be accepted by a cluster: schemas, names, no object twice."""

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
    """Which entries of the store the ExternalSecrets among valid objects bring, each once."""
    found: dict[AppliedSecret, None] = {}
    for each in objects:
        if _type_of(each.document) == EXTERNAL_SECRET:
            found.update(dict.fromkeys(_entries(each.document)))
    return tuple(found)


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


def _entries(document: dict[str, Any]) -> Iterator[AppliedSecret]:
    spec = document["spec"]
    references = [item["remoteRef"] for item in spec.get("data", ())]
    references += [item["extract"] for item in spec.get("dataFrom", ())]
    for reference in references:
        version = str(reference.get("version", ""))
        yield AppliedSecret(
            name=document["metadata"]["name"],
            remote_key=reference["key"],
            version=int(version) if re.fullmatch(r"[0-9]{1,9}", version) else None,
        )


def _short(value: object) -> str:
    return _clipped(repr(value)) if value is not None else "nothing"


def _clipped(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= _MESSAGE_LENGTH else f"{one_line[:_MESSAGE_LENGTH]}…"
