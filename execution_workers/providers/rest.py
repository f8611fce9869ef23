"""The way to a vendor's REST API, over plain httpx: time limits of its own, and the vendor's table.

Nothing is retried here, and no error holds what was sent: httpx keeps the request on its errors,
and a request may carry a secret.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any

import httpx
from opentelemetry import trace

from execution_workers.providers.calls import ProviderCalls, Verdict
from idp_kernel.downstream import OTHER
from idp_kernel.errors import PlatformError, ProviderRejected, Unavailable
from idp_kernel.http.client import CONNECT_TIMEOUT_SECONDS
from idp_kernel.services import ServiceName

RETRY_AFTER = "Retry-After"
_AGAIN = "It is tried again."
_NO_COOKIES = DefaultCookiePolicy(allowed_domains=[])
"""A session that a vendor opens for one call would speak for the next, whoever that is from."""


@dataclass(frozen=True)
class HttpErrors:
    """A vendor's error table."""

    of_status: Mapping[int, Verdict]
    """One that is not listed is told as 500 or as 400, which always are."""
    of_exception: Mapping[type[httpx.RequestError], Verdict]
    """Every end of a request without an answer: `httpx.RequestError` and all its subclasses."""
    unreadable: Verdict
    """An answer, but none of the vendor's."""
    reasons: Callable[[httpx.Response], str]
    """The vendor's own words in an answer; they name paths and parameters, never values."""
    of_answer: Callable[[httpx.Response], Verdict | None] = lambda _response: None
    """What an answer means that says more than its status; None when it does not."""
    retry_after_seconds: Callable[[httpx.Response], float | None] = lambda response: seconds_of(
        response.headers.get(RETRY_AFTER, "")
    )
    """How long the vendor wants to be left alone."""

    def of(self, response: httpx.Response) -> Verdict:
        """What an answer without success means."""
        status = response.status_code
        listed = self.of_answer(response) or self.of_status.get(status)
        return listed or self.of_status[500 if status >= 500 else 400]


class RestClient:
    """Calls one vendor's API. Thread-safe; connections are pooled and kept."""

    def __init__(
        self,
        base_url: str,
        calls: ProviderCalls,
        errors: HttpErrors,
        *,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
        ca_file: Path | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`ca_file` has the authorities that vouch for the vendor, as PEM; the well-known ones
        without it.
        """
        self.calls = calls
        self._errors = errors
        self._client = httpx.Client(
            base_url=f"{base_url.rstrip('/')}/",
            timeout=httpx.Timeout(
                timeout_seconds, connect=min(timeout_seconds, CONNECT_TIMEOUT_SECONDS)
            ),
            headers={"User-Agent": ServiceName.EXECUTION_WORKERS, **(headers or {})},
            cookies=CookieJar(_NO_COOKIES),
            follow_redirects=False,
            trust_env=False,
            verify=True if ca_file is None else ssl.create_default_context(cafile=ca_file),
            transport=transport,
        )

    @property
    def provider(self) -> str:
        return self.calls.provider

    def send(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        body: Mapping[str, Any] | list[Any] | None = None,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The raw answer, whatever its status; raises by the table when there was none in time.

        The path has no slash in front, so that a base address may have a path of its own. To be
        called inside `calls.calling(operation)`.
        """
        try:
            response = self._client.request(method, path, json=body, params=query, headers=headers)
        except httpx.RequestError as error:
            cause = type(error)
        else:
            trace.get_current_span().set_attribute(
                "http.response.status_code", response.status_code
            )
            return response
        # Raised out here, without its cause: httpx keeps the request on the error, and in it the
        # value that was sent.
        raise self._errors.of_exception[cause].of(self.provider, operation, cause.__name__)

    def decoded(self, response: httpx.Response, operation: str) -> Any:
        """The JSON of a successful answer, None for an empty one; else raises by the table."""
        if not response.is_success:
            raise self.error_of(response, operation)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:  # the library's error would carry the answer's text
            pass
        raise self.unreadable(response, operation, "an answer that is no JSON")

    def unreadable(self, response: httpx.Response, operation: str, found: str) -> PlatformError:
        """An answer that the vendor would not give, as far as its description goes."""
        status = str(response.status_code)
        return self._errors.unreadable.of(self.provider, operation, found, status=status)

    def require_own(self, response: httpx.Response, operation: str, *names: str) -> None:
        """Whatever stands before a vendor says 404 too: only the vendor's own means that a thing is
        not there. That is an object with one of these names; raises by the table for another.
        """
        try:
            document = response.json()
        except ValueError:
            document = None
        if not (isinstance(document, dict) and any(name in document for name in names)):
            raise self.unreadable(response, operation, "an answer that is not its API's")

    def error_of(self, response: httpx.Response, operation: str) -> PlatformError:
        """The error that an answer without success stands for."""
        status = response.status_code
        return self._errors.of(response).of(
            self.provider,
            operation,
            f"status {status}, {self._errors.reasons(response)}",
            status=str(status) if status in self._errors.of_status else OTHER,
            retry_after_seconds=self._errors.retry_after_seconds(response),
        )

    def close(self) -> None:
        """Closes the pooled connections."""
        self._client.close()


def seconds_of(retry_after: str) -> float | None:
    """Of a `Retry-After`, as a number or as a date; None when it says nothing of use."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if until.tzinfo is None:
        return None
    return max((until - datetime.now(UTC)).total_seconds(), 0)


def without_answer(prefix: str, address_setting: str) -> Mapping[type[httpx.RequestError], Verdict]:
    """The table of requests without an answer: codes `<prefix>_unreachable`, `<prefix>_timeout`,
    `<prefix>_misconfigured` and `<prefix>_unreadable`.
    """
    unreachable = Verdict(Unavailable, f"{prefix}_unreachable", "See whether it runs.")
    broken_off = Verdict(Unavailable, f"{prefix}_unreachable", _AGAIN)
    timeout = Verdict(Unavailable, f"{prefix}_timeout", _AGAIN)
    misconfigured = f"{prefix}_misconfigured"
    return {
        httpx.ConnectTimeout: unreachable,
        httpx.ReadTimeout: timeout,
        httpx.WriteTimeout: timeout,
        httpx.PoolTimeout: timeout,
        httpx.ConnectError: unreachable,
        httpx.ReadError: broken_off,
        httpx.WriteError: broken_off,
        httpx.CloseError: broken_off,
        httpx.RemoteProtocolError: broken_off,
        httpx.LocalProtocolError: Verdict(
            ProviderRejected,
            misconfigured,
            f"Correct the credentials and {address_setting}.",
        ),
        httpx.ProxyError: unreachable,
        httpx.UnsupportedProtocol: Verdict(
            ProviderRejected, misconfigured, f"{address_setting} begins with http:// or https://."
        ),
        httpx.DecodingError: Verdict(
            Unavailable, f"{prefix}_unreadable", "See what stands before it."
        ),
        httpx.TooManyRedirects: Verdict(
            ProviderRejected, misconfigured, f"Correct {address_setting}."
        ),
        httpx.TimeoutException: timeout,
        httpx.NetworkError: broken_off,
        httpx.ProtocolError: broken_off,
        httpx.TransportError: broken_off,
        httpx.RequestError: broken_off,
    }
