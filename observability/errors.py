"""Errors of services and of those they call: rules and panels ask for the same."""

from __future__ import annotations

from idp_kernel.services import ServiceName
from idp_kernel.telemetry.metrics import DOWNSTREAM_ERRORS, HTTP_REQUESTS
from observability import limits
from observability.promql import counted, matching, or_zero, other_than, series

_SERVER_ERRORS = series(HTTP_REQUESTS, status=matching("5.."))


def server_errors(*by: str) -> str:
    """How many answers had a status of 500 and above; 0 of whatever was asked for without one."""
    return or_zero(counted(_SERVER_ERRORS, limits.HTTP_ERRORS_WITHIN, *by), _requests(*by))


def server_error_share(*by: str) -> str:
    """Their share of all answers; no number where none was given."""
    errors = counted(_SERVER_ERRORS, limits.HTTP_ERRORS_WITHIN, *by)
    return or_zero(f"{errors} / {_requests(*by)}", _requests(*by))


def _requests(*by: str) -> str:
    return counted(series(HTTP_REQUESTS), limits.HTTP_ERRORS_WITHIN, *by)


def downstream_errors(*by: str) -> str:
    """How many calls failed, as the processes that made them count."""
    of_processes = series(DOWNSTREAM_ERRORS, job=other_than(ServiceName.METRICS_EXPORTER))
    return counted(of_processes, limits.DOWNSTREAM_ERRORS_WITHIN, *by)
