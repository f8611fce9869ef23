"""YAML documents with the line of everything in them, so that a complaint can name its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

LARGEST_TEXT_CHARACTERS = 1_000_000
MOST_NODES = 20_000
"""In one document, with what anchors repeat counted as often as it is repeated."""

Location = tuple[str | int, ...]
"""The way to a field: keys and positions, from the document down."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where."""

    line: int
    field: str
    told: str


@dataclass(frozen=True)
class Document:
    """One document of the file."""

    number: int
    """From 1, as they stand."""
    data: object
    node: yaml.Node

    @property
    def line(self) -> int:
        """Where it begins, from 1."""
        return _line_of(self.node)

    def line_at(self, location: Location) -> int:
        """The line of a field, or of the nearest thing around it that is there."""
        node, line = self.node, self.line
        for part in location:
            found = _child(node, part)
            if found is None:
                break
            line, node = found
        return line


def read_documents(text: str) -> tuple[list[Document], list[Problem]]:
    """All documents that are not empty, and what cannot be read at all; both in their order."""
    if len(text) > LARGEST_TEXT_CHARACTERS:
        return [], [Problem(1, "", f"it has more than {LARGEST_TEXT_CHARACTERS} characters")]
    documents: list[Document] = []
    problems: list[Problem] = []
    try:
        loader = yaml.SafeLoader(text)
        for number, node in enumerate(_nodes(loader), start=1):
            found = list(_misfits(node))
            problems += found
            if not found and not _is_empty(node):
                data = loader.construct_document(node)
                documents.append(Document(number, data, node))
    except yaml.MarkedYAMLError as error:
        problems.append(_of_yaml(error))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problems.append(Problem(line, "", f"it is no YAML: {error.reason}"))
    except RecursionError:
        problems.append(Problem(1, "", "it is nested too deeply"))
    except (yaml.YAMLError, ValueError) as error:
        problems.append(Problem(1, "", f"it is no YAML: {error}"))
    return documents, problems


def field_text(location: Location) -> str:
    """A field as people write it: `secrets[1].issuer`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _nodes(loader: yaml.SafeLoader) -> Iterator[yaml.Node]:
    while loader.check_node():
        node = loader.get_node()
        if node is not None:
            yield node


def _misfits(root: yaml.Node) -> Iterator[Problem]:
    """What YAML allows and nobody means: a field twice, an anchor inside itself or very often."""
    count = 0
    pending: list[tuple[yaml.Node, tuple[int, ...], Location]] = [(root, (), ())]
    while pending:
        node, around, location = pending.pop()
        count += 1
        if id(node) in around:
            yield Problem(_line_of(node), field_text(location), "it refers to itself")
            return
        if count > MOST_NODES:
            yield Problem(_line_of(root), "", f"it has more than {MOST_NODES} values")
            return
        yield from _twice(node, location)
        inside = (*around, id(node))
        pending += [(child, inside, (*location, part)) for part, child in _children(node)]


def _twice(node: yaml.Node, location: Location) -> Iterator[Problem]:
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, _value in node.value:
        name = str(key.value)
        if name in seen:
            yield Problem(_line_of(key), field_text((*location, name)), "it is there twice")
        seen.add(name)


def _children(node: yaml.Node) -> list[tuple[str | int, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        return [(str(key.value), value) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return list(enumerate(node.value))
    return []


def _child(node: yaml.Node, part: str | int) -> tuple[int, yaml.Node] | None:
    """What is there, with its line; that of its key where it has one."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return _line_of(key), value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return _line_of(node.value[part]), node.value[part]
    return None


def _line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _of_yaml(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    told = error.problem or error.context or "it cannot be read"
    line = 1 if mark is None else mark.line + 1
    return Problem(line, "", f"it is no YAML: {told}")
