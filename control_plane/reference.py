"""The reference page of the API, made of its description: `python -m control_plane.reference`
prints `docs/api.md`.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from control_plane.api.paging import DEFAULT_PAGE_SIZE, LARGEST_PAGE_SIZE
from control_plane.api.problem_codes import PROBLEM_CODES, status_of_code
from control_plane.openapi import openapi_document
from control_plane.settings import ControlPlaneSettings
from idp_kernel.http.event_stream import EVENT_STREAM
from idp_kernel.http.problems import PROBLEM_JSON
from idp_kernel.settings_reference import GENERATED_NOTE

_INTERNAL: Final = "internal"
_FIELDS: Final = ControlPlaneSettings.model_fields
_PER_SECOND: Final = _FIELDS["rate_limit_per_second"].default
_BURST: Final = _FIELDS["rate_limit_burst"].default
_HEAD: Final = f"""\
{GENERATED_NOTE}

# API reference

This page is made from the API's own description: `python -m control_plane.reference` prints it, and
a test compares the two. The description itself (OpenAPI 3.1) is at `/openapi.json` of a running
control plane; `python -m control_plane.openapi` prints it without one.

## What holds everywhere

**Who asks.** `Authorization: Bearer idp_pat_…`. A platform-admin makes tokens with
`POST /v1/tokens`. What belongs to a team that the caller is not in is told like none at all: `404`.

**Commands.** Every `POST` needs `Idempotency-Key`: a new value for each command, the same for its
repeats. A repeat gets the first answer for a day and is not done again. `PUT` and `DELETE` are
repeatable by themselves. What starts a workflow answers `202`; `Location` leads to the request.

**Lists** come in pages of {DEFAULT_PAGE_SIZE}, or of `limit` up to {LARGEST_PAGE_SIZE}:
`{{"items": […], "nextCursor": …}}`. Pass `nextCursor` as `cursor` for the next page; `null` ends
the list.

**Conditions.** A single thing is answered with an `ETag`. With `If-None-Match` the answer is `304`
when the caller has it already. With `If-Match` a change is made only to what was seen; otherwise
the answer is `412`, and nothing was done. How much of a team's limits is used may have changed.

**Rates.** Each token has a number of calls, by default {_PER_SECOND} a second and {_BURST} at once,
in each process of the API. `RateLimit` and `RateLimit-Policy` tell the standing; beyond it the
answer is `429` with `Retry-After`. Services and runs of the platform are not limited.

**Streams** (`text/event-stream`) go on until the client, or the server, ends them. Each message has
an `id` and, as `data`, JSON on one line. Whoever is cut off connects again with the last id as
`Last-Event-ID`, as an `EventSource` of a browser does by itself, and misses nothing.

**Problems** are `application/problem+json` (RFC 9457) with a stable `code`. After a `408`, a `429`
or a `503` the same call may go well later; after any other the caller, or for a `500` the platform,
has to change something.

## Problem codes

