"""Spans: what they say, where a trace begins, and that a collector gets them."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from idp_kernel.telemetry.traces import span_id_of, trace_id_of
from tests.fixtures.otlp import OtlpSink, ReceivedSpan, otlp_sink

PROGRAM = """
import sys
from datetime import UTC, datetime, timedelta
from opentelemetry.trace import SpanKind
from idp_kernel.errors import Unavailable
from idp_kernel.services import ServiceName
from idp_kernel.telemetry.export import configure_traces
from idp_kernel.telemetry.subjects import name_subject, naming
from idp_kernel.telemetry.traces import (
    current_traceparent, link_to_current, past_span, span, span_id_of, without_trace,
)
configure_traces(
    ServiceName.WORKFLOW_ENGINE, sys.argv[1], ratio=float(sys.argv[2]), env="staging"
)
"""
PATIENTLY = """
import idp_kernel.telemetry.export
idp_kernel.telemetry.export.SEND_TIMEOUT_SECONDS = 30
"""
BEFORE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def exported(program: str, *, ratio: float = 1.0) -> list[ReceivedSpan]:
    """The spans that a process exports which runs the program and ends."""
    with otlp_sink() as sink:
        run(sink, program, ratio, before=PATIENTLY)
        return sorted(sink.spans, key=lambda each: each.start)


def run(sink: OtlpSink, program: str, ratio: float, *, before: str = "") -> None:
    text = before + PROGRAM + program
    subprocess.run([sys.executable, "-c", text, sink.url, str(ratio)], check=True, timeout=60)


@pytest.fixture(scope="module")
def spans() -> dict[str, ReceivedSpan]:
    """Those of one process, by name."""
    found = exported(
        """
with span("POST /v1/x", kind=SpanKind.SERVER):
    parent = current_traceparent()
since = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
wait = past_span("queue wait", since=since, until=since + timedelta(seconds=7), traceparent=parent)
with span("run", traceparent=wait, attributes={"idp.team_id": "t", "idp.attempt": 1}):
    with span("try 0", span_id=span_id_of("r", 0)):
        pass
    with span("try 1", span_id=span_id_of("r", 1), repeats=span_id_of("r", 0)):
        with span("call", kind=SpanKind.CLIENT):
            pass
    with naming({"idp.secret_id": "s"}), span("named"):
        name_subject({"idp.application_id": "a"})
    with span("after"):
        pass
    links = link_to_current()
    with without_trace(), span("another trace", kind=SpanKind.SERVER, links=links):
        pass
    try:
        with span("failed"):
            raise Unavailable("with a secret", code="too_busy")
    except Unavailable:
        pass
with span("poll"):
    with span("inside the poll", kind=SpanKind.CLIENT):
        pass
"""
    )
    return {each.name: each for each in found}


def test_all_that_is_done_for_a_request_is_one_trace(spans: dict[str, ReceivedSpan]) -> None:
    first = spans["POST /v1/x"]
    assert first.parent_id == ""
    for name in ("queue wait", "run", "try 0", "try 1", "call", "named", "after", "failed"):
        assert spans[name].trace_id == first.trace_id
    assert spans["queue wait"].parent_id == first.span_id
    assert spans["run"].parent_id == spans["queue wait"].span_id
    assert spans["call"].parent_id == spans["try 1"].span_id


def test_what_nobody_asked_for_is_not_exported(spans: dict[str, ReceivedSpan]) -> None:
    assert not {"poll", "inside the poll"} & spans.keys()


def test_a_past_span_has_its_own_time(spans: dict[str, ReceivedSpan]) -> None:
    wait = spans["queue wait"]
    assert wait.start == int(BEFORE.timestamp()) * 10**9
    assert wait.end - wait.start == 7 * 10**9


def test_a_repeat_leads_to_what_it_repeats(spans: dict[str, ReceivedSpan]) -> None:
    first, second = spans["try 0"], spans["try 1"]
    assert second.links == ((first.trace_id, first.span_id),)
    assert first.span_id == span_id_of("r", 0) != span_id_of("r", 1)


def test_a_span_says_whose_work_it_is_as_those_around_it(spans: dict[str, ReceivedSpan]) -> None:
    assert spans["call"].attributes["idp.team_id"] == "t"
    assert "idp.attempt" not in spans["call"].attributes
    assert spans["named"].attributes["idp.secret_id"] == "s"
    assert spans["named"].attributes["idp.application_id"] == "a"
    assert "idp.secret_id" not in spans["after"].attributes
    assert "idp.team_id" not in spans["queue wait"].attributes


def test_another_trace_leads_back(spans: dict[str, ReceivedSpan]) -> None:
    other, run_span = spans["another trace"], spans["run"]
    assert other.trace_id != run_span.trace_id
    assert other.links == ((run_span.trace_id, run_span.span_id),)


def test_a_failed_span_tells_the_code_and_not_the_words(spans: dict[str, ReceivedSpan]) -> None:
    assert spans["failed"].has_failed
    assert spans["failed"].attributes["error.type"] == "too_busy"
    assert "secret" not in str(spans["failed"])
    assert not spans["run"].has_failed


def test_spans_name_their_service_and_installation(spans: dict[str, ReceivedSpan]) -> None:
    resource = spans["run"].resource
    assert resource["service.name"] == "workflow-engine"
    assert resource["deployment.environment.name"] == "staging"


def test_the_ratio_is_for_traces_that_begin_here() -> None:
    names = {
        each.name
        for each in exported(
            """
with span("begins here", kind=SpanKind.SERVER):
    pass
kept = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
left = "00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203331-00"
with span("began elsewhere", kind=SpanKind.SERVER, traceparent=kept):
    pass
with span("left out elsewhere", kind=SpanKind.SERVER, traceparent=left):
    pass
""",
            ratio=0,
        )
    }
    assert names == {"began elsewhere"}


def test_a_process_ends_soon_though_no_collector_answers() -> None:
    done = "import time\nprint(time.monotonic())\n"
    program = PROGRAM + 'with span("x", kind=SpanKind.SERVER):\n    pass\n' + done
    ran = subprocess.run(
        [sys.executable, "-c", program, "http://127.0.0.1:1", "1"],
        check=True, timeout=60, capture_output=True, text=True,
    )  # fmt: skip
    assert time.monotonic() - float(ran.stdout) < 15
    assert "Traceback" not in ran.stderr


def test_a_traceparent_names_its_trace() -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert trace_id_of(traceparent) == "0af7651916cd43dd8448eb211c80319c"
    assert trace_id_of("nonsense") is None
    assert trace_id_of(None) is None
