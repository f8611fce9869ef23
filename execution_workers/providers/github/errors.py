"""What GitHub's answers mean to us.
https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from execution_workers.providers.calls import Verdict
from execution_workers.providers.rest import RETRY_AFTER, HttpErrors, seconds_of, without_answer
from idp_kernel.errors import ProviderRejected, Unavailable

REMAINING, RESET = "x-ratelimit-remaining", "x-ratelimit-reset"
UNTOLD_PAUSE_SECONDS = 60.0
"""What GitHub asks for where a secondary limit comes without a time."""

_AGAIN = "It is tried again."
_REJECTED = Verdict(
    ProviderRejected, "github_rejected", "Change what the message names, there or in the request."
)
_MOVED = Verdict(
    ProviderRejected, "github_moved", "Rename or transfer the repository back, or correct "
    "GITHUB_URL when every call is sent on.",
)  # fmt: skip
_DENIED = Verdict(
    ProviderRejected,
    "github_denied",
    "Give the platform's App or token the permissions that docs/providers/github.md lists, and "
    "have its owner accept them.",
)
_FAILED = Verdict(Unavailable, "github_failed", "See https://www.githubstatus.com, or its log.")

OF_STATUS: dict[int, Verdict] = {
    301: _MOVED,
    302: _MOVED,
    307: _MOVED,
    308: _MOVED,
    400: _REJECTED,
    401: Verdict(
        ProviderRejected,
        "github_denied",
        "Write the App's key or a token that has not expired into the file of GITHUB_APP_KEY_FILE "
        "or GITHUB_TOKEN_FILE, and see that GITHUB_APP_ID is the key's.",
    ),
    403: _DENIED,
    404: Verdict(
        ProviderRejected,
        "github_missing",
        "Create the organisation, or in it the team that is named like the platform's; or let the "
        "platform's App or token see it.",
    ),
    409: _REJECTED,
    410: _REJECTED,
    413: _REJECTED,
    422: _REJECTED,
    429: Verdict(Unavailable, "github_rate_limited", _AGAIN),
    500: _FAILED,
    502: _FAILED,
    503: _FAILED,
    504: _FAILED,
}
RATE_LIMITED = Verdict(Unavailable, "github_rate_limited", _AGAIN)
CLOCK = Verdict(
    ProviderRejected, "github_clock", "Set the clock of the machine that execution-workers run on."
)
_OF_CLOCKS = ("'exp'", "'iat'", "'Expiration time'", "'Issued at'")
"""In GitHub's words on a signed token whose times are not now."""


def _reasons(response: httpx.Response) -> str:
    """Its own words, those on single fields too."""
    try:
        document = response.json()
        found = [str(document["message"])]
    except (ValueError, KeyError, TypeError):
        return "no reason given"
    errors = document.get("errors")
    for each in errors if isinstance(errors, list) else []:
        words = each.get("message") if isinstance(each, dict) else each
        found.append(str(words or ""))
    return "; ".join(part for part in found if part) or "no reason given"


def is_limited(response: httpx.Response) -> bool:
    """Whether it is a limit that refuses, the primary or a secondary one, rather than a right."""
    return response.status_code in (403, 429) and (
        RETRY_AFTER in response.headers
        or response.headers.get(REMAINING) == "0"
        or "rate limit" in _reasons(response).lower()
        or response.status_code == 429
    )


def retry_after_seconds(response: httpx.Response) -> float | None:
    """By `Retry-After`, else until the limit's reset as seen from GitHub's own clock."""
    told = seconds_of(response.headers.get(RETRY_AFTER, ""))
    if told is not None or not is_limited(response):
        return told
    reset = response.headers.get(RESET, "")
    if response.headers.get(REMAINING) == "0" and reset.isascii() and reset.isdigit():
        return max(int(reset) - _now(response).timestamp(), 0)
    return UNTOLD_PAUSE_SECONDS


def _now(response: httpx.Response) -> datetime:
    try:
        return parsedate_to_datetime(response.headers.get("Date", ""))
    except ValueError:
        return datetime.now(UTC)


def _of_answer(response: httpx.Response) -> Verdict | None:
    if is_limited(response):
        return RATE_LIMITED
    words = _reasons(response)
    if response.status_code == 401 and any(claim in words for claim in _OF_CLOCKS):
        return CLOCK
    return None


ERRORS = HttpErrors(
    of_status=OF_STATUS,
    of_exception=without_answer("github", "GITHUB_URL"),
    unreadable=Verdict(
        Unavailable, "github_unreadable", "See what stands before it, and compare GITHUB_URL."
    ),
    reasons=_reasons,
    of_answer=_of_answer,
    retry_after_seconds=retry_after_seconds,
)
