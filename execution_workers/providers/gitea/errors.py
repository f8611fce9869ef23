"""What Gitea's and Forgejo's answers mean to us. https://docs.gitea.com/api/"""

from __future__ import annotations

import httpx

from execution_workers.providers.calls import Verdict
from execution_workers.providers.rest import HttpErrors, without_answer
from idp_kernel.errors import ProviderRejected, Unavailable

_AGAIN = "It is tried again."
_LOG = "Look at its log and what stands before it."
_REJECTED = Verdict(
    ProviderRejected, "gitea_rejected", "Change what the message names, there or in the request."
)
_MOVED = Verdict(
    ProviderRejected,
    "gitea_moved",
    "Rename or transfer the repository back, or correct GITEA_URL when every call is sent on.",
)

OF_STATUS: dict[int, Verdict] = {
    301: _MOVED,
    302: _MOVED,
    307: _MOVED,
    308: _MOVED,
    400: _REJECTED,
    401: Verdict(
        ProviderRejected,
        "gitea_denied",
        "Write a token of the platform's account that has not expired into GITEA_TOKEN_FILE.",
    ),
    403: Verdict(
        ProviderRejected,
        "gitea_denied",
        "Give the platform's account the rights in the organisation, and its token the scopes, "
        "that docs/providers/gitea.md lists.",
    ),
    404: Verdict(
        ProviderRejected,
        "gitea_missing",
        "Create the organisation, or in it the team that is named like the platform's; or let the "
        "platform's account see it.",
    ),
    405: Verdict(
        ProviderRejected, "gitea_rejected", "Let the owner of the repository be an organisation."
    ),
    409: _REJECTED,
    412: _REJECTED,
    413: Verdict(ProviderRejected, "gitea_quota", "Raise the organisation's quota there."),
    422: _REJECTED,
    423: Verdict(ProviderRejected, "gitea_rejected", "Unarchive the repository there."),
    429: Verdict(Unavailable, "gitea_rate_limited", _AGAIN),
    500: Verdict(Unavailable, "gitea_failed", _LOG),
    502: Verdict(Unavailable, "gitea_failed", _LOG),
    503: Verdict(Unavailable, "gitea_failed", _LOG),
    504: Verdict(Unavailable, "gitea_failed", _LOG),
}


CONTENDED = Verdict(Unavailable, "gitea_contended", _AGAIN, contended=True)
"""Somebody made the same rule at the same moment; it is found when looked for again."""
_RULE_EXISTS = "protection already exist"


def _reasons(response: httpx.Response) -> str:
    """Its own words."""
    try:
        return str(response.json()["message"]) or "no reason given"
    except (ValueError, KeyError, TypeError):
        return "no reason given"


def _of_answer(response: httpx.Response) -> Verdict | None:
    is_contended = response.status_code == 403 and _RULE_EXISTS in _reasons(response)
    return CONTENDED if is_contended else None


ERRORS = HttpErrors(
    of_status=OF_STATUS,
    of_exception=without_answer("gitea", "GITEA_URL"),
    unreadable=Verdict(
        Unavailable, "gitea_unreadable", "See what stands before it, and compare GITEA_URL."
    ),
    reasons=_reasons,
    of_answer=_of_answer,
)
