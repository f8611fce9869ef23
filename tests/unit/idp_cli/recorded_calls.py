"""Command lines run to their end without a platform: every call is recorded and answered with the
least that its answer can be.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, get_args, get_origin

import httpx
import pytest

from idp_cli import main as entry
from idp_cli import suggestions
from idp_cli.invocation import Invocation
from idp_kernel.errors import NotFound
from idp_kernel.http.client import ServiceClient
from idp_kernel.http.event_stream import Message
from idp_kernel.ids import ID_PATTERN, new_id
from idp_kernel.services import ServiceName
from idp_kernel.wire.api import Page
from idp_kernel.wire.base import Timestamp, WireModel
from idp_kernel.workflows import RequestState


@dataclass(frozen=True)
class Call:
    """What was sent to the control plane."""

    method: str
    path: str
    query: Mapping[str, str | int]
    body: WireModel | None


@dataclass
class Recorder:
    """Stands for the platform; `known` are the values of fields by their names."""

    known: dict[str, object] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    streams: list[Call] = field(default_factory=list)
    """What was to be told as it happens."""

    def sample(self, model: type[Any]) -> Any:
        """The least instance of a message; a page with one item."""
        if issubclass(model, Page):
            item = model.model_fields["items"].annotation
            return model(items=(self._value(get_args(item)[0], "", ()),))
        given = {
            name: self._value(info.annotation, name, tuple(info.metadata))
            for name, info in model.model_fields.items()
            if info.is_required() or name in self.known
        }
        return model.model_validate(given)

    def _value(self, annotation: Any, name: str, metadata: tuple[object, ...]) -> object:
        is_choice = isinstance(annotation, type) and issubclass(annotation, Enum)
        if name in self.known and not is_choice:
            return self.known[name]
        origin = get_origin(annotation)
        if origin in (typing.Union, types.UnionType):
            return None
        if origin is typing.Annotated:
            inner, *more = get_args(annotation)
            return self._value(inner, name, (*metadata, *more))
        if origin in (tuple, dict):
            return origin()
        return self._plain(annotation, metadata)

    def _plain(self, kind: type[Any], metadata: tuple[object, ...]) -> object:
        if issubclass(kind, WireModel):
            return self.sample(kind)
        if issubclass(kind, Enum):
            return RequestState.SUCCEEDED if kind is RequestState else next(iter(kind))
        if kind is Timestamp:
            return datetime.now(UTC) + timedelta(days=30)
        if kind is str:
            is_id = any(getattr(each, "pattern", None) == ID_PATTERN for each in metadata)
            return new_id() if is_id else "text"
        return kind()


class RecordingClient(ServiceClient):
    """Sends nothing."""

    def __init__(self, recorder: Recorder, url: str, party: str) -> None:
        super().__init__(url, party=party)
        self._recorder = recorder
        self._for_people = party == ServiceName.CONTROL_PLANE_API

    def call(self, method: str, path: str, answer: type[Any], **sent: Any) -> Any:
        self._record(method, path, sent)
        return self._recorder.sample(answer)

    def look(
        self, path: str, answer: type[Any], *, query: Mapping[str, str | int] | None = None
    ) -> tuple[Any, str | None]:
        return self.call("GET", path, answer), '"tag"'

    def send(self, method: str, path: str, **sent: Any) -> httpx.Response:
        self._record(method, path, sent)
        return httpx.Response(200, json={"info": {"version": "0"}})

    @contextmanager
    def stream(self, path: str, **sent: Any) -> Iterator[Iterator[Message]]:
        """A request is looked at instead; what never ends is interrupted at once."""
        self._recorder.streams.append(Call("GET", path, sent.get("query") or {}, None))
        if path.startswith("/v1/workflow-requests/"):
            raise NotFound("There is no stream.", code="no_such_route")
        yield self._interrupted()

    def _interrupted(self) -> Iterator[Message]:
        raise KeyboardInterrupt

    def _record(self, method: str, path: str, sent: Mapping[str, Any]) -> None:
        if self._for_people and path.startswith("/v1/"):
            query, body = sent.get("query") or {}, sent.get("body")
            self._recorder.calls.append(Call(method, path, query, body))


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch, **known: object) -> Iterator[Recorder]:
    """Command lines of `idp_cli.main` inside the block speak to a recorder."""
    recorder = Recorder({"state": "Active", **known})

    class Recorded(Invocation):
        def client_with(self, token: str | None, url: str, party: str, **_: Any) -> ServiceClient:
            client = RecordingClient(recorder, url, party)
            self.opened.callback(client.close)
            return client

    with monkeypatch.context() as patched:
        for module in (entry, suggestions):
            patched.setattr(module, "Invocation", Recorded)
        yield recorder
