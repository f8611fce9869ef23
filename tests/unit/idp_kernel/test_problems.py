"""Errors survive the way over HTTP: what a service raises is what its caller gets."""

from __future__ import annotations

import inspect
import json

import pytest

from idp_kernel import errors
from idp_kernel.errors import (
    InvalidInput,
    MoveRefused,
    NotFound,
    PlatformError,
    Unavailable,
)
from idp_kernel.http.problems import STATUS_BY_ERROR, error_of, problem_of, status_of

ERROR_CLASSES = [
    each
    for _, each in inspect.getmembers(errors, inspect.isclass)
    if issubclass(each, PlatformError) and each is not PlatformError
]


def _make(error_class: type[PlatformError]) -> PlatformError:
    if error_class is MoveRefused:
        return MoveRefused("No.", current="Draft", wanted="Archived", allowed=["Active"])
    return error_class("It did not work.", code="some_code", details={"activeRequestId": "r1"})


def test_every_error_has_a_status() -> None:
    assert set(STATUS_BY_ERROR) == set(ERROR_CLASSES)


@pytest.mark.parametrize("error_class", ERROR_CLASSES)
def test_an_error_comes_back_as_itself(error_class: type[PlatformError]) -> None:
    sent = _make(error_class)
    body = json.dumps(problem_of(sent, "req-1")).encode()
    received = error_of(status_of(sent), body, party="somebody", retry_after=None)
    assert type(received) is error_class
    assert (received.message, received.code, received.details) == (
        sent.message,
        sent.code,
        sent.details,
    )


def test_a_partys_own_kind_of_error_has_its_parents_status() -> None:
    class BridgeBurned(InvalidInput):
        """Somebody's own."""

    assert status_of(BridgeBurned("No.")) == STATUS_BY_ERROR[InvalidInput]


def test_a_problem_names_code_status_and_request() -> None:
    problem = problem_of(NotFound("No team payments."), "req-7")
    assert problem == {
        "type": "urn:idp:problem:not_found",
        "title": "Not found",
        "status": 404,
        "code": "not_found",
        "detail": "No team payments.",
        "requestId": "req-7",
    }


def test_a_wait_is_told_and_understood() -> None:
    problem = problem_of(Unavailable("Later.", retry_after_seconds=2.5), "r")
    assert problem["retryAfter"] == 2.5
    received = error_of(503, json.dumps(problem).encode(), party="x", retry_after=None)
    assert isinstance(received, Unavailable)
    assert received.retry_after_seconds == 2.5


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (500, Unavailable),
        (502, Unavailable),
        (504, Unavailable),
        (429, Unavailable),
        (404, NotFound),
        (418, InvalidInput),
    ],
)
def test_a_foreign_answer_is_told_by_its_status(status: int, expected: type[PlatformError]) -> None:
    received = error_of(status, b"<html>nginx</html>", party="the proxy", retry_after="7")
    assert type(received) is expected
    assert "the proxy" in received.message
    if isinstance(received, Unavailable):
        assert received.retry_after_seconds == 7
