"""A forge's REST API as its clients here use it: answers that have a form, and those that mean
"there is none".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from execution_workers.providers.rest import RestClient

Answer = TypeVar("Answer", bound=BaseModel)
Json = Mapping[str, Any]
Beside = Callable[[httpx.Response], bool]
"""Whether an answer without success is one that is counted on."""


def _is_not_found(response: httpx.Response) -> bool:
    return response.status_code == 404


@dataclass(frozen=True)
class RestApi:
    """Calls with one credential. Thread-safe; errors are raised by the vendor's table."""

    rest: RestClient
    headers: Callable[[], dict[str, str]]
    """Of each call; with the credential as it is now."""
    prefix: str = ""
    """In front of each path."""
    prepare: Callable[[], None] = lambda: None
    """What a call needs that may take a call itself, such as a token; done before, since a call
    within a call would wait for the other's place.
    """

    def read(self, path: str, answer: type[Answer], operation: str) -> Answer:
        """What is there for sure."""
        self.prepare()
        with self.rest.calls.calling(operation):
            return self._parsed(self._answered("GET", path, operation), answer, operation)

    def find(
        self, path: str, answer: type[Answer], operation: str, *, accept: str | None = None
    ) -> Answer | None:
        """None when there is no such thing."""
        return self.ask("GET", path, answer, operation, is_none=_is_not_found, accept=accept)

    def ask(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        operation: str,
        *,
        body: Json | None = None,
        is_none: Beside = lambda _response: False,
        accept: str | None = None,
    ) -> Answer | None:
        """None for an answer without success that means it."""
        self.prepare()
        with self.rest.calls.calling(operation):
            response = self._answered(method, path, operation, body, is_none, accept)
            return self._parsed(response, answer, operation) if response.is_success else None

    def tell(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        body: Json | None = None,
        fine_at: Collection[int] = (),
    ) -> None:
        """A call whose answer says nothing; the statuses `fine_at` are success too."""
        self.prepare()
        with self.rest.calls.calling(operation):
            self._answered(
                method, path, operation, body, lambda response: response.status_code in fine_at
            )

    def sent(
        self, method: str, path: str, operation: str, body: Json | None, headers: dict[str, str]
    ) -> httpx.Response:
        """The raw answer."""
        return self.rest.send(method, f"{self.prefix}{path}", operation, body=body, headers=headers)

    def _answered(
        self,
        method: str,
        path: str,
        operation: str,
        body: Json | None = None,
        beside: Beside = lambda _response: False,
        accept: str | None = None,
    ) -> httpx.Response:
        """A successful answer, or one that is `beside` that."""
        headers = {**self.headers(), **({} if accept is None else {"Accept": accept})}
        response = self.sent(method, path, operation, body, headers)
        if response.is_success:
            return response
        if not beside(response):
            raise self.rest.error_of(response, operation)
        self.rest.require_own(response, operation, "message")
        return response

    def _parsed(self, response: httpx.Response, answer: type[Answer], operation: str) -> Answer:
        document = self.rest.decoded(response, operation)
        try:
            return answer.model_validate(document)
        except ValidationError as error:
            places = error.errors(include_input=False, include_url=False)
        wrong = ", ".join(".".join(str(part) for part in each["loc"]) or "all" for each in places)
        raise self.rest.unreadable(response, operation, f"an answer with another form in {wrong}")
