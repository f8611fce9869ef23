"""The one table between our errors and HTTP: `application/problem+json` (RFC 9457) both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from idp_kernel.errors import (
    Conflict,
    InvalidInput,
    InvariantBroken,
    MoveRefused,
    NotAllowed,
    NotFound,
    PlatformError,
    ProviderRejected,
    Unauthenticated,
    Unavailable,
)

PROBLEM_JSON = "application/problem+json"

STATUS_BY_ERROR: dict[type[PlatformError], int] = {
    InvalidInput: 422,
    Unauthenticated: 401,
    NotAllowed: 403,
    NotFound: 404,
    Conflict: 409,
    MoveRefused: 409,
    Unavailable: 503,
    ProviderRejected: 502,
    InvariantBroken: 500,
}

STATUS_BY_CODE: dict[str, int] = {
    "malformed_json": 400,
    "body_too_slow": 408,
    "events_gone": 410,
    "precondition_failed": 412,
    "rate_limited": 429,
    "body_too_large": 413,
    "method_not_allowed": 405,
    "unsupported_media_type": 415,
}
"""Codes that HTTP has a more exact status for."""

TITLES: dict[int, str] = {
    400: "Bad Request",
    401: "Unauthenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Body too slow",
    409: "Conflict",
    410: "Gone",
    412: "Precondition failed",
    413: "Body too large",
    415: "Unsupported media type",
    422: "Invalid input",
    429: "Too many requests",
    500: "Internal error",
    502: "Provider rejected",
    503: "Unavailable",
}

_ERROR_BY_STATUS: dict[int, type[PlatformError]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: NotAllowed,
    404: NotFound,
    405: InvalidInput,
    409: Conflict,
    410: NotFound,
    412: Conflict,
    413: InvalidInput,
    415: InvalidInput,
    422: InvalidInput,
    500: InvariantBroken,
    502: ProviderRejected,
}

_OWN_FIELDS = frozenset({"type", "title", "status", "code", "detail", "requestId", "retryAfter"})


def status_of(error: PlatformError) -> int:
    """The HTTP status of an error, that of its nearest class in the table."""
    return STATUS_BY_CODE.get(error.code) or next(
        STATUS_BY_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_BY_ERROR
    )


def problem_of(error: PlatformError, request_id: str) -> dict[str, Any]:
    """The problem document of an error; `request_id` names the HTTP request in the logs."""
    status = status_of(error)
    problem: dict[str, Any] = {
        "type": f"urn:idp:problem:{error.code}",
        "title": TITLES[status],
        "status": status,
        "code": error.code,
        "detail": error.message,
        "requestId": request_id,
        **error.details,
    }
    if isinstance(error, Unavailable) and error.retry_after_seconds is not None:
        problem["retryAfter"] = error.retry_after_seconds
    return problem


def error_of(status: int, body: bytes, *, party: str, retry_after: str | None) -> PlatformError:
    """The error a response of `party` stands for.

    Anything that is not a problem of ours is told by its status: 429 and 5xx but 500 and 502
    with a problem are `Unavailable`, other 4xx the caller's error of that status.
    """
    problem = _parse(body)
    if problem is None:
        return _foreign(status, party, retry_after)
    message, code = str(problem["detail"]), str(problem["code"])
    details = {key: value for key, value in problem.items() if key not in _OWN_FIELDS}
    if status in (408, 429, 503) or status not in _ERROR_BY_STATUS:
        seconds = problem.get("retryAfter")
        return Unavailable(
            message,
            code=code,
            details=details,
            retry_after_seconds=float(seconds) if seconds is not None else _seconds(retry_after),
        )
    if {"current", "wanted", "allowed"} <= details.keys():
        return MoveRefused(
            message,
            code=code,
            current=str(details["current"]),
            wanted=str(details["wanted"]),
            allowed=[str(state) for state in details["allowed"]],
        )
    return _ERROR_BY_STATUS[status](message, code=code, details=details)


def _parse(body: bytes) -> Mapping[str, Any] | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    if isinstance(document, dict) and {"code", "detail"} <= document.keys():
        return document
    return None


def _foreign(status: int, party: str, retry_after: str | None) -> PlatformError:
    message = f"{party} answered {status} without a problem document."
    if status == 429 or status >= 500:
        return Unavailable(
            message, code="unexpected_answer", retry_after_seconds=_seconds(retry_after)
        )
    return _ERROR_BY_STATUS.get(status, InvalidInput)(message, code="unexpected_answer")


def _seconds(retry_after: str | None) -> float | None:
    """`Retry-After` in seconds; its date form is not used between our services."""
    return float(retry_after) if retry_after is not None and retry_after.isdigit() else None
