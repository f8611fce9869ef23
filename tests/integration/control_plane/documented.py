"""Every answer that a test gets is one that the description of the API speaks of."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema_rs import Draft202012Validator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.openapi import openapi_document
from idp_kernel.http.problems import PROBLEM_JSON
from idp_kernel.http.server import OPEN_PATHS


@cache
def document() -> dict[str, Any]:
    return openapi_document()


@cache
def validator(path: str, method: str, status: str, media_type: str) -> Draft202012Validator:
    answer = document()["paths"][path][method]["responses"][status]
    schema = answer["content"][media_type]["schema"]
    return Draft202012Validator({**schema, "components": document()["components"]})


class Documented:
    """The application, with what it answered beyond its description in `wrong`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.wrong: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, headers, body = 0, {}, b""

        async def heard_send(message: Message) -> None:
            nonlocal status, headers, body
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = {key.decode(): value.decode() for key, value in message["headers"]}
            elif message["type"] == "http.response.body":
                body += message.get("body", b"")
            await send(message)

        await self._app(scope, receive, heard_send)
        path = getattr(scope.get("route"), "path", None)
        if scope["type"] == "http" and path is not None and path not in OPEN_PATHS:
            self.wrong += beyond(path, scope["method"].lower(), status, headers, body)


def beyond(path: str, method: str, status: int, headers: dict[str, str], body: bytes) -> list[str]:
    """What of the answer the description does not speak of."""
    operation = document()["paths"].get(path, {}).get(method)
    if operation is None:
        return []
    where = f"{method.upper()} {path} {status}"
    answer = operation["responses"].get(str(status))
    if answer is None:
        return [f"{where} is not described: {body.decode()}"]
    told = _wrong_headers(headers, answer)
    media_type = headers.get("content-type", "").partition(";")[0]
    if body and media_type not in answer.get("content", {}):
        return [f"{where} is not described as {media_type}"]
    if media_type in ("application/json", PROBLEM_JSON) and body:
        errors = validator(path, method, str(status), media_type).iter_errors(json.loads(body))
        told += [f"{error.instance_path}: {error.message[:300]}" for error in errors]
    return [f"{where}: {each}" for each in told]


def _wrong_headers(headers: dict[str, str], answer: dict[str, Any]) -> list[str]:
    """Those that are sent and not described, and those that are promised and not sent."""
    described = {name.lower(): _header(each) for name, each in answer.get("headers", {}).items()}
    promised = {name for name, header in described.items() if header.get("required")}
    plain = {"content-type", "content-length"}
    return [
        *(f"header {name} is not described" for name in headers.keys() - described.keys() - plain),
        *(f"header {name} is missing" for name in promised - headers.keys()),
    ]


def _header(described: dict[str, Any]) -> dict[str, Any]:
    """The header's object, which may stand among the components."""
    if "$ref" not in described:
        return described
    found: dict[str, Any] = document()["components"]["headers"][
        described["$ref"].rpartition("/")[2]
    ]
    return found
