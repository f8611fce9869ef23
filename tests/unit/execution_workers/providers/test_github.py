"""GitHub's addresses, and what its refusals mean."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from execution_workers.credentials import SecretFile
from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.github.client import MOST_KEPT, Kept, api_address
from execution_workers.providers.github.credentials import App, InstallationToken, MintedToken
from execution_workers.providers.github.errors import (
    ERRORS,
    UNTOLD_PAUSE_SECONDS,
    retry_after_seconds,
)
from execution_workers.providers.rest import RestClient
from idp_kernel.clock import SystemClock
from idp_kernel.telemetry.metrics import downstream_errors


@pytest.mark.parametrize(
    ("url", "base", "prefix"),
    [
        ("https://github.com", "https://api.github.com", ""),
        ("https://acme.ghe.com", "https://api.acme.ghe.com", ""),
        ("https://git.example.com", "https://git.example.com", "api/v3/"),
        ("http://git.example.com:8080", "http://git.example.com:8080", "api/v3/"),
        ("https://notgithub.com", "https://notgithub.com", "api/v3/"),
    ],
)
def test_the_apis_address_follows_from_githubs(url: str, base: str, prefix: str) -> None:
    assert api_address(url) == (base, prefix)


def answer(status: int, message: str = "", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"message": message}, headers=named)


@pytest.mark.parametrize(
    ("response", "code", "pause"),
    [
        (answer(403, "Resource not accessible by integration"), "github_denied", None),
        (answer(403, "Not yours", x_ratelimit_remaining="12"), "github_denied", None),
        (answer(403, retry_after="9"), "github_rate_limited", 9),
        (answer(429), "github_rate_limited", UNTOLD_PAUSE_SECONDS),
        (
            answer(403, "You have exceeded a secondary rate limit."),
            "github_rate_limited",
            UNTOLD_PAUSE_SECONDS,
        ),
        (
            answer(403, x_ratelimit_remaining="0", x_ratelimit_reset="soon"),
            "github_rate_limited",
            UNTOLD_PAUSE_SECONDS,
        ),
        (answer(401, "Bad credentials"), "github_denied", None),
        (answer(401, "'Issued at' claim ('iat') must be in the past"), "github_clock", None),
        (answer(503, retry_after="5"), "github_failed", 5),
    ],
)
def test_a_limit_is_told_from_a_missing_right(
    response: httpx.Response, code: str, pause: float | None
) -> None:
    assert ERRORS.of(response).code == code
    assert retry_after_seconds(response) == pause


def test_no_token_stands_in_a_text_of_what_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    token = InstallationToken(token="ghs_hush", expires_at=datetime.now(UTC) + timedelta(hours=1))
    calls = ProviderCalls(
        "github", concurrency=1, wait_seconds=1, errors=downstream_errors(CollectorRegistry())
    )
    with closing(RestClient("http://127.0.0.1", calls, ERRORS, timeout_seconds=1)) as rest:
        app = App(rest, "", 1, 1, SecretFile(Path("key.pem")), SystemClock())
        monkeypatch.setattr(App, "minted", lambda _app: token)
        held = MintedToken(app)
        assert held.token() == "ghs_hush"
        assert "ghs_hush" not in f"{token!r} {token} {held!r}"


@pytest.mark.parametrize("apart", [timedelta(0), timedelta(hours=3), timedelta(hours=-3)])
def test_a_reset_counts_from_githubs_own_clock(apart: timedelta) -> None:
    there = datetime.now(UTC) + apart
    response = answer(
        403,
        x_ratelimit_remaining="0",
        x_ratelimit_reset=str(int(there.timestamp()) + 90),
        date=format_datetime(there, usegmt=True),
    )
    assert 88 <= (retry_after_seconds(response) or 0) <= 91


def test_all_reasons_are_told() -> None:
    errors = [{"message": "name already exists"}, "another", {"code": "custom"}]
    response = httpx.Response(422, json={"message": "Failed.", "errors": errors})
    assert ERRORS.reasons(response) == "Failed.; name already exists; another"


def test_only_the_newest_answers_are_kept() -> None:
    kept = Kept()
    for number in range(MOST_KEPT + 1):
        kept.put((str(number), ""), httpx.Response(200))
    assert kept.get(("0", "")) is None
    assert kept.get(("1", "")) is not None