| Status | Code | Meaning |
|---|---|---|
"""


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    described: dict[str, Any]

    @property
    def tag(self) -> str:
        return str(self.described["tags"][0])


def reference_page() -> str:
    """`docs/api.md` as it should be."""
    document = openapi_document()
    by_tag: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in _operations(document):
        by_tag[operation.tag].append(operation)
    public = [tag for tag in document["tags"] if tag["name"] != _INTERNAL]
    used = {
        code for tag in public for each in by_tag[tag["name"]] for code in _codes(each.described)
    }
    sections = [_section(document, tag, by_tag[tag["name"]]) for tag in public]
    return _HEAD + _code_rows(used) + "\n" + "\n".join(sections)


def main() -> None:
    sys.stdout.write(reference_page())


def _operations(document: dict[str, Any]) -> Iterator[Operation]:
    for path, operations in document["paths"].items():
        for method, described in operations.items():
            yield Operation(method.upper(), path, described)


def _code_rows(used: set[str]) -> str:
    codes = sorted(used, key=lambda code: (status_of_code(code), list(PROBLEM_CODES).index(code)))
    rows = (f"| {status_of_code(code)} | `{code}` | {PROBLEM_CODES[code][1]} |\n" for code in codes)
    return "".join(rows)


def _section(document: dict[str, Any], tag: dict[str, str], operations: list[Operation]) -> str:
    name = tag["name"]
    parts = [f"## {name[0].upper()}{name[1:]}\n\n{tag['description']}\n"]
    parts += [_operation(document, each) for each in operations]
    return "\n".join(parts)


def _operation(document: dict[str, Any], operation: Operation) -> str:
    described = operation.described
    parts = [f"### `{operation.method} {operation.path}`\n", f"{described['description']}\n"]
    parameters = [each for each in described.get("parameters", ()) if each["in"] == "query"]
    if parameters:
        rows = (_parameter(document, each) for each in parameters)
        parts.append(_table(("Parameter", "Type"), rows))
    if "requestBody" in described:
        body = described["requestBody"]["content"]["application/json"]
        parts += [*_fields(document, body), *_example("Body", body)]
    parts += _answers(document, described)
    return "\n".join(parts)


def _parameter(document: dict[str, Any], parameter: dict[str, Any]) -> tuple[str, str]:
    return f"`{parameter['name']}`", _type_of(document, parameter["schema"])


def _fields(document: dict[str, Any], body: dict[str, Any]) -> Iterator[str]:
    """The table of the body's fields; a body that may be left out has an `anyOf` with null."""
    schema = body["schema"]
    given = next((each for each in schema.get("anyOf", ()) if "$ref" in each), schema)
    model = document["components"]["schemas"][given["$ref"].rpartition("/")[2]]
    required = set(model.get("required", ()))
    rows = (
        (f"`{name}`", _type_of(document, each), "yes" if name in required else "", _meaning(each))
        for name, each in model["properties"].items()
    )
    yield _table(("Field", "Type", "Needed", "Meaning"), rows)


def _answers(document: dict[str, Any], described: dict[str, Any]) -> Iterator[str]:
    for status, answer in described["responses"].items():
        if int(status) >= 300:
            continue
        if EVENT_STREAM in answer.get("content", {}):
            yield from _stream(document, status, answer)
            continue
        content = answer.get("content", {}).get("application/json", {})
        shape = f": {_type_of(document, content['schema'])}" if content else ""
        yield f"Answers `{status}`{shape}.\n"
        yield from _example("Answer", content)
    codes = ", ".join(f"`{code}`" for code in _codes(described))
    yield f"Problems: {codes}.\n"


def _stream(document: dict[str, Any], status: str, answer: dict[str, Any]) -> Iterator[str]:
    content = answer["content"][EVENT_STREAM]
    item = _type_of(document, content["schema"]["contentSchema"])
    yield f"Answers `{status}`: stream of {item}. {answer['description']}\n"
    text = content["example"].rstrip()
    yield f"<details><summary>Message</summary>\n\n```text\n{text}\n```\n\n</details>\n"


def _codes(described: dict[str, Any]) -> Iterator[str]:
    for answer in described["responses"].values():
        content = answer.get("content", {}).get(PROBLEM_JSON)
        if content is not None:
            yield from content["examples"]


def _example(title: str, content: dict[str, Any]) -> Iterator[str]:
    if "example" in content:
        shown = json.dumps(content["example"], indent=2, ensure_ascii=False)
        yield (f"<details><summary>{title}</summary>\n\n```json\n{shown}\n```\n\n</details>\n")


def _type_of(document: dict[str, Any], schema: dict[str, Any]) -> str:
    """The type in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        values = document["components"]["schemas"][name].get("enum")
        return _name_of(name) if values is None else " or ".join(f"`{each}`" for each in values)
    if "anyOf" in schema:
        return " or ".join(_type_of(document, each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type_of(document, schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "any")


def _meaning(schema: dict[str, Any]) -> str:
    text = " ".join(str(schema.get("description", "")).split()).replace("|", "\\|")
    default = schema.get("default")
    if default is None or isinstance(default, list | dict):
        return text
    return f"{text} Default: `{json.dumps(default)}`.".strip()


def _name_of(schema: str) -> str:
    return schema.replace("Page_", "page of ").rstrip("_")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    main()
