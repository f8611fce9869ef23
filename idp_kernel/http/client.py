"""The outbound HTTP client: typed messages in and out, our error tree, trace context, time limits.

It never retries: who calls decides (an op's retry policy, a sensor's next tick, a person).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from ssl import SSLCertVerificationError, create_default_context
from typing import TypeVar

import httpx
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from idp_kernel.clock import Clock
from idp_kernel.errors import InvariantBroken, PlatformError, Unavailable
from idp_kernel.http.event_stream import (
    EVENT_STREAM,
    HEARTBEAT_SECONDS,
    LAST_EVENT_ID,
    Message,
    messages_in,
)
from idp_kernel.http.problems import error_of
from idp_kernel.services import ServiceName
from idp_kernel.telemetry.traces import span
from idp_kernel.tokens import SigningKey, service_assertion
from idp_kernel.wire.base import WireModel
from idp_kernel.wire.engine import TOKENS, ServiceAssertion, ServiceToken

Answer = TypeVar("Answer", bound=WireModel)
Authorization = Callable[[], str | None]
"""Gives the bearer token for the next call, or none."""

CONNECT_TIMEOUT_SECONDS = 3.0
ETAG = "ETag"
DEFAULT_TIMEOUT_SECONDS = 10.0
STREAM_SILENCE_SECONDS = 3 * HEARTBEAT_SECONDS
"""A stream that says nothing for so long, not even that it lives, has been cut."""
_RENEW_BEFORE_EXPIRY = timedelta(seconds=30)


class ServiceClient:
    """Calls one party. Thread-safe; connections are pooled and kept."""

    def __init__(
        self,
        base_url: str,
        *,
        party: str,
        authorization: Authorization = lambda: None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        user_agent: str = "idp",
        on_error: Callable[[PlatformError], None] = lambda _error: None,
        headers: Mapping[str, str] | None = None,
        authorities: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`authorities` vouch for the party, as PEM; the well-known ones without them."""
        self._party = party
        self._authorization = authorization
        self._on_error = on_error
        self._timeout_seconds = timeout_seconds
        self._client = httpx.Client(
            base_url=base_url,
            headers={"User-Agent": user_agent, "Accept": "application/json", **(headers or {})},
            follow_redirects=False,
            trust_env=False,
            verify=True if authorities is None else create_default_context(cadata=authorities),
            transport=transport,
        )

    def call(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        *,
        body: WireModel | None = None,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        bearer: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Answer:
        """The decoded answer.

        Raises the error the party's problem stands for; `Unavailable` with code `unreachable`
        when no whole answer came in time (the call may have had its effect all the same).
        """
        response = self.send(
            method, path, body=body, query=query, headers=headers, bearer=bearer,
            timeout_seconds=timeout_seconds,
        )  # fmt: skip
        return self._decoded(response, f"{method} {path}", answer)

    def look(
        self, path: str, answer: type[Answer], *, query: Mapping[str, str | int] | None = None
    ) -> tuple[Answer, str | None]:
        """What is there, and its entity tag if it has one; errors as in `call`."""
        response = self.send("GET", path, query=query)
        return self._decoded(response, f"GET {path}", answer), response.headers.get(ETAG)

    def _decoded(self, response: httpx.Response, asked: str, answer: type[Answer]) -> Answer:
        try:
            return answer.model_validate_json(response.content)
        except ValidationError as error:
            raise InvariantBroken(
                f"{self._party} answered {asked} with what is no {answer.__name__}: "
                f"{error.error_count()} errors",
                code="contract_broken",
            ) from error

    def send(
        self,
        method: str,
        path: str,
        *,
        body: WireModel | None = None,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        bearer: str | None = None,
        timeout_seconds: float | None = None,
    ) -> httpx.Response:
        """The raw answer, status below 400; errors as in `call`."""
        attributes = {"http.request.method": method, "peer.service": self._party}
        with span(f"{method} {self._party}", kind=SpanKind.CLIENT, attributes=attributes):
            try:
                return self._send(method, path, body, query, headers, bearer, timeout_seconds)
            except PlatformError as error:
                self._on_error(error)
                raise

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        after: str | None = None,
    ) -> Iterator[Iterator[Message]]:
        """The messages of a server-sent stream, after the id `after`, until the server ends it.

        Errors as in `call`; while the messages are read, `Unavailable` with code `unreachable` says
        that the stream was cut.
        """
        resume = {} if after is None else {LAST_EVENT_ID: after}
        headers = self._headers({"Accept": EVENT_STREAM, **resume}, None, has_body=False)
        timeout = httpx.Timeout(STREAM_SILENCE_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
        with (
            self._unreachable("GET", path),
            self._client.stream(
                "GET", path, params=query, headers=headers, timeout=timeout
            ) as response,
        ):
            if response.status_code >= 400:
                response.read()
            yield self._messages(path, self._checked(response))

    def _messages(self, path: str, response: httpx.Response) -> Iterator[Message]:
        with self._unreachable("GET", path):
            yield from messages_in(response.iter_bytes())

    def close(self) -> None:
        """Closes the pooled connections."""
        self._client.close()

    def _send(
        self,
        method: str,
        path: str,
        body: WireModel | None,
        query: Mapping[str, str | int] | None,
        headers: Mapping[str, str] | None,
        bearer: str | None,
        timeout_seconds: float | None,
    ) -> httpx.Response:
        sent = self._headers(headers, bearer, has_body=body is not None)
        seconds = timeout_seconds or self._timeout_seconds
        with self._unreachable(method, path):
            response = self._client.request(
                method,
                path,
                params=query,
                headers=sent,
                content=None if body is None else body.model_dump_json(),
                timeout=httpx.Timeout(seconds, connect=min(seconds, CONNECT_TIMEOUT_SECONDS)),
            )
        return self._checked(response)

    @contextmanager
    def _unreachable(self, method: str, path: str) -> Iterator[None]:
        """Tells what the transport raises inside as the party's silence."""
        try:
            yield
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Unavailable(
                f"{self._party} gave no answer to {method} {path}: {_why(error)}.",
                code="unreachable",
                details={"target": self._party},
            ) from error

    def _checked(self, response: httpx.Response) -> httpx.Response:
        """The answer, unless it is a problem."""
        trace.get_current_span().set_attribute("http.response.status_code", response.status_code)
        if response.status_code >= 400:
            raise error_of(
                response.status_code,
                response.content,
                party=self._party,
                retry_after=response.headers.get("Retry-After"),
            )
        return response

    def _headers(
        self, headers: Mapping[str, str] | None, bearer: str | None, *, has_body: bool
    ) -> dict[str, str]:
        sent = dict(headers or {})
        token = bearer or self._authorization()
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if has_body:
            sent["Content-Type"] = "application/json"
        propagate.inject(sent)
        return sent


def _why(error: BaseException) -> str:
    """Its name, or what is wrong with the party's certificate: that a person has to mend."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SSLCertVerificationError):
            return f"its certificate is not trusted, {cause.verify_message}"
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


class ServiceAuthorization:
    """A service's access token, fetched with its own key and renewed before it expires."""

    def __init__(
        self, client: ServiceClient, key: SigningKey, service: ServiceName, clock: Clock
    ) -> None:
        self._client = client
        self._key = key
        self._service = service
        self._clock = clock
        self._lock = threading.Lock()
        self._token: str | None = None
        self._expires_at: datetime | None = None

    def __call__(self) -> str:
        with self._lock:
            if self._token is None or self._is_old():
                self._renew()
            assert self._token is not None  # noqa: S101 - narrows for mypy; _renew sets it
            return self._token

    def _is_old(self) -> bool:
        return (
            self._expires_at is None or self._expires_at - self._clock.now() < _RENEW_BEFORE_EXPIRY
        )

    def _renew(self) -> None:
        assertion = service_assertion(self._key, self._service, self._clock)
        answer = self._client.call(
            "POST", TOKENS, ServiceToken, body=ServiceAssertion(assertion=assertion)
        )
        self._token, self._expires_at = answer.access_token, answer.expires_at


def service_client(
    base_url: str,
    *,
    key: SigningKey,
    service: ServiceName,
    clock: Clock,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
) -> ServiceClient:
    """A client of the control plane that authenticates as `service`."""
    party = ServiceName.CONTROL_PLANE_API
    anonymous = ServiceClient(base_url, party=party, user_agent=service)
    return ServiceClient(
        base_url,
        party=party,
        authorization=ServiceAuthorization(anonymous, key, service, clock),
        timeout_seconds=timeout_seconds,
        user_agent=service,
    )
