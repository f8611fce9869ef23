"""What OpenBao's answers mean to us. https://openbao.org/api-docs/#http-status-codes"""

from __future__ import annotations

import httpx

from execution_workers.providers.calls import Verdict
from idp_kernel.errors import ProviderRejected, Unavailable

_LOOK_AT_CONFIGURATION = "Compare the mount, the workers' policy and OPENBAO_URL with its set-up."
_WAIT = "It is tried again."

OF_STATUS: dict[int, Verdict] = {
    400: Verdict(ProviderRejected, "openbao_rejected", _LOOK_AT_CONFIGURATION),
    401: Verdict(ProviderRejected, "openbao_denied", _LOOK_AT_CONFIGURATION),
    403: Verdict(ProviderRejected, "openbao_denied", "Give the workers' role its policy again."),
    404: Verdict(ProviderRejected, "openbao_missing", _LOOK_AT_CONFIGURATION),
    405: Verdict(ProviderRejected, "openbao_rejected", _LOOK_AT_CONFIGURATION),
    412: Verdict(Unavailable, "openbao_behind", _WAIT),
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
"""By status; `of_status` says what others mean."""

UNREADABLE = Verdict(Unavailable, "openbao_unreadable", "See what stands before it.")
"""An answer, but none of OpenBao's."""

OF_EXCEPTION: dict[type[httpx.RequestError], Verdict] = {
    httpx.ConnectTimeout: Verdict(Unavailable, "openbao_unreachable", "See whether it runs."),
    httpx.ReadTimeout: Verdict(Unavailable, "openbao_timeout", _WAIT),
    httpx.WriteTimeout: Verdict(Unavailable, "openbao_timeout", _WAIT),
    httpx.PoolTimeout: Verdict(Unavailable, "openbao_timeout", _WAIT),
    httpx.ConnectError: Verdict(Unavailable, "openbao_unreachable", "See whether it runs."),
    httpx.ReadError: Verdict(Unavailable, "openbao_unreachable", _WAIT),
    httpx.WriteError: Verdict(Unavailable, "openbao_unreachable", _WAIT),
    httpx.CloseError: Verdict(Unavailable, "openbao_unreachable", _WAIT),
    httpx.RemoteProtocolError: Verdict(Unavailable, "openbao_unreachable", _WAIT),
    httpx.LocalProtocolError: Verdict(
        ProviderRejected, "openbao_misconfigured", "Correct the credentials and OPENBAO_URL."
    ),
    httpx.ProxyError: Verdict(Unavailable, "openbao_unreachable", "See whether the proxy runs."),
    httpx.UnsupportedProtocol: Verdict(
        ProviderRejected, "openbao_misconfigured", "OPENBAO_URL begins with http:// or https://."
    ),
    httpx.DecodingError: UNREADABLE,
    httpx.TooManyRedirects: Verdict(
        ProviderRejected, "openbao_misconfigured", "Point OPENBAO_URL at the active node."
    ),
    httpx.TimeoutException: Verdict(Unavailable, "openbao_timeout", _WAIT),
    httpx.NetworkError: Verdict(Unavailable, "openbao_unreachable", _WAIT),
    httpx.ProtocolError: Verdict(Unavailable, "openbao_unreachable", _WAIT),
    httpx.TransportError: Verdict(Unavailable, "openbao_unreachable", _WAIT),
    httpx.RequestError: Verdict(Unavailable, "openbao_unreachable", _WAIT),
}
"""Every end of a request without an answer: `httpx.RequestError` and all its subclasses."""

CONTENDED = Verdict(Unavailable, "openbao_contended", _WAIT)
"""Somebody else wrote the same secret at the same moment: check-and-set refused."""


def of_status(status: int) -> Verdict:
    """The line of a status; an unknown one is told by its hundred."""
    return OF_STATUS.get(status) or OF_STATUS[500 if status >= 500 else 400]
