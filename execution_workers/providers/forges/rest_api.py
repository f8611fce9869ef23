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


@dataclass(frozen=True)
class RestApi:
    """Calls with one credential. Thread-safe; errors are raised by the vendor's table."""

    rest: RestClient
    headers: Callable[[], Mapping[str, str]]
    """Of each call; with the credential as it is now."""
    prefix: str = ""
    """In front of each path."""

    def read(self, path: str, answer: type[Answer], operation: str) -> Answer:
        """What is there for sure."""
        with self.rest.calls.calling(operation):
            return self._parsed(self._send("GET", path, operation, None, ()), answer, operation)

    def find(self, path: str, answer: type[Answer], operation: str) -> Answer | None:
        """None when there is no such thing."""
        return self.ask("GET", path, answer, operation, none_at=(404,))

    def ask(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        operation: str,
        *,
        body: Json | None = None,
        none_at: Collection[int] = (),
    ) -> Answer | None:
        """None for the statuses `none_at`."""
        with self.rest.calls.calling(operation):
            response = self._send(method, path, operation, body, none_at)
            if response.status_code in none_at:
                return None
            return self._parsed(response, answer, operation)

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
        with self.rest.calls.calling(operation):
            self._send(method, path, operation, body, fine_at)

    def _send(
        self, method: str, path: str, operation: str, body: Json | None, beside: Collection[int]
    ) -> httpx.Response:
        """A successful answer, or one with a status from `beside`."""
        response = self.rest.send(
            method, f"{self.prefix}{path}", operation, body=body, headers=self.headers()
        )
        if response.status_code in beside:
            self._require_own(response, operation)
        elif not response.is_success:
            raise self.rest.error_of(response, operation)
        return response

    def _require_own(self, response: httpx.Response, operation: str) -> None:
        """Whatever stands before a forge says 404 too: only its own means that a thing is gone."""
        try:
            is_own = "message" in response.json()
        except (ValueError, TypeError):
            is_own = False
        if not is_own:
            raise self.rest.unreadable(response, operation, "an answer that is not its API's")

    def _parsed(self, response: httpx.Response, answer: type[Answer], operation: str) -> Answer:
        document = self.rest.decoded(response, operation)
        try:
            return answer.model_validate(document)
        except ValidationError as error:
            places = error.errors(include_input=False, include_url=False)
        wrong = ", ".join(".".join(str(part) for part in each["loc"]) or "all" for each in places)
        raise self.rest.unreadable(response, operation, f"an answer with another form in {wrong}")
