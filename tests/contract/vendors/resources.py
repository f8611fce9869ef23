"""What Kubernetes takes for the resources that a vendor defines, as an OpenAPI 3 description."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Document = Mapping[str, Any]
JSON = "application/json"
_LIST_QUERY = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1}},
    {"name": "continue", "in": "query", "schema": {"type": "string"}},
]
"""By Kubernetes' own conventions, as the paths are."""
_ANSWER = {"responses": {"200": {"description": "As Kubernetes answers."}}}


def described(definitions: Iterable[Document]) -> dict[str, Any]:
    """The paths of namespaced resources, each in the versions that are served: a list of all, one
    of a namespace, an object by its name, and its replacement, whose body the definition describes.
    """
    paths: dict[str, Any] = {}
    for definition in definitions:
        spec = definition["spec"]
        for version in spec["versions"]:
            if version["served"]:
                paths |= _paths_of(spec, version)
    return {
        "openapi": "3.0.3",
        "info": {"title": "Custom resources", "version": "1"},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths_of(spec: Document, version: Document) -> dict[str, Any]:
    plural = spec["names"]["plural"]
    root = f"/apis/{spec['group']}/{version['name']}"
    within = f"{root}/namespaces/{{namespace}}/{plural}"
    a_list = {"get": {"parameters": _LIST_QUERY, **_ANSWER}}
    body = {"required": True, "content": {JSON: {"schema": version["schema"]["openAPIV3Schema"]}}}
    return {
        f"{root}/{plural}": a_list,
        within: {"parameters": [_in_path("namespace")], **a_list},
        f"{within}/{{name}}": {
            "parameters": [_in_path("namespace"), _in_path("name")],
            "get": _ANSWER,
            "put": {"requestBody": body, **_ANSWER},
        },
    }


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
