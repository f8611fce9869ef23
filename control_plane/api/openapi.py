"""The description of the API, complete: what FastAPI sees of the routes, and all that it cannot.

Statuses and problem codes follow from what a route has (its guard, parameters, body) and from what
it says itself with `refuses`. Nothing else is answered; a test holds every answer of the other
tests against it.
"""

from __future__ import annotations

import ast
import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any, Final, TypedDict

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic.alias_generators import to_camel

from control_plane.api.conditions import ETAG_HEADER, IF_MATCH_HEADER, IF_NONE_MATCH_HEADER
from control_plane.api.examples import example_of
from control_plane.api.guards import (
    Guard,
    InTeam,
    Open,
    Person,
    PlatformAdmin,
    guarded_routes,
    guards_of,
)
from control_plane.api.problem_codes import PROBLEM_CODES, status_of_code
from control_plane.domain.moves import MoveTable
from idp_kernel.http.problems import PROBLEM_JSON, TITLES
from idp_kernel.http.server import REQUEST_ID_HEADER
from idp_kernel.wire import api, engine, metrics, worker
from idp_kernel.wire.engine import TeamRole

IDEMPOTENCY_KEY_HEADER: Final = "Idempotency-Key"
IDEMPOTENCY_KEY_PATTERN: Final = r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?"
_WIRE_MODULES: Final = (api, engine, metrics, worker)
_OF_ONE_THING: Final = {IF_NONE_MATCH_HEADER, IF_MATCH_HEADER, IDEMPOTENCY_KEY_HEADER}
"""Parameters of operations that answer with one thing, and its entity tag."""
_SHOWN_ONCE: Final = "token_already_shown"
"""Refused by operations whose answer is never shown again, and has no entity tag."""
_CODES_KEY: Final = "x-problem-codes"

TAGS: Final = (
    ("teams", "Teams own applications; their members work in them, within the team's limits."),
    ("tokens", "Bearer tokens of people and pipelines. A token is shown once, when it is made."),
    ("environments", "The environments of the whole platform: dev, prod and so on."),
    ("applications", "Applications with their repositories, and their onboarding."),
    ("application environments", "One application in one environment."),
    ("secrets", "Secrets and bindings as references, and their rotation. No value passes here."),
    ("workflow requests", "What was asked of the platform, and how far it is."),
    ("events and platform", "Domain events in the order of their commits, and maintenance."),
    ("internal", "For the platform's own services and runs."),
)
_PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "RFC 9457. `code` is stable; a refused move adds current, wanted, allowed.",
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "requestId"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "requestId": {"type": "string"},
        "retryAfter": {"type": "number"},
        "errors": {"type": "array", "items": {"type": "object"}},
        "current": {"type": "string"},
        "wanted": {"type": ["string", "integer"]},
        "allowed": {"type": "array", "items": {"type": "string"}},
        "workflowRequestId": {"type": "string"},
        "activeRequestId": {"type": "string"},
        "continueAfter": {"type": "integer"},
    },
    "additionalProperties": True,
}
_HEADERS: Final[dict[str, dict[str, Any]]] = {
    REQUEST_ID_HEADER: {
        "description": "Names this call in the logs: the caller's own value, or a new one.",
        "required": True,
        "schema": {"type": "string"},
    },
    ETAG_HEADER: {
        "description": "The entity tag of the representation.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "Where what was made or asked for is found.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "After how many seconds the same call may go well.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "RateLimit": {
        "description": "How many calls the token has left at once, and when it has all again.",
        "schema": {"type": "string"},
        "example": '"token";r=499;t=1',
    },
    "RateLimit-Policy": {
        "description": "How many calls at once, and how long until all are let in again.",
        "schema": {"type": "string"},
        "example": '"token";q=500;w=10',
    },
    "WWW-Authenticate": {
        "description": "`Bearer`.",
        "required": True,
        "schema": {"type": "string"},
    },
}
"""Those required are sent with every answer that speaks of them. The rates are not told of a call
that ends before its token is counted.
"""

_SAID_BY_FASTAPI: Final = "Successful Response"
_SUCCESS: Final = {
    200: "It went well.",
    201: "It was made.",
    202: "It was accepted and is under way.",
    204: "It went well; there is nothing to say.",
}


class Texts(TypedDict):
    """What a route says of itself where its docstring cannot."""

    summary: str
    description: str


