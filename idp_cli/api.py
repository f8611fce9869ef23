"""The control plane's public API as the command line uses it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar
from urllib.parse import quote

import stamina

from idp_kernel.errors import PlatformError
from idp_kernel.http.client import ServiceClient
from idp_kernel.ids import new_id
from idp_kernel.wire.api import Page
from idp_kernel.wire.base import WireModel

TEAMS = "/v1/teams"
TEAM = "/v1/teams/{team}"
TEAM_MOVE = "/v1/teams/{team}/{move}"
MEMBERS = "/v1/teams/{team}/members"
TEAM_POLICY = "/v1/teams/{team}/policy"
TOKENS = "/v1/tokens"
TOKEN = "/v1/tokens/{token_id}"
WHOAMI = "/v1/whoami"
ENVIRONMENTS = "/v1/environments"
ENVIRONMENT_MOVE = "/v1/environments/{environment}/{move}"
APPLICATIONS = "/v1/applications"
APPLICATION = "/v1/applications/{application_id}"
ONBOARDING = "/v1/applications/{application_id}/onboarding"
ENVIRONMENTS_OF_APPLICATION = "/v1/applications/{application_id}/environments"
APPLICATION_ENVIRONMENT = "/v1/application-environments/{application_environment_id}"
SECRETS = "/v1/secrets"
SECRET = "/v1/secrets/{secret_id}"
SECRET_MOVE = "/v1/secrets/{secret_id}/{move}"
BINDINGS_OF_SECRET = "/v1/secrets/{secret_id}/bindings"
ROTATION_POLICY = "/v1/secrets/{secret_id}/rotation-policy"
ROTATION = "/v1/secrets/{secret_id}/rotation"
COMPROMISED = "/v1/secrets/{secret_id}/compromised"
REQUESTS = "/v1/workflow-requests"
REQUEST = "/v1/workflow-requests/{request_id}"
CANCELLATION = "/v1/workflow-requests/{request_id}/cancel"
RETRY = "/v1/workflow-requests/{request_id}/retry"
EVENTS = "/v1/events"
PLATFORM = "/v1/platform"
DRAIN = "/v1/platform/drain"
RESUME = "/v1/platform/resume"

IDEMPOTENCY_KEY = "Idempotency-Key"
TRIES = 3
FIRST_PAUSE_SECONDS = 0.3
PAGE_SIZE = 100

Answer = TypeVar("Answer", bound=WireModel)
Item = TypeVar("Item", bound=WireModel)


def path_segment(text: str) -> str:
    """What a person typed, as one segment of a path: a slash in it stays inside."""
    return quote(text, safe="")


class Api:
    """Calls with a person's token. What got no whole answer is tried again, a command with the
    same idempotency key, so that it acts once however often it arrives.
    """

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    def get(
        self, path: str, answer: type[Answer], query: Mapping[str, str | int] | None = None
    ) -> Answer:
        """What is there; `Unavailable` with code `unreachable` after the last try."""
        for attempt in _tries():
            with attempt:
                return self._client.call("GET", path, answer, query=query)
        raise AssertionError  # the last try answers or raises

    def all(
        self, path: str, item: type[Item], query: Mapping[str, str | int] | None = None
    ) -> Iterator[Item]:
        """Every item of a list, page by page."""
        asked: dict[str, str | int] = {**(query or {}), "limit": PAGE_SIZE}
        while True:
            page = self.get(path, Page[item], asked)  # type: ignore[valid-type] # known at run time
            yield from page.items
            if page.next_cursor is None:
                return
            asked["cursor"] = page.next_cursor

    def delete(self, path: str) -> None:
        """Takes something away; what is gone already is `NotFound`."""
        for attempt in _tries():
            with attempt:
                self._client.send("DELETE", path)

    def command(self, path: str, answer: type[Answer], body: WireModel | None = None) -> Answer:
        """A command; one key for all its tries."""
        return self._send("POST", path, answer, body)

    def put(self, path: str, answer: type[Answer], body: WireModel) -> Answer:
        """Sets the whole of what is there; otherwise as a command."""
        return self._send("PUT", path, answer, body)

    def _send(self, method: str, path: str, answer: type[Answer], body: WireModel | None) -> Answer:
        headers = {IDEMPOTENCY_KEY: new_id()}
        for attempt in _tries():
            with attempt:
                return self._client.call(method, path, answer, body=body, headers=headers)
        raise AssertionError  # the last try answers or raises


def _tries() -> Iterable[stamina.Attempt]:
    return stamina.retry_context(
        on=_got_no_answer,
        attempts=TRIES,
        wait_initial=FIRST_PAUSE_SECONDS,
        wait_jitter=FIRST_PAUSE_SECONDS,
        wait_max=2.0,
    )


def _got_no_answer(error: Exception) -> bool:
    return isinstance(error, PlatformError) and error.code == "unreachable"
