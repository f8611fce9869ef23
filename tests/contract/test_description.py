"""The description of the API says all there is to say, and nothing that is not so."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema_specifications import REGISTRY

from control_plane.adapters.database import _TAKEN
from control_plane.api.problem_codes import PROBLEM_CODES
from control_plane.reference import reference_page
from idp_kernel.http.event_stream import EVENT_STREAM
from idp_kernel.http.problems import PROBLEM_JSON
from tests.integration.control_plane.documented import beyond, document

ROOT = Path(__file__).parents[2]
KEYWORDS = {
    word
    for identifier in REGISTRY
    if identifier.startswith("https://json-schema.org/draft/2020-12/meta/")
    for word in REGISTRY.contents(identifier)["properties"]
}
SOURCES = [
    *(ROOT / "control_plane").rglob("*.py"),
    ROOT / "idp_kernel/errors.py",
    ROOT / "idp_kernel/http/server.py",
    ROOT / "idp_kernel/tokens.py",
    ROOT / "idp_kernel/wire/api.py",
    ROOT / "idp_kernel/wire/engine.py",
]
OF_CODES = ("default_code", "ROW_HELD", "DATABASE_UNAVAILABLE", "EVENTS_GONE")
"""Constants that are codes."""
OF_NO_OPERATION = {
    "no_such_route",
    "method_not_allowed",
    "not_migrated",
    "downgrade_refused",
    "key_file_unusable",
    "internal_error",
    "unauthenticated",
    "conflict",
    "unavailable",
    "provider_rejected",
}
"""Told where there is no operation, by `/readyz` and on the console; or never without another."""


def operations() -> Iterator[tuple[str, str, Any]]:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield path, f"{method.upper()} {path}", operation


def public() -> list[tuple[str, Any]]:
    return [(name, each) for path, name, each in operations() if path.startswith("/v1/")]


def test_schemas_hold_no_word_that_json_schema_does_not_know() -> None:
    """A bound that is written in other words than its own bounds nothing."""
    told = [
        f"{name}: {word}"
        for name, schema in document()["components"]["schemas"].items()
        for word in words_of(schema)
        if word not in KEYWORDS
    ]
    assert told == []


def words_of(schema: Any) -> Iterator[str]:
    """All keywords of the schema and those in it."""
    if not isinstance(schema, dict):
        return
    yield from schema
    for word, value in schema.items():
        if word in ("properties", "patternProperties", "$defs"):
            inner = list(value.values())
        elif word in ("anyOf", "allOf", "oneOf", "prefixItems"):
            inner = value
        elif word in ("items", "additionalProperties", "not", "propertyNames"):
            inner = [value]
        else:
            continue
        for each in inner:
            yield from words_of(each)


def test_every_operation_is_described_in_words() -> None:
    tags = {tag["name"] for tag in document()["tags"]}
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))
    for _, name, operation in operations():
        assert operation["summary"].endswith("."), name
        assert operation["description"].startswith(operation["summary"].rstrip(".")), name
        assert set(operation["tags"]) <= tags, name
        assert "x-problem-codes" not in operation


def test_every_answer_is_described_and_none_by_default() -> None:
    for _, name, operation in operations():
        assert "default" not in operation["responses"], name
        assert "HTTPValidationError" not in str(operation), name
        for status, answer in operation["responses"].items():
            assert answer["description"], name
            assert "X-Request-Id" in answer["headers"], (name, status)
            if int(status) >= 400:
                codes = answer["content"][PROBLEM_JSON]["schema"]["allOf"][1]["properties"]["code"]
                assert codes["enum"], (name, status)


def test_a_header_that_is_described_is_promised() -> None:
    headers = document()["components"]["headers"]
    optional = {name for name, header in headers.items() if not header.get("required")}
    assert optional == {"RateLimit", "RateLimit-Policy"}


def test_commands_can_be_told_apart_from_questions() -> None:
    for name, operation in public():
        parameters = {each["name"] for each in operation.get("parameters", ())}
        method = name.split()[0]
        assert ("Idempotency-Key" in parameters) == (method == "POST"), name
        answer = str(operation["responses"]["200"]) if method == "GET" else ""
        is_one_thing = method == "GET" and "nextCursor" not in answer and EVENT_STREAM not in answer
        if is_one_thing and not name.endswith("/whoami"):
            assert "304" in operation["responses"], name
            assert "ETag" in operation["responses"]["200"]["headers"], name
        assert ("412" in operation["responses"]) == ("If-Match" in parameters), name
        assert "If-Match" in parameters or method != "PUT", name
        assert "429" in operation["responses"], name


def contents() -> Iterator[tuple[str, Any]]:
    """What goes in and out of the public operations where it goes well."""
    for name, operation in public():
        if "requestBody" in operation:
            yield f"{name} body", operation["requestBody"]["content"]["application/json"]
        for status, answer in operation["responses"].items():
            if status.startswith("2") and "application/json" in answer.get("content", {}):
                yield f"{name} {status}", answer["content"]["application/json"]


def test_every_body_and_answer_has_an_example_that_is_valid() -> None:
    for name, content in contents():
        assert "example" in content, name
        schema = {**content["schema"], "components": document()["components"]}
        errors = list(Draft202012Validator(schema).iter_errors(content["example"]))
        assert errors == [], name


def codes_in(source: Path) -> Iterator[str]:
    """Problem codes that the source mentions where errors are made."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call):
            given = [each.value for each in node.keywords if each.arg == "code"]
            if isinstance(node.func, ast.Attribute) and node.func.attr == "_conflict":
                given.append(node.args[0])
            yield from (str(each.value) for each in given if isinstance(each, ast.Constant))
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            is_code = isinstance(target, ast.Name) and target.id in OF_CODES
            if is_code and isinstance(node.value, ast.Constant):
                yield str(node.value.value)


def test_every_code_that_can_be_told_is_listed_and_no_other() -> None:
    mentioned = {code for source in SOURCES for code in codes_in(source)}
    mentioned |= {code for code, _ in _TAKEN.values()}
    assert mentioned - OF_NO_OPERATION == set(PROBLEM_CODES)


def test_every_listed_code_belongs_to_an_operation() -> None:
    told = {
        code
        for _, _, operation in operations()
        for answer in operation["responses"].values()
        for code in answer.get("content", {}).get(PROBLEM_JSON, {}).get("examples", ())
    }
    assert told == set(PROBLEM_CODES)


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (200, {"principal": "a", "platformAdmin": False, "teams": {}, "tokenExpiresAt": "x"}, []),
        (200, {"principal": 5, "platformAdmin": False, "teams": {}, "tokenExpiresAt": "x"}, ["5"]),
        (200, {"principal": "a"}, ["platformAdmin", "teams", "tokenExpiresAt"]),
        (418, {}, ["is not described"]),
    ],
)
def test_an_answer_beyond_the_description_is_noticed(
    status: int, answer: dict[str, Any], said: list[str]
) -> None:
    described = document()["paths"]["/v1/whoami"]["get"]["responses"]["200"]
    headers = {name.lower(): "1" for name in described["headers"]}
    headers["content-type"] = "application/json"
    body = json.dumps(answer).encode()
    noticed = beyond("/v1/whoami", "get", status, headers, body)
    assert len(noticed) == len(said)
    assert all(word in " ".join(noticed) for word in said)


def test_the_reference_page_is_up_to_date() -> None:
    page = (ROOT / "docs/api.md").read_text()
    if page != reference_page():
        pytest.fail("docs/api.md is not what `python -m control_plane.reference` prints")