def refuses(*codes: str) -> dict[str, Any]:
    """For a route's `openapi_extra`: the problems it tells beyond what follows from its form."""
    return {_CODES_KEY: list(codes)}


def texts(moves: MoveTable[Any], action: str, note: str = "") -> Texts:
    """What is said of the route that makes one move."""
    move = moves.named(action)
    summary = f"{action.capitalize()}s the {moves.entity[0].lower()}{moves.entity[1:]}."
    sources = " or ".join(move.sources)
    description = f"{summary} It must be {sources} and becomes {move.target}. {note}"
    return Texts(summary=summary, description=description.strip())


def describe(app: FastAPI) -> None:
    """Has the application's own description completed when it is first asked for."""
    begin = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(begin(), guarded_routes(app.routes))
        return begin()

    app.openapi = openapi  # type: ignore[method-assign]


def operation_id(route: APIRoute) -> str:
    """The route's name in camelCase."""
    first, *others = route.name.split("_")
    return first + "".join(each.capitalize() for each in others)


def _complete(document: dict[str, Any], routes: Iterable[APIRoute]) -> None:
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS]
    components = document["components"]
    components["schemas"]["Problem"] = _PROBLEM_SCHEMA
    components["headers"] = _HEADERS
    components["examples"] = {code: _problem_example(code) for code in PROBLEM_CODES}
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    _describe_fields(components["schemas"])
    looked_at = {path for path, methods in document["paths"].items() if "get" in methods}
    lists = {path.rpartition("/")[0] for path in looked_at if path.endswith("}")}
    for route in routes:
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            _complete_operation(operation, route, method, is_list=route.path_format in lists)


def _describe_fields(schemas: dict[str, Any]) -> None:
    """What the messages' fields say of themselves below their names."""
    said = _said_of_fields()
    for name, schema in schemas.items():
        for field, described in schema.get("properties", {}).items():
            if (name, field) in said:
                described["description"] = said[name, field]


