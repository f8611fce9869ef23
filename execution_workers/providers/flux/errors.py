"""What answers of the Kubernetes API mean to us."""

from __future__ import annotations

import httpx

from execution_workers.providers.calls import Verdict
from execution_workers.providers.rest import HttpErrors, without_answer
from idp_kernel.errors import ProviderRejected, Unavailable

_LOOK_AT_CONFIGURATION = "Compare FLUX_KUBERNETES_URL and its version with docs/providers/flux.md."
_NO_REASON = "no reason given"
_REJECTED = Verdict(ProviderRejected, "flux_rejected", _LOOK_AT_CONFIGURATION)
_FAILED = Verdict(Unavailable, "flux_failed", "Look at its log.")
_FAILED_BEFORE = Verdict(
    Unavailable, "flux_failed", "Look at its log and at what stands before it."
)

OF_STATUS: dict[int, Verdict] = {
    400: _REJECTED,
    401: Verdict(
        ProviderRejected, "flux_denied", "Write a token that has not ended into FLUX_TOKEN_FILE."
    ),
    403: Verdict(
        ProviderRejected,
        "flux_denied",
        "Give the token's account the rights in docs/providers/flux.md.",
    ),
    404: Verdict(ProviderRejected, "flux_missing", _LOOK_AT_CONFIGURATION),
    429: Verdict(Unavailable, "flux_rate_limited", "It is tried again."),
    500: _FAILED,
    502: _FAILED_BEFORE,
    503: _FAILED_BEFORE,
    504: _FAILED_BEFORE,
}


def _reasons(response: httpx.Response) -> str:
    """The server's own words."""
    try:
        return str(response.json()["message"]) or _NO_REASON
    except (ValueError, KeyError, TypeError):
        return _NO_REASON


ERRORS = HttpErrors(
    of_status=OF_STATUS,
    of_exception=without_answer("flux", "FLUX_KUBERNETES_URL"),
    unreadable=Verdict(Unavailable, "flux_unreadable", "See what stands before it."),
    reasons=_reasons,
)
