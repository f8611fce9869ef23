"""What the control plane itself tells of a request in its trace: commands, waits, lost runs."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from control_plane.application.ports import Work
from idp_kernel.telemetry.run_spans import QUEUE_WAIT, run_span, run_span_id, step_span_id
from idp_kernel.workflows import APPLICATION_ENVIRONMENT_PROVISIONING
from tests.integration.control_plane.conftest import Platform
from tests.integration.control_plane.engine_run import STEPS, claimed, offers, report
from tests.integration.control_plane.rotations import secrets_in_use

RUN = run_span(APPLICATION_ENVIRONMENT_PROVISIONING.phase(1).job_name)


class Told:
    """The spans of one request."""

    def __init__(self, exporter: InMemorySpanExporter, request_id: str) -> None:
        self.spans = [
            each
            for each in exporter.get_finished_spans()
            if (each.attributes or {}).get("idp.workflow_request_id") == request_id
        ]

    def named(self, name: str) -> list[ReadableSpan]:
        return [each for each in self.spans if each.name == name]

    def one(self, name: str) -> ReadableSpan:
        (found,) = self.named(name)
        return found

    @property
    def command(self) -> ReadableSpan:
        return self.one("POST /v1/applications/{application_id}/environments")


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def test_a_command_names_its_request(platform: Platform, spans: InMemorySpanExporter) -> None:
    subject = platform.new_subject()
    request_id = platform.provision(subject)
    command = Told(spans, request_id).command
    assert command.attributes is not None
    assert command.attributes["idp.application_id"] == subject.application_id
    assert command.parent is None
    offer = offers(platform)[request_id]
    assert offer["traceparent"].split("-")[1] == format(command.context.trace_id, "032x")
    assert offer["pendingSince"]


def test_a_wait_is_told_when_it_is_over(platform: Platform, spans: InMemorySpanExporter) -> None:
    platform.clock.stand_still()
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    run.tell("wait", reason="gitops_reconciliation_slow", waitSeconds=30)
    assert not Told(spans, request_id).named("wait gitops_reconciliation_slow")
    platform.sweep_after(31)
    told = Told(spans, request_id)
    wait = told.one("wait gitops_reconciliation_slow")
    assert wait.parent is not None
    assert wait.parent.span_id == told.command.context.span_id
    assert wait.context.trace_id == told.command.context.trace_id
    assert seconds(wait) == pytest.approx(31, abs=2)


def test_a_request_that_leaves_the_queue_without_a_run_has_waited_there(
    platform: Platform, spans: InMemorySpanExporter
) -> None:
    platform.clock.stand_still()
    request_id = platform.provision(platform.new_subject())
    platform.clock.advance(9)
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {"reason": "a typo"})
    assert seconds(Told(spans, request_id).one(QUEUE_WAIT)) == pytest.approx(9, abs=2)


def test_a_run_that_was_lost_is_told_in_its_stead(
    platform: Platform, spans: InMemorySpanExporter
) -> None:
    platform.clock.stand_still()
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    run.start(STEPS[0])
    run.end(STEPS[0])
    run.start(STEPS[1])
    run.start(STEPS[1], retry_number=1)
    platform.sweep_after(16)
    told = Told(spans, request_id)
    lost, step = told.one(RUN), told.one(STEPS[1])
    assert format(lost.context.span_id, "016x") == run_span_id(request_id, 1)
    assert format(step.context.span_id, "016x") == step_span_id(request_id, 1, STEPS[1], 1)
    assert step.parent is not None
    assert step.parent.span_id == lost.context.span_id
    assert lost.attributes is not None
    assert lost.attributes["error.type"] == "run_lost"
    assert seconds(lost) == pytest.approx(16, abs=2)
    assert not told.named(STEPS[0]), "it told of this one itself"


def test_a_killed_run_is_told_once_and_one_that_was_stopped_tells_itself(
    platform: Platform, spans: InMemorySpanExporter
) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    run.start(STEPS[0])
    report(platform, run, "failed")
    report(platform, run, "failed")
    assert len(Told(spans, request_id).named(RUN)) == 1
    stopped = platform.provision(platform.new_subject())
    run = claimed(platform, stopped)
    run.start(STEPS[0])
    run.fail(STEPS[0], retryable=True, code="run_interrupted")
    report(platform, run, "failed")
    assert not Told(spans, stopped).named(RUN)


def test_nothing_is_told_of_what_was_not_committed(
    platform: Platform, spans: InMemorySpanExporter
) -> None:
    request_id = platform.provision(platform.new_subject())
    claimed(platform, request_id).tell("wait", reason="gitops_reconciliation_slow", waitSeconds=30)
    with pytest.raises(RuntimeError), platform.services.begin() as work:
        _tell_and_break(work, request_id)
    assert not Told(spans, request_id).named("never")


def test_a_rotation_that_nobody_asked_for_has_a_trace_of_its_own(
    platform: Platform, spans: InMemorySpanExporter
) -> None:
    first, second = secrets_in_use(platform, "one", "two")
    for secret in (first, second):
        path = f"/v1/secrets/{secret.id}/compromised"
        platform.admin.ok(path, {"reason": "in a screenshot"})
    causes = platform.engine_service.seen("/internal/rotation-causes")["causes"]
    traces = set()
    for cause in causes:
        if cause["secretId"] not in (first.id, second.id):
            continue
        body = {"eventId": cause["eventId"]}
        answer = platform.engine_service.post("/internal/rotations", body)
        if answer.status_code != 200:
            continue
        traceparent = offers(platform)[answer.json()["requestId"]]["traceparent"]
        traces.add(traceparent.split("-")[1])
        (root,) = [
            each
            for each in spans.get_finished_spans()
            if format(each.context.trace_id, "032x") == traceparent.split("-")[1]
        ]
        assert (root.name, root.parent) == ("rotation caused", None)
    assert traces


def _tell_and_break(work: Work, request_id: str) -> None:
    request = work.requests.by_id(request_id)
    assert request is not None
    work.journal.past_span("never", request, request.created_at)
    raise RuntimeError
