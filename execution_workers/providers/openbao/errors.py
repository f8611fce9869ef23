"""What OpenBao's answers mean to us. https://openbao.org/api-docs/#http-status-codes"""

from __future__ import annotations

import re

import httpx

from execution_workers.providers.calls import Verdict
from execution_workers.providers.rest import HttpErrors, without_answer
from idp_kernel.errors import ProviderRejected, Unavailable

_LOOK_AT_CONFIGURATION = "Compare the mount, the workers' policy and OPENBAO_URL with its set-up."
_WAIT = "It is tried again."

OF_STATUS: dict[int, Verdict] = {
    400: Verdict(ProviderRejected, "openbao_rejected", _LOOK_AT_CONFIGURATION),
    401: Verdict(ProviderRejected, "openbao_denied", _LOOK_AT_CONFIGURATION),
    403: Verdict(ProviderRejected, "openbao_denied", "Give the workers' role its policy again."),
    404: Verdict(ProviderRejected, "openbao_missing", _LOOK_AT_CONFIGURATION),
    405: Verdict(ProviderRejected, "openbao_rejected", _LOOK_AT_CONFIGURATION),
    412: Verdict(Unavailable, "openbao_behind", _WAIT, contended=True),
    413: Verdict(ProviderRejected, "openbao_rejected", _LOOK_AT_CONFIGURATION),
    429: Verdict(Unavailable, "openbao_rate_limited", _WAIT),
    472: Verdict(Unavailable, "openbao_standby", "Point OPENBAO_URL at the active node."),
    473: Verdict(Unavailable, "openbao_standby", "Point OPENBAO_URL at the active node."),
    500: Verdict(Unavailable, "openbao_failed", "Look at its log."),
    501: Verdict(Unavailable, "openbao_not_initialised", "Initialise it."),
    502: Verdict(Unavailable, "openbao_failed", "Look at its log and what stands before it."),
    503: Verdict(Unavailable, "openbao_sealed", "Unseal it, or wait until maintenance is over."),
    504: Verdict(Unavailable, "openbao_failed", "Look at its log and what stands before it."),
}

CONTENDED = Verdict(Unavailable, "openbao_contended", _WAIT, contended=True)
"""Somebody else wrote the same secret at the same moment: check-and-set refused."""
_CHECK_AND_SET_REFUSED = re.compile(r"check-and-set parameter (did|does) not match")


def _reasons(response: httpx.Response) -> str:
    """OpenBao's own words."""
    try:
        return "; ".join(str(reason) for reason in response.json()["errors"]) or "no reason given"
    except (ValueError, KeyError, TypeError):
        return "no reason given"


def _of_answer(response: httpx.Response) -> Verdict | None:
    contended = response.status_code == 400 and _CHECK_AND_SET_REFUSED.search(_reasons(response))
    return CONTENDED if contended else None


ERRORS = HttpErrors(
    of_status=OF_STATUS,
    of_exception=without_answer("openbao", "OPENBAO_URL"),
    unreadable=Verdict(Unavailable, "openbao_unreadable", "See what stands before it."),
    reasons=_reasons,
    of_answer=_of_answer,
)
