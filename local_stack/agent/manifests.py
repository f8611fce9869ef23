"""From the files of a revision to Kubernetes objects: YAML read with suspicion.

A team's YAML may be broken or hostile. Everything that cannot be read is a `Problem` that names
the file; nothing here raises for what a file holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import yaml

MAX_FILE_BYTES = 256 * 1024
MAX_NODES = 20_000
"""Nodes of one document, aliases counted as often as they are used."""
MAX_OBJECTS = 500
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class ManifestFile:
    """A file of the revision."""

    path: str
    content: bytes


@dataclass(frozen=True)
class ManifestObject:
    """One document of a file that is a mapping with text keys."""

    path: str
    document: dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """What is wrong, where."""

    path: str
    error: str
    subject: str | None = None
    """The object, as `Kind/namespace/name`."""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.path, self.subject, self.error) if part)


class _Refused(Exception):
    """A document that is YAML and yet not taken."""


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: a date is a text."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_objects(files: Iterable[ManifestFile]) -> tuple[list[ManifestObject], list[Problem]]:
    """All objects of all files in order, and everything that could not be read.

    Reads no further than one object more than `MAX_OBJECTS`.
    """
    objects: list[ManifestObject] = []
    problems: list[Problem] = []
    for file in files:
        try:
            documents = list(islice(_documents(file), MAX_OBJECTS + 1 - len(objects)))
        except _Refused as refusal:
            problems.append(Problem(file.path, str(refusal)))
            continue
        objects += [ManifestObject(file.path, document) for document in documents]
        if len(objects) > MAX_OBJECTS:
            problems.append(Problem(file.path, f"there are more than {MAX_OBJECTS} objects"))
            break
    return objects[:MAX_OBJECTS], problems


def _documents(file: ManifestFile) -> Iterator[dict[str, Any]]:
    try:
        loader = _Loader(file.content.decode("utf-8"))
        while loader.check_node():
            document = _construct(loader, loader.get_node())
            if document is not None:
                yield document
    except UnicodeDecodeError as error:
        raise _Refused("the file is not UTF-8") from error
    except yaml.YAMLError as error:
        raise _Refused(f"bad YAML: {_one_line(error)}") from error
    except RecursionError as error:
        raise _Refused("the YAML is nested too deeply") from error
    except (ValueError, OverflowError) as error:
        raise _Refused(f"bad YAML: a value cannot be read ({_one_line(error)})") from error


def _construct(loader: _Loader, node: yaml.Node | None) -> dict[str, Any] | None:
    """The document, None for an empty one."""
    if node is None:
        return None
    _measure(node, {}, set())
    document = _value(loader, node)
    if document is None:
        return None
    if not isinstance(document, dict):
        raise _Refused("a document is no object but a list or a single value")
    _require_text_keys(document)
    return document


def _value(loader: _Loader, node: yaml.Node) -> object:
    """What the node stands for; a tag on a text that it does not fit trips the library itself."""
    try:
        return loader.construct_document(node)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise _Refused(f"bad YAML: a value cannot be read ({_one_line(error)})") from error


def _measure(node: yaml.Node, sizes: dict[int, int], open_nodes: set[int]) -> int:
    """How many nodes there are when aliases are written out; refuses what grows too large.

    Each node is visited once, so a document that unfolds to billions costs no more than its text.
    """
    if id(node) in open_nodes:
        raise _Refused("an alias contains itself")
    if id(node) in sizes:
        return sizes[id(node)]
    open_nodes.add(id(node))
    size = 1 + sum(_measure(child, sizes, open_nodes) for child in _children(node))
    open_nodes.discard(id(node))
    if size > MAX_NODES:
        raise _Refused(f"a document has more than {MAX_NODES} values, aliases written out")
    sizes[id(node)] = size
    return size


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        keys: set[tuple[str, str]] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                if (key.tag, key.value) in keys:
                    line = key.start_mark.line + 1
                    raise _Refused(f"the key {key.value!r} stands twice, again on line {line}")
                keys.add((key.tag, key.value))
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _require_text_keys(value: object) -> None:
    if isinstance(value, dict):
        for key, child in value.items():
            if not isinstance(key, str):
                raise _Refused(f"the key {key!r} is no text; put it in quotes")
            _require_text_keys(child)
    elif isinstance(value, list):
        for child in value:
            _require_text_keys(child)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
