from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from idp_cli.api import CHANGED_MEANWHILE, IDEMPOTENCY_KEY, TRIES, Api, path_segment
from idp_kernel.errors import Conflict, Unavailable
from idp_kernel.http.client import ServiceClient
from idp_kernel.http.problems import problem_of
from idp_kernel.wire.api import DescribeEnvironment, Environment

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


class Described:
    """An environment behind `If-Match`; somebody may change it at once, and an answer be lost."""

    def __init__(self, *, after: str | None = None, is_lost: bool = True) -> None:
        self.present = dict(ENVIRONMENT)
        self.after = after
        self.loses_answer = is_lost

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=self.present)
        if request.headers["If-Match"] != f'"{self.present["description"]}"':
            changed = Conflict("It has changed.", code=CHANGED_MEANWHILE)
            return httpx.Response(412, json=problem_of(changed, "1"))
        self.present["description"] = json.loads(request.content)["description"]
        if self.after is not None:
            self.present["description"] = self.after
        if self.loses_answer:
            self.loses_answer = False
            raise httpx.ReadTimeout("no answer")
        return httpx.Response(200, json=self.present)

    def describe(self, text: str, tag: str = '""') -> Environment:
        body = DescribeEnvironment(description=text)
        return api(self.answer).put("/v1/environments/dev", Environment, body, if_match=tag)


def test_a_change_whose_answer_was_lost_is_found_done() -> None:
    assert Described().describe("Ours").description == "Ours"


def test_a_change_that_somebody_else_overtook_is_not_taken_for_ones_own() -> None:
    with pytest.raises(Conflict) as refused:
        Described(after="Theirs").describe("Ours")
    assert refused.value.code == CHANGED_MEANWHILE


def test_what_had_changed_before_the_first_try_is_refused_though_it_looks_as_wanted() -> None:
    described = Described(is_lost=False)
    described.present["description"] = "Ours"
    with pytest.raises(Conflict) as refused:
        described.describe("Ours")
    assert refused.value.code == CHANGED_MEANWHILE


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


def rate_limited(seconds: float, code: str = "rate_limited") -> httpx.Response:
    error = Unavailable("Too many calls.", code=code, retry_after_seconds=seconds)
    return httpx.Response(429, json=problem_of(error, "1"))


@pytest.mark.parametrize("code", ["rate_limited", "row_held", "database_unavailable"])
def test_a_call_that_comes_too_soon_waits_as_it_is_told(code: str) -> None:
    answers = [rate_limited(0.01, code), httpx.Response(200, json=ENVIRONMENT)]
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
