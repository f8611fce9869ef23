"""Where a process's spans go: to a collector over OTLP when an address is set, else nowhere.

A trace begins where somebody asks something of a server, and all that is done for it joins. What a
process does of its own accord (a poll, a renewal) has ids for the logs and is exported nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes

from idp_kernel.services import ServiceName
from idp_kernel.telemetry.traces import given_span_id

JOIN_ONLY = 0.0
"""The ratio of a process that begins no trace, such as one that others look at again and again."""
SEND_EVERY_SECONDS = 0.5
"""How long a span waits for others to be sent with; what a killed process loses."""
SEND_TIMEOUT_SECONDS = 3.0
"""How long a collector may take, repeats too, and how long a process that ends waits for it."""
LONGEST_QUEUE = 2048
"""Spans that wait to be sent; while a collector is away the newest push out the oldest."""


def configure_traces(
    service: ServiceName,
    otlp_endpoint: str | None,
    *,
    ratio: float = 1.0,
    env: str = "local",
) -> TracerProvider:
    """The process's tracer provider; what it has not sent yet is sent when the process ends.

    Without an endpoint spans still carry ids, for the logs. For a process that forks: call it in
    each child, since the thread that sends does not survive the fork.
    """
    provider = TracerProvider(
        sampler=ParentBased(root=WhereSomebodyAsks(ratio)),
        resource=Resource.create(
            {"service.name": service.value, "deployment.environment.name": env}
        ),
        id_generator=GivenOrRandomIds(),
    )
    if otlp_endpoint is not None:
        exporter = OTLPSpanExporter(
            endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces", timeout=SEND_TIMEOUT_SECONDS
        )
        provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                schedule_delay_millis=SEND_EVERY_SECONDS * 1000,
                # All that waits goes at once, so that a process that ends waits for one answer.
                max_queue_size=LONGEST_QUEUE,
                max_export_batch_size=LONGEST_QUEUE,
            )
        )
    trace.set_tracer_provider(provider)
    return provider


class WhereSomebodyAsks(Sampler):
    """Of the spans without a parent those of servers, at that ratio; no others."""

    def __init__(self, ratio: float) -> None:
        self._ratio = TraceIdRatioBased(ratio)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if kind is not SpanKind.SERVER:
            return SamplingResult(Decision.DROP)
        return self._ratio.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        return f"WhereSomebodyAsks({self._ratio.get_description()})"


class GivenOrRandomIds(RandomIdGenerator):
    """The id that `span` was given for the next span, else a random one."""

    def generate_span_id(self) -> int:
        given = given_span_id.get()
        return super().generate_span_id() if given is None else int(given, 16)
