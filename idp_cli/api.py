"""The control plane's public API as the command line uses it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import islice
from typing import TypeVar
from urllib.parse import quote

import stamina

from idp_kernel.errors import PlatformError, Unavailable
from idp_kernel.http.client import ServiceClient
from idp_kernel.http.event_stream import Message
from idp_kernel.ids import new_id
from idp_kernel.wire.api import Page
from idp_kernel.wire.base import WireModel

TEAMS = "/v1/teams"
TEAM = "/v1/teams/{team}"
TEAM_MOVE = "/v1/teams/{team}/{move}"
MEMBERS = "/v1/teams/{team}/members"
MEMBER = "/v1/teams/{team}/members/{principal}"
TEAM_LIMITS = "/v1/teams/{team}/limits"
TEAM_POLICY = "/v1/teams/{team}/policy"
TOKENS = "/v1/tokens"
TOKEN = "/v1/tokens/{token_id}"
PLATFORM_ADMINS = "/v1/platform-admins"
PLATFORM_ADMIN = "/v1/platform-admins/{principal}"
WHOAMI = "/v1/whoami"
ENVIRONMENTS = "/v1/environments"
ENVIRONMENT = "/v1/environments/{environment}"
ENVIRONMENT_MOVE = "/v1/environments/{environment}/{move}"
APPLICATIONS = "/v1/applications"
APPLICATION = "/v1/applications/{application_id}"
APPLICATION_MOVE = "/v1/applications/{application_id}/{move}"
ONBOARDING = "/v1/applications/{application_id}/onboarding"
ENVIRONMENTS_OF_APPLICATION = "/v1/applications/{application_id}/environments"
REPOSITORIES_OF_APPLICATION = "/v1/applications/{application_id}/repositories"
REPOSITORY = "/v1/repositories/{repository_id}"
INTEGRATIONS_OF_APPLICATION = "/v1/applications/{application_id}/gitops-integrations"
INTEGRATION = "/v1/gitops-integrations/{integration_id}"
APPLICATION_ENVIRONMENTS = "/v1/application-environments"
APPLICATION_ENVIRONMENT = "/v1/application-environments/{application_environment_id}"
APPLICATION_ENVIRONMENT_MOVE = "/v1/application-environments/{application_environment_id}/{move}"
SECRETS_OF_ENVIRONMENT = "/v1/application-environments/{application_environment_id}/secrets"
SECRETS = "/v1/secrets"
SECRET = "/v1/secrets/{secret_id}"
SECRET_MOVE = "/v1/secrets/{secret_id}/{move}"
BINDINGS_OF_SECRET = "/v1/secrets/{secret_id}/bindings"
BINDING = "/v1/secret-bindings/{binding_id}"
BINDING_MOVE = "/v1/secret-bindings/{binding_id}/{move}"
ROTATION_POLICY = "/v1/secrets/{secret_id}/rotation-policy"
ROTATION = "/v1/secrets/{secret_id}/rotation"
REVOCATION = "/v1/secrets/{secret_id}/revoke"
COMPROMISED = "/v1/secrets/{secret_id}/compromised"
REQUESTS = "/v1/workflow-requests"
REQUEST = "/v1/workflow-requests/{request_id}"
REQUEST_WATCH = "/v1/workflow-requests/{request_id}/watch"
CANCELLATION = "/v1/workflow-requests/{request_id}/cancel"
RETRY = "/v1/workflow-requests/{request_id}/retry"
UNDO = "/v1/workflow-requests/{request_id}/undo"
EVENTS = "/v1/events"
EVENT_STREAM = "/v1/events/stream"
PLATFORM = "/v1/platform"
DRAIN = "/v1/platform/drain"
RESUME = "/v1/platform/resume"

IDEMPOTENCY_KEY = "Idempotency-Key"
IF_MATCH = "If-Match"
TRIES = 3
FIRST_PAUSE_SECONDS = 0.3
LONGEST_PAUSE_SECONDS = 10.0
"""A call that is told to wait longer than this is given up, and says so."""
UNREACHABLE = "unreachable"
CHANGED_MEANWHILE = "precondition_failed"
PAGE_SIZE = 100

Answer = TypeVar("Answer", bound=WireModel)
Item = TypeVar("Item", bound=WireModel)


def path_segment(text: str) -> str:
    """What a person typed, as one segment of a path: a slash in it stays inside."""
    return quote(text, safe="")


class Api:
    """Calls with a person's token. What got no whole answer, or came too soon after others, is
    tried again; a command with the same idempotency key, so that it acts once however often it
    arrives.
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

    def look(self, path: str, answer: type[Answer]) -> tuple[Answer, str | None]:
        """As `get`, with the entity tag by which a change can be made to nothing but this."""
        for attempt in _tries():
            with attempt:
                return self._client.look(path, answer)
        raise AssertionError  # the last try answers or raises

    def all(
        self,
        path: str,
        item: type[Item],
        query: Mapping[str, str | int] | None = None,
        *,
        limit: int | None = None,
    ) -> Iterator[Item]:
        """Every item of a list, page by page; the first `limit` of them, if that is given."""
        size = PAGE_SIZE if limit is None else min(limit, PAGE_SIZE)
        return islice(self._pages(path, item, {**(query or {}), "limit": size}), limit)

    def _pages(self, path: str, item: type[Item], asked: dict[str, str | int]) -> Iterator[Item]:
        while True:
            page = self.get(path, Page[item], asked)  # type: ignore[valid-type] # known at run time
            yield from page.items
            if page.next_cursor is None:
                return
            asked["cursor"] = page.next_cursor

    def stream(
        self,
        path: str,
        query: Mapping[str, str | int] | None = None,
        *,
        after: str | None = None,
    ) -> AbstractContextManager[Iterator[Message]]:
        """The messages of a stream, of one connection; `idp_cli.streams` goes on after a cut."""
        return self._client.stream(path, query=query, after=after)

    def delete(self, path: str) -> None:
        """Takes something away; what is gone already is `NotFound`."""
        for attempt in _tries():
            with attempt:
                self._client.send("DELETE", path)

    def command(
        self,
        path: str,
        answer: type[Answer],
        body: WireModel | None = None,
        *,
        if_match: str | None = None,
    ) -> Answer:
        """A command; one key for all its tries.

        With an entity tag, it is `Conflict` (`precondition_failed`) once the thing looks different.
        """
        headers = _headers(if_match)
        for attempt in _tries():
            with attempt:
                return self._client.call("POST", path, answer, body=body, headers=headers)
        raise AssertionError  # the last try answers or raises

    def put(
        self, path: str, answer: type[Answer], body: WireModel, *, if_match: str | None = None
    ) -> Answer:
        """Sets the whole of what is there; otherwise as a command.

        A try without an answer may have set it: when the next one finds it changed, and it is as
        wanted, it was that try's doing.
        """
        headers = _headers(if_match)
        may_be_done = False
        for attempt in _tries():
            with attempt:
                try:
                    return self._client.call("PUT", path, answer, body=body, headers=headers)
                except PlatformError as error:
                    may_be_done = may_be_done or error.code == UNREACHABLE
                    if not may_be_done or error.code != CHANGED_MEANWHILE:
                        raise
                    found = self._client.call("GET", path, answer)
                    if not _is_as_wanted(found, body):
                        raise
                    return found
        raise AssertionError  # the last try answers or raises


def _headers(if_match: str | None) -> dict[str, str]:
    """Of all tries of one command."""
    key = {IDEMPOTENCY_KEY: new_id()}
    return key if if_match is None else {**key, IF_MATCH: if_match}


def _is_as_wanted(found: WireModel, wanted: WireModel) -> bool:
    present = found.model_dump(mode="json")
    return present == {**present, **wanted.model_dump(mode="json")}


def _tries() -> Iterable[stamina.Attempt]:
    return stamina.retry_context(
        on=_may_be_tried_again,
        attempts=TRIES,
        wait_initial=FIRST_PAUSE_SECONDS,
        wait_jitter=FIRST_PAUSE_SECONDS,
        wait_max=2.0,
    )


def _may_be_tried_again(error: Exception) -> bool | float:
    """Whether the same call may do; the seconds to wait, where the platform says how many."""
    if not isinstance(error, PlatformError):
        return False
    if error.code == UNREACHABLE:
        return True
    seconds = error.retry_after_seconds if isinstance(error, Unavailable) else None
    return seconds is not None and seconds <= LONGEST_PAUSE_SECONDS and seconds
