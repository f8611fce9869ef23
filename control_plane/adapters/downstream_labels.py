"""The labels of `downstream_errors_total`, whatever a run reports."""

from __future__ import annotations

import re

from psycopg import errors

from idp_kernel.downstream import CODES, OTHER, TARGETS
from idp_kernel.telemetry.metrics import NO_STATUS
from idp_kernel.wire.worker import DownstreamError

_HTTP_STATUS = re.compile(r"[1-5][0-9]{2}")


def labels_of(error: DownstreamError) -> tuple[str, str, str]:
    """Target, code and status, each `other` unless it is one that is known: reports make no series
    of their own.
    """
    return (
        error.target if error.target in TARGETS else OTHER,
        error.code if error.code in CODES else OTHER,
        error.status if _is_status(error.status) else OTHER,
    )


def _is_status(told: str) -> bool:
    """No answer, a status of HTTP, or an SQLSTATE that PostgreSQL has."""
    return told == NO_STATUS or _HTTP_STATUS.fullmatch(told) is not None or _is_sqlstate(told)


def _is_sqlstate(told: str) -> bool:
    try:
        errors.lookup(told)
    except KeyError:
        return False
    return True
