"""What Harbor's answers mean to us. https://goharbor.io/docs/main/working-with-projects/using-api-explorer/

Harbor refuses with `{"errors": [{"code": …, "message": …}]}`.
"""

from __future__ import annotations

import httpx

from execution_workers.providers.calls import Verdict
from execution_workers.providers.rest import HttpErrors, without_answer
from idp_kernel.errors import ProviderRejected, Unavailable

_LOOK_AT_CONFIGURATION = "Compare HARBOR_URL and Harbor's version with docs/providers/harbor.md."
_WAIT = "It is tried again."
_REJECTED = Verdict(ProviderRejected, "harbor_rejected", _LOOK_AT_CONFIGURATION)
_FAILED = Verdict(Unavailable, "harbor_failed", "Look at the log of Harbor's core.")
_FAILED_BEFORE = Verdict(
    Unavailable, "harbor_failed", "Look at the log of Harbor's core and of what stands before it."
)

OF_STATUS: dict[int, Verdict] = {
    400: _REJECTED,
    401: Verdict(
        ProviderRejected,
        "harbor_denied",
        "Write a name and a password that Harbor knows into HARBOR_CREDENTIALS_FILE.",
    ),
    403: Verdict(
        ProviderRejected,
        "harbor_denied",
        "Give the platform's account at Harbor the rights in docs/providers/harbor.md.",
    ),
    404: Verdict(ProviderRejected, "harbor_missing", _LOOK_AT_CONFIGURATION),
    405: _REJECTED,
    409: Verdict(Unavailable, "harbor_contended", _WAIT),
    412: _REJECTED,
    413: _REJECTED,
    422: _REJECTED,
    429: Verdict(Unavailable, "harbor_rate_limited", _WAIT),
    500: _FAILED,
    502: _FAILED_BEFORE,
    503: _FAILED_BEFORE,
    504: _FAILED_BEFORE,
}

NOT_CONFIGURED = Verdict(
    ProviderRejected,
    "issuer_not_configured",
    "Set IDP_EXECUTION_WORKERS_HARBOR_URL and …_HARBOR_CREDENTIALS_FILE, or let the secret have "
    "another issuer.",
)
NO_FREE_ROBOT = Verdict(
    ProviderRejected,
    "no_free_login",
    "Let an ordinary rotation finish first: it moves all bindings to one version.",
)
ROBOT_REPLACED = Verdict(
    ProviderRejected,
    "login_replaced",
    "A later credential is in its place, and this one's time is over: ask for a new rotation.",
)
OTHER_PREFIX = Verdict(
    ProviderRejected,
    "harbor_misconfigured",
    "Set HARBOR_ROBOT_PREFIX to the robot name prefix in Harbor's system settings.",
)


def _reasons(response: httpx.Response) -> str:
    """Harbor's own words."""
    try:
        found = response.json()["errors"]
        return "; ".join(f"{each['code']}: {each['message']}" for each in found) or _NO_REASON
    except (ValueError, KeyError, TypeError):
        return _NO_REASON


_NO_REASON = "no reason given"

ERRORS = HttpErrors(
    of_status=OF_STATUS,
    of_exception=without_answer("harbor", "HARBOR_URL"),
    unreadable=Verdict(Unavailable, "harbor_unreadable", "See what stands before it."),
    reasons=_reasons,
)