@cache
def _said_of_fields() -> dict[tuple[str, str], str]:
    """By message and by the field's name on the wire."""
    return {
        (message.name, to_camel(field.target.id)): inspect.cleandoc(text.value.value)
        for module in _WIRE_MODULES
        for message in ast.parse(inspect.getsource(module)).body
        if isinstance(message, ast.ClassDef)
        for field, text in pairwise(message.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _complete_operation(
    operation: dict[str, Any], route: APIRoute, method: str, *, is_list: bool
) -> None:
    """`is_list` is whether what it lists can be looked at one by one."""
    description = operation.get("description") or ""
    operation["summary"] = route.summary or _first_sentence(description)
    operation["description"] = " ".join(description.split())
    for parameter in operation.get("parameters", ()):
        _complete_parameter(parameter)
    (guard,) = guards_of(route)
    named = {each["name"] for each in operation.get("parameters", ())}
    operation["responses"].pop("422", None)
    codes = {*operation.pop(_CODES_KEY, ()), *_codes_of(operation, guard, named, method)}
    for status, answer in operation["responses"].items():
        headers = [*_headers_of_success(int(status), named, codes, is_list=is_list)]
        headers += _rates(guard)
        _complete_answer(answer, int(status), headers, route)
    if IF_NONE_MATCH_HEADER in named:
        operation["responses"]["304"] = {
            "description": "The caller has the present representation.",
            "headers": _headers(REQUEST_ID_HEADER, ETAG_HEADER, *_rates(guard)),
        }
    if route.body_field is not None:
        _add_example(operation["requestBody"]["content"]["application/json"], route, is_body=True)
    operation["responses"].update(_problems(codes, guard))


def _complete_parameter(parameter: dict[str, Any]) -> None:
    """A parameter is there with a value or it is not; there is no null in paths and headers."""
    schema = parameter["schema"]
    if "anyOf" in schema:
        (given,) = [each for each in schema.pop("anyOf") if each != {"type": "null"}]
        schema.update(given)
    if "default" in schema and schema["default"] is None:
        del schema["default"]
    if parameter["name"] == IDEMPOTENCY_KEY_HEADER:
        parameter["required"] = True
        parameter["description"] = "A new value for each command, the same for its repeats."
        parameter["schema"] = {
            "type": "string",
            "minLength": 1,
            "maxLength": 200,
            "pattern": f"^{IDEMPOTENCY_KEY_PATTERN}$",
        }
        parameter["example"] = "3f0e5a1c-7a51-4a3c-9d1f-5f3c2f6a9b10"


def _headers_of_success(
    status: int, named: set[str], codes: set[str], *, is_list: bool
) -> Iterator[str]:
    """The way to what was made is told only where that can be looked at."""
    yield REQUEST_ID_HEADER
    if status in (200, 201) and _OF_ONE_THING & named and _SHOWN_ONCE not in codes:
        yield ETAG_HEADER
    if status == 202 or (status == 201 and is_list):
        yield "Location"


def _complete_answer(
    answer: dict[str, Any], status: int, headers: Iterable[str], route: APIRoute
) -> None:
    answer["headers"] = answer.get("headers", {}) | _headers(*headers)
    if answer["description"] == _SAID_BY_FASTAPI:
        answer["description"] = _SUCCESS[status]
    if "application/json" in answer.get("content", {}):
        _add_example(answer["content"]["application/json"], route, is_body=False)


def _add_example(content: dict[str, Any], route: APIRoute, *, is_body: bool) -> None:
    field = route.body_field if is_body else route.response_field
    example = None if field is None else example_of(field.field_info.annotation)
    if example is not None:
        content["example"] = example


def _codes_of(
    operation: dict[str, Any], guard: Guard, named: set[str], method: str
) -> Iterator[str]:
    """What follows from the form of the route."""
    yield from ("row_held", "database_unavailable", "invariant_broken")
    yield from _codes_of_guard(guard)
    if named:
        yield "invalid_input"
    if "requestBody" in operation:
        yield from ("malformed_json", "invalid_input", "body_too_slow")
    if method != "GET":
        yield "body_too_large"
    if "cursor" in named:
        yield "cursor_invalid"
    if IF_MATCH_HEADER in named:
        yield "precondition_failed"
    if IDEMPOTENCY_KEY_HEADER in named:
        yield from ("idempotency_key_missing", "idempotency_key_invalid", "idempotency_key_reused")


def _codes_of_guard(guard: Guard) -> Iterator[str]:
    if isinstance(guard, Open):
        return
    yield from ("token_missing", "token_invalid", "token_expired")
    if not isinstance(guard, Person | PlatformAdmin | InTeam):
        yield "not_allowed"
        return
    yield from ("token_revoked", "rate_limited")
    if isinstance(guard, InTeam):
        yield "not_found"
    if isinstance(guard, PlatformAdmin) or _asks_for_a_role(guard):
        yield "not_allowed"


def _asks_for_a_role(guard: Guard) -> bool:
    return isinstance(guard, InTeam) and guard.role is not TeamRole.TEAM_VIEWER


def _problems(codes: set[str], guard: Guard) -> dict[str, Any]:
    """The answers that tell these problems, by status."""
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for code in PROBLEM_CODES:  # in the order of the list
        if code in codes:
            by_status[status_of_code(code)].append(code)
    return {str(status): _problem(status, by_status[status], guard) for status in sorted(by_status)}


def _problem(status: int, codes: list[str], guard: Guard) -> dict[str, Any]:
    headers = [REQUEST_ID_HEADER]
    if status in (429, 503):
        headers.append("Retry-After")
    if status == 401:
        headers.append("WWW-Authenticate")
    else:
        headers.extend(_rates(guard))
    lines = [f"- `{code}`: {PROBLEM_CODES[code][1]}" for code in codes]
    named = {"type": "object", "properties": {"code": {"enum": codes}}}
    return {
        "description": "\n".join([f"{TITLES[status]}.", "", *lines]),
        "headers": _headers(*headers),
        "content": {
            PROBLEM_JSON: {
                "schema": {"allOf": [{"$ref": "#/components/schemas/Problem"}, named]},
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
            }
        },
    }


def _problem_example(code: str) -> dict[str, Any]:
    status = status_of_code(code)
    return {
        "summary": PROBLEM_CODES[code][1],
        "value": {
            "type": f"urn:idp:problem:{code}",
            "title": TITLES[status],
            "status": status,
            "code": code,
            "detail": PROBLEM_CODES[code][1],
            "requestId": "019ab0c4-6c1e-7d3a-9c55-0f6f1f0c2a11",
        },
    }


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _rates(guard: Guard) -> tuple[str, ...]:
    is_limited = isinstance(guard, Person | PlatformAdmin | InTeam)
    return ("RateLimit", "RateLimit-Policy") if is_limited else ()


def _first_sentence(text: str) -> str:
    flat = " ".join(text.split())
    end = flat.find(". ")
    return flat if end < 0 else flat[: end + 1]
