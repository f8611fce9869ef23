"""One trace per request: W3C trace context in and out. Where the spans go, `export` says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Annotated

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from pydantic import Field

from idp_kernel.errors import PlatformError
from idp_kernel.telemetry.subjects import bound_subject, naming

Attributes = Mapping[str, str | int | bool]
OtlpEndpoint = Annotated[
    str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._~/-]*)?$")
]
"""Base address of a collector that takes OTLP over HTTP; `/v1/traces` is added."""
TraceRatio = Annotated[float, Field(ge=0, le=1)]
"""The share of traces that begin here and are exported; one that came with a call is kept or not
as its beginning was.
"""

given_span_id: ContextVar[str | None] = ContextVar("given_span_id", default=None)
"""The id that the next span shall have; see `export.GivenOrRandomIds`."""


def span_id_of(*name: str | int) -> str:
    """The id of a span that others can name without having seen it: the same for the same name."""
    return hashlib.sha256("/".join(map(str, name)).encode()).hexdigest()[:16]


@contextmanager
def span(
    name: str,
    *,
    attributes: Attributes | None = None,
    traceparent: str | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    span_id: str | None = None,
    repeats: str | None = None,
    links: Sequence[Link] = (),
) -> Iterator[Span]:
    """A span around a block; under `traceparent` if given, else under the current one.

    It says whose work it is (`idp.…`) as the context does, and its own such attributes hold for
    all that stands inside, log lines too. `repeats` is the id of an earlier span of the trace, to
    link to. An exception marks it failed with the error's type or code only: messages may name
    what is private.
    """
    parent = _context_of(traceparent)
    attributes = attributes or {}
    all_links = [*links, *_earlier(repeats, parent)]
    with naming(attributes):
        started = _start(name, parent, kind, attributes, all_links, span_id)
        with trace.use_span(
            started, end_on_exit=True, record_exception=False, set_status_on_exception=False
        ):
            try:
                yield started
            except BaseException as error:
                _mark_failed(started, error)
                raise


def past_span(
    name: str,
    *,
    since: datetime,
    until: datetime,
    traceparent: str | None,
    attributes: Attributes | None = None,
    span_id: str | None = None,
    under: str | None = None,
    error: str | None = None,
) -> str | None:
    """A span of what is over, such as a wait that no process lived through; answers its
    `traceparent`. Under no trace it is none. `under` is the id of another span of that trace to
    stand under.
    """
    if traceparent is None:
        return None
    parent = _context_of(traceparent if under is None else _with_span_id(traceparent, under))
    started = _start(
        name, parent, SpanKind.INTERNAL, attributes or {}, (), span_id,
        start_time=_nanoseconds(since),
    )  # fmt: skip
    if error is not None:
        _mark(started, error)
    started.end(end_time=max(_nanoseconds(since), _nanoseconds(until)))
    return _traceparent(trace.set_span_in_context(started))


def link_to_current() -> list[Link]:
    """A link to the current span if it is exported, for one that begins in another trace."""
    context = trace.get_current_span().get_span_context()
    return [Link(context)] if context.is_valid and context.trace_flags.sampled else []


def without_trace() -> AbstractContextManager[Span]:
    """Around what is no part of the current trace: a span inside begins a trace of its own."""
    return trace.use_span(trace.INVALID_SPAN)


def current_traceparent() -> str | None:
    """The current span as a `traceparent`, to be kept with what continues later."""
    return _traceparent(None)


def current_trace_id() -> str | None:
    """The trace's id, if it is exported: what leads from a number to an example."""
    context = trace.get_current_span().get_span_context()
    is_exported = context.is_valid and context.trace_flags.sampled
    return format(context.trace_id, "032x") if is_exported else None


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace that a `traceparent` names; none when it names none."""
    context = trace.get_current_span(_context_of(traceparent) or Context()).get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else None


def _start(
    name: str,
    parent: Context | None,
    kind: SpanKind,
    attributes: Attributes,
    links: Sequence[Link],
    span_id: str | None,
    start_time: int | None = None,
) -> Span:
    given = given_span_id.set(span_id)
    try:
        return trace.get_tracer("idp").start_span(
            name,
            context=parent,
            kind=kind,
            attributes={**bound_subject(), **attributes},
            links=links,
            start_time=start_time,
        )
    finally:
        given_span_id.reset(given)


def _earlier(span_id: str | None, parent: Context | None) -> list[Link]:
    if span_id is None:
        return []
    trace_id = trace.get_current_span(parent).get_span_context().trace_id
    flags = TraceFlags(TraceFlags.SAMPLED)
    return [Link(SpanContext(trace_id, int(span_id, 16), is_remote=True, trace_flags=flags))]


def _mark_failed(failed: Span, error: BaseException) -> None:
    _mark(failed, error.code if isinstance(error, PlatformError) else type(error).__name__)


def _mark(failed: Span, error: str) -> None:
    failed.set_attribute("error.type", error)
    failed.set_status(Status(StatusCode.ERROR, error))


def _with_span_id(traceparent: str, span_id: str) -> str:
    version, trace_id, _, flags = traceparent.split("-", 3)
    return f"{version}-{trace_id}-{span_id}-{flags}"


def _context_of(traceparent: str | None) -> Context | None:
    return propagate.extract({"traceparent": traceparent}) if traceparent else None


def _traceparent(context: Context | None) -> str | None:
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    return carrier.get("traceparent")


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1000
