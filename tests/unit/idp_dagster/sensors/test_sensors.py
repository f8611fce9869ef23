"""What sensors start, end and report."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    SensorResult,
    SkipReason,
    build_sensor_context,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from idp_dagster.sensors.endings import ENDINGS, report_of, run_endings_sensor
from idp_dagster.sensors.stuck_requests import stuck_requests_sensor
from idp_dagster.sensors.workflow_requests import workflow_requests_sensor
from idp_dagster.tags import ATTEMPT, REQUEST_ID, RUN_ID, SECRET_ID, TRACEPARENT, tags_of
from idp_kernel.errors import InvalidInput, PlatformError, Unavailable
from idp_kernel.ids import new_id
from idp_kernel.telemetry.run_spans import QUEUE_WAIT
from idp_kernel.wire.engine import ROW_HELD, LostRun, Offer, Offers, RunEnding
from idp_kernel.workflows import (
    APPLICATION_ENVIRONMENT_PROVISIONING,
    WORKFLOWS,
    Phase,
    Workflow,
)
from tests.unit.idp_dagster.fakes import FakeWorkflowRequests, offer

JOB = APPLICATION_ENVIRONMENT_PROVISIONING.phase(1).job_name
SENSORS = [
    workflow_requests_sensor,
    run_endings_sensor,
    stuck_requests_sensor,
]


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def look(
    instance: DagsterInstance, requests: FakeWorkflowRequests
) -> SensorResult | SkipReason | object:
    context = build_sensor_context(instance=instance)
    return workflow_requests_sensor(context, workflow_requests=requests)


def add_run(
    instance: DagsterInstance, offered: Offer, status: DagsterRunStatus, **more: str
) -> DagsterRun:
    run = DagsterRun(
        job_name=JOB, run_id=new_id(), status=status, tags={**tags_of(offered, None), **more}
    )
    return instance.run_storage.add_run(run)


def test_all_sensors_work_unless_switched_off() -> None:
    assert {sensor.default_status for sensor in SENSORS} == {DefaultSensorStatus.RUNNING}


def test_each_offer_becomes_one_run_that_knows_its_request(instance: DagsterInstance) -> None:
    offers = (offer(), offer(attempt=3))
    answer = look(instance, FakeWorkflowRequests(offered=Offers(offers=offers)))
    assert isinstance(answer, SensorResult)
    assert answer.run_requests is not None
    assert [request.run_key for request in answer.run_requests] == [
        f"{offers[0].request_id}/1",
        f"{offers[1].request_id}/3",
    ]
    first = answer.run_requests[0]
    assert first.job_name == JOB
    assert first.tags[REQUEST_ID] == offers[0].request_id
    assert first.tags[ATTEMPT] == "1"
    assert first.tags[TRACEPARENT].split("-")[1] == str(offers[0].traceparent).split("-")[1]
    assert first.run_config == {}


def test_a_request_waited_until_the_sensor_took_it(
    instance: DagsterInstance, spans: InMemorySpanExporter
) -> None:
    offered = offer().model_copy(update={"pending_since": datetime.now(UTC) - timedelta(seconds=9)})
    answer = look(instance, FakeWorkflowRequests(offered=Offers(offers=(offered,))))
    assert isinstance(answer, SensorResult)
    found = {each.name: each for each in spans.get_finished_spans()}
    wait, asked = found[QUEUE_WAIT], found["workflow_requests_sensor"]
    assert wait.start_time is not None
    assert wait.end_time is not None
    assert 9 <= (wait.end_time - wait.start_time) / 1e9 < 60
    assert wait.parent is not None
    assert format(wait.parent.span_id, "016x") == str(offered.traceparent).split("-")[2]
    assert asked.parent is not None
    assert asked.parent.span_id == wait.context.span_id
    (request,) = answer.run_requests or []
    assert request.tags[TRACEPARENT].split("-")[2] == format(asked.context.span_id, "016x")
    assert asked.attributes is not None
    assert asked.attributes["idp.workflow_request_id"] == offered.request_id


@pytest.mark.parametrize(
    ("workflow", "phase"), [(flow, phase) for flow in WORKFLOWS.values() for phase in flow.phases]
)
def test_each_phase_is_a_run_of_its_own_job(
    workflow: Workflow, phase: Phase, instance: DagsterInstance
) -> None:
    number = workflow.phases.index(phase) + 1
    offered = offer(workflow=workflow.name, phase=number)
    answer = look(instance, FakeWorkflowRequests(offered=Offers(offers=(offered,))))
    assert isinstance(answer, SensorResult)
    assert [request.job_name for request in answer.run_requests or []] == [phase.job_name]
    assert phase.job_name in {job.name for job in workflow_requests_sensor.jobs}


def test_a_run_that_rotates_a_secret_is_tagged_with_it(instance: DagsterInstance) -> None:
    secret_id = new_id()
    offered = offer().model_copy(update={"secret_id": secret_id})
    answer = look(instance, FakeWorkflowRequests(offered=Offers(offers=(offered,))))
    assert isinstance(answer, SensorResult)
    assert [request.tags[SECRET_ID] for request in answer.run_requests or []] == [secret_id]


def test_no_work_is_a_skip_and_says_why(instance: DagsterInstance) -> None:
    nothing = look(instance, FakeWorkflowRequests())
    draining = look(instance, FakeWorkflowRequests(offered=Offers(offers=(), draining=True)))
    assert isinstance(nothing, SkipReason)
    assert isinstance(draining, SkipReason)
    assert "draining" in str(draining.skip_message)


def test_a_failed_look_is_a_failed_tick(instance: DagsterInstance) -> None:
    with pytest.raises(Unavailable):
        look(instance, FakeWorkflowRequests(error=Unavailable("away")))


@pytest.mark.parametrize("status", [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTED])
def test_an_attempt_whose_run_is_under_way_keeps_its_key(
    instance: DagsterInstance, status: DagsterRunStatus
) -> None:
    offered = offer()
    add_run(instance, offered, status)
    requests = FakeWorkflowRequests(offered=Offers(offers=(offered,)))
    answer = look(instance, requests)
    assert isinstance(answer, SensorResult)
    assert [request.run_key for request in answer.run_requests or []] == [f"{offered.request_id}/1"]
    assert requests.reports == []


@pytest.mark.parametrize("status", ENDINGS)
def test_an_attempt_whose_run_has_ended_is_told_so_instead_of_run_again(
    instance: DagsterInstance, status: DagsterRunStatus
) -> None:
    offered = offer()
    run = add_run(instance, offered, status)
    refused_rerun = run._replace(run_id=new_id(), parent_run_id=run.run_id, root_run_id=run.run_id)
    instance.run_storage.add_run(refused_rerun)
    requests = FakeWorkflowRequests(offered=Offers(offers=(offered,)))
    answer = look(instance, requests)
    assert isinstance(answer, SensorResult)
    assert answer.run_requests == []
    (report,) = requests.reports
    assert (report.run_id, report.attempt, report.ending) == (run.run_id, 1, ENDINGS[status])


def test_only_a_run_with_tags_of_its_own_is_reported(instance: DagsterInstance) -> None:
    offered = offer()
    own = add_run(instance, offered, DagsterRunStatus.FAILURE)
    assert report_of(own, RunEnding.FAILED) is not None
    launched_id = new_id()
    answered = own.with_tags({**own.tags, RUN_ID: launched_id})
    assert report_of(answered._replace(run_id=launched_id), RunEnding.FAILED) is not None

    untagged = DagsterRun(job_name=JOB, run_id=new_id())
    assert report_of(untagged, RunEnding.FAILED) is None
    refused = own._replace(parent_run_id=own.run_id, root_run_id=own.run_id, run_id=new_id())
    assert report_of(refused, RunEnding.FAILED) is None
    refused_again = answered._replace(parent_run_id=launched_id, run_id=new_id())
    assert report_of(refused_again, RunEnding.FAILED) is None


def test_a_report_shows_no_credential(instance: DagsterInstance) -> None:
    run = add_run(instance, offer(), DagsterRunStatus.FAILURE)
    report = report_of(run, RunEnding.FAILED, "refused Bearer abcdef.ghi " + "x" * 3000)
    assert report is not None
    assert "abcdef" not in report.message
    assert len(report.message) == 2000


@pytest.mark.parametrize(
    ("status", "shown", "told"),
    [
        (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.FAILURE, RunEnding.NEVER_STARTED),
        (DagsterRunStatus.STARTING, DagsterRunStatus.FAILURE, RunEnding.NEVER_STARTED),
        (DagsterRunStatus.STARTED, DagsterRunStatus.FAILURE, RunEnding.FAILED),
        (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED, RunEnding.CANCELED),
        (DagsterRunStatus.SUCCESS, DagsterRunStatus.SUCCESS, RunEnding.SUCCEEDED),
        (DagsterRunStatus.CANCELED, DagsterRunStatus.CANCELED, RunEnding.CANCELED),
    ],
)
def test_a_lost_run_is_ended_first_then_reported(
    instance: DagsterInstance,
    status: DagsterRunStatus,
    shown: DagsterRunStatus,
    told: RunEnding,
) -> None:
    run = add_run(instance, offer(), status)
    requests = FakeWorkflowRequests(lost=(lost(run.run_id),))
    stuck_requests_sensor(build_sensor_context(instance=instance), workflow_requests=requests)
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status is shown
    assert [report.ending for report in requests.reports] == [told]


def test_a_lost_run_that_dagster_does_not_know_is_reported_as_never_started(
    instance: DagsterInstance,
) -> None:
    requests = FakeWorkflowRequests(lost=(lost("gone"),))
    stuck_requests_sensor(build_sensor_context(instance=instance), workflow_requests=requests)
    assert [report.ending for report in requests.reports] == [RunEnding.NEVER_STARTED]


@pytest.mark.parametrize(
    "error",
    [InvalidInput("That report is none."), Unavailable("Somebody is at work.", code=ROW_HELD)],
    ids=["refused", "held"],
)
def test_a_lost_run_that_cannot_be_ended_keeps_no_other_from_it(
    instance: DagsterInstance, error: PlatformError
) -> None:
    bad, good = lost("bad"), lost("good")
    requests = FakeWorkflowRequests(lost=(bad, good))
    requests.refused[bad.request_id] = error
    with pytest.raises(ExceptionGroup, match=error.message):
        stuck_requests_sensor(build_sensor_context(instance=instance), workflow_requests=requests)
    assert [report.run_id for report in requests.reports] == ["good"]


def test_an_offer_that_cannot_be_taken_keeps_no_other_from_its_start(
    instance: DagsterInstance,
) -> None:
    bad, good = offer(), offer()
    add_run(instance, bad, DagsterRunStatus.FAILURE)
    requests = FakeWorkflowRequests(offered=Offers(offers=(bad, good)))
    requests.refused[bad.request_id] = InvalidInput("That report is none.")
    answer = look(instance, requests)
    assert isinstance(answer, SensorResult)
    assert [run.run_key for run in answer.run_requests or []] == [f"{good.request_id}/1"]
    requests.offered = Offers(offers=(bad,))
    with pytest.raises(ExceptionGroup, match="That report is none"):
        look(instance, requests)


def lost(run_id: str) -> LostRun:
    return LostRun(run_id=run_id, request_id=new_id(), attempt=1, cause="lease_expired")
