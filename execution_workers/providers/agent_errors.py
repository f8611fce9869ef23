"""What answers of the GitOps agents that are read over REST mean to us: alike, but for the names of
their settings.
"""

from __future__ import annotations

import httpx

from execution_workers.providers.calls import Verdict
from execution_workers.providers.rest import HttpErrors, without_answer
from idp_kernel.errors import ProviderRejected, Unavailable

_NO_REASON = "no reason given"


def agent_errors(agent: str, url_setting: str, token_setting: str) -> HttpErrors:
    """The agent's table; its codes begin with its name."""
    page = f"docs/providers/{agent}.md"
    look_at_configuration = f"Compare {url_setting} and its version with {page}."
    failed_before = Verdict(
        Unavailable, f"{agent}_failed", "Look at its log and at what stands before it."
    )
    return HttpErrors(
        of_status={
            400: Verdict(ProviderRejected, f"{agent}_rejected", look_at_configuration),
            401: Verdict(
                ProviderRejected,
                f"{agent}_denied",
                f"Write a token that has not ended into {token_setting}.",
            ),
            403: Verdict(
                ProviderRejected,
                f"{agent}_denied",
                f"Give the token's account the rights in {page}.",
            ),
            404: Verdict(ProviderRejected, f"{agent}_missing", look_at_configuration),
            429: Verdict(Unavailable, f"{agent}_rate_limited", "It is tried again."),
            500: Verdict(Unavailable, f"{agent}_failed", "Look at its log."),
            502: failed_before,
            503: failed_before,
            504: failed_before,
        },
        of_exception=without_answer(agent, url_setting),
        unreadable=Verdict(Unavailable, f"{agent}_unreadable", "See what stands before it."),
        reasons=_reasons,
    )


def _reasons(response: httpx.Response) -> str:
    """The server's own words."""
    try:
        return str(response.json()["message"]) or _NO_REASON
    except (ValueError, KeyError, TypeError):
        return _NO_REASON
