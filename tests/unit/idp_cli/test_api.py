from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from idp_cli.api import IDEMPOTENCY_KEY, TRIES, Api, path_segment
from idp_kernel.errors import Conflict, Unavailable
from idp_kernel.http.client import ServiceClient
from idp_kernel.http.problems import problem_of
from idp_kernel.wire.api import Environment

ENVIRONMENT = {
    "id": "01930000-0000-7000-8000-000000000000",
    "slug": "dev",
    "description": "",
    "state": "Active",
    "createdAt": "2026-01-01T00:00:00Z",
}


def api(answer: Callable[[httpx.Request], httpx.Response]) -> Api:
    transport = httpx.MockTransport(answer)
    return Api(ServiceClient("http://platform", party="control-plane-api", transport=transport))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idp_cli.api.FIRST_PAUSE_SECONDS", 0.001)


def test_a_command_without_an_answer_is_repeated_under_the_same_key() -> None:
    keys: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers[IDEMPOTENCY_KEY])
        if len(keys) < TRIES:
            raise httpx.ReadTimeout("no answer")
        return httpx.Response(200, json=ENVIRONMENT)

    assert api(answer).command("/v1/environments", Environment).slug == "dev"
    assert len(keys) == TRIES
    assert len(set(keys)) == 1


def test_two_commands_have_two_keys() -> None:
    keys: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers[IDEMPOTENCY_KEY])
        return httpx.Response(200, json=ENVIRONMENT)

    calls = api(answer)
    calls.command("/v1/environments", Environment)
    calls.command("/v1/environments", Environment)
    assert len(set(keys)) == 2


def test_silence_is_said_after_the_last_try() -> None:
    tries = 0

    def answer(_request: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        raise httpx.ConnectError("nobody there")

    with pytest.raises(Unavailable, match="no answer"):
        api(answer).get("/v1/environments", Environment)
    assert tries == TRIES


def test_a_refusal_is_not_repeated() -> None:
    tries = 0

    def answer(_request: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        return httpx.Response(409, json=problem_of(Conflict("It is there."), "1"))

    with pytest.raises(Conflict):
        api(answer).command("/v1/environments", Environment)
    assert tries == 1


def test_a_list_is_read_to_its_last_page() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        is_last = request.url.params.get("cursor") == "second"
        page = {"items": [ENVIRONMENT], "nextCursor": None if is_last else "second"}
        return httpx.Response(200, json=page)

    assert len(list(api(answer).all("/v1/environments", Environment))) == 2


def test_a_list_ends_at_its_limit_and_asks_for_no_more() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["limit"])
        return httpx.Response(200, json={"items": [ENVIRONMENT] * 2, "nextCursor": "more"})

    assert len(list(api(answer).all("/v1/environments", Environment, limit=2))) == 2
    assert asked == ["2"]


def rate_limited(seconds: float) -> httpx.Response:
    error = Unavailable("Too many calls.", code="rate_limited", retry_after_seconds=seconds)
    return httpx.Response(429, json=problem_of(error, "1"))


def test_a_call_that_comes_too_soon_waits_as_it_is_told() -> None:
    answers = [rate_limited(0.01), httpx.Response(200, json=ENVIRONMENT)]
    assert api(lambda _request: answers.pop(0)).get("/v1/environments", Environment).slug == "dev"


def test_a_wait_that_nobody_sits_out_is_told_at_once() -> None:
    tries = 0

    def answer(_request: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        return rate_limited(3600)

    with pytest.raises(Unavailable, match="Too many calls"):
        api(answer).get("/v1/environments", Environment)
    assert tries == 1


@pytest.mark.parametrize("typed", ["../admin", "a/b", "%00", "-x", "ä", "a?b#c"])
def test_what_was_typed_stays_one_segment(typed: str) -> None:
    url = httpx.URL(f"http://platform/v1/teams/{path_segment(typed)}/members")
    assert url.raw_path.count(b"/") == 4
    assert url.query == b""
