"""One trace per request: W3C trace context in and out, spans to OTLP when an address is set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from idp_kernel.services import ServiceName

Attributes = Mapping[str, str | int | bool]


def configure_traces(service: ServiceName, otlp_endpoint: str | None) -> TracerProvider:
    """The process's tracer provider. Without an endpoint spans still carry ids, for the logs."""
    provider = TracerProvider(resource=Resource.create({"service.name": service.value}))
    if otlp_endpoint is not None:
        exporter = OTLPSpanExporter(endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider


@contextmanager
def span(
    name: str,
    *,
    attributes: Attributes | None = None,
    traceparent: str | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
) -> Iterator[Span]:
    """A span around a block; under `traceparent` if given, else under the current one.

    An exception marks it failed with the error's type only: messages may name what is private.
    """
    parent = propagate.extract({"traceparent": traceparent}) if traceparent else None
    tracer = trace.get_tracer("idp")
    with tracer.start_as_current_span(
        name,
        context=parent,
        kind=kind,
        attributes=dict(attributes or {}),
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except BaseException as error:
            current.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def current_traceparent() -> str | None:
    """The current span as a `traceparent`, to be kept with what continues later."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent")
