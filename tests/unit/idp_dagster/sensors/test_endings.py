"""How the control plane hears of runs that ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, build_sensor_context
from dagster._core.definitions.sensor_definition import SensorExecutionData

from idp_dagster.sensors import endings
from idp_dagster.sensors.endings import run_endings_sensor
from idp_dagster.tags import tags_of
from idp_kernel.errors import InvalidInput, Unavailable
from idp_kernel.ids import new_id
from idp_kernel.wire.engine import RunEnding
from idp_kernel.workflows import APPLICATION_ENVIRONMENT_PROVISIONING
from tests.unit.idp_dagster.fakes import FakeRunNews, FakeWorkflowRequests, offer

JOB = APPLICATION_ENVIRONMENT_PROVISIONING.phase(1).job_name


@dataclass
class Sensor:
    """The sensor with its cursor, as the daemon asks it."""

    instance: DagsterInstance
    requests: FakeWorkflowRequests = field(default_factory=FakeWorkflowRequests)
    news: FakeRunNews = field(default_factory=FakeRunNews)
    cursor: str | None = None

    def tick(self) -> SensorExecutionData:
        """What it answers; a tick that raises moves no cursor."""
        resources = {"run_news": self.news, "workflow_requests": self.requests}
        context = build_sensor_context(self.instance, self.cursor, resources=resources)
        answer = run_endings_sensor.evaluate_tick(context)
        self.cursor = answer.cursor
        return answer

    def told(self) -> list[tuple[str, RunEnding]]:
        return [(report.run_id, report.ending) for report in self.requests.reports]

    def start(self, job: str = JOB) -> DagsterRun:
        run = DagsterRun(
            job, new_id(), status=DagsterRunStatus.STARTED, tags=tags_of(offer(), None)
        )
        return self.instance.run_storage.add_run(run)

    def fail(self, job: str = JOB) -> DagsterRun:
        run = self.start(job)
        self.instance.report_run_failed(run, "it broke")
        return run


@pytest.fixture
def sensor() -> Iterator[Sensor]:
    """One that has looked once."""
    with DagsterInstance.ephemeral() as ephemeral:
        sensor = Sensor(ephemeral)
        sensor.fail()
        sensor.tick()
        assert sensor.requests.reports == [], "what ended before it was there concerns nobody"
        yield sensor


def test_each_ending_is_told_once_in_the_order_in_which_they_came(sensor: Sensor) -> None:
    failed, canceled = sensor.fail(), sensor.start()
    sensor.instance.report_run_canceled(canceled, "by a person")
    again = sensor.fail()
    expected = [
        (failed.run_id, RunEnding.FAILED),
        (canceled.run_id, RunEnding.CANCELED),
        (again.run_id, RunEnding.FAILED),
    ]
    sensor.tick()
    assert sensor.told() == expected
    assert [report.message for report in sensor.requests.reports][:2] == ["it broke", "by a person"]
    sensor.tick()
    assert sensor.told() == expected


def test_what_ends_while_it_waits_is_told_in_the_same_tick(sensor: Sensor) -> None:
    sensor.news.meanwhile = [sensor.fail]
    sensor.tick()
    assert len(sensor.told()) == 1


def test_it_does_not_wait_while_there_is_something_to_tell(sensor: Sensor) -> None:
    sensor.fail()
    waits = sensor.news.waits
    sensor.tick()
    assert sensor.news.waits == waits
    assert sensor.tick().skip_message == "No run ended."
    assert sensor.news.waits == waits + 1


def test_a_run_of_another_job_is_passed_by(sensor: Sensor) -> None:
    sensor.fail("secret_checks")
    sensor.tick()
    assert sensor.told() == []
    ours = sensor.fail()
    sensor.tick()
    assert sensor.told() == [(ours.run_id, RunEnding.FAILED)]


def test_more_than_a_page_is_told_in_several_ticks(
    sensor: Sensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "PAGE_SIZE", 2)
    ended = [sensor.fail().run_id for _ in range(3)]
    sensor.tick()
    assert [run_id for run_id, _ in sensor.told()] == ended[:2]
    sensor.tick()
    assert [run_id for run_id, _ in sensor.told()] == ended


def test_a_control_plane_that_was_away_is_told_later(sensor: Sensor) -> None:
    run = sensor.fail()
    sensor.requests.error = Unavailable("away")
    with pytest.raises(Unavailable):
        sensor.tick()
    sensor.requests.error = None
    sensor.tick()
    assert sensor.told() == [(run.run_id, RunEnding.FAILED)]


def test_a_refused_report_keeps_no_other_from_being_told_and_fails_the_tick(
    sensor: Sensor,
) -> None:
    bad, good = sensor.fail(), sensor.fail()
    refused_id = bad.tags["idp/request_id"]
    sensor.requests.refused[refused_id] = InvalidInput("That report is none.")
    (refused,) = sensor.tick().dagster_run_reactions or ()
    assert refused.error is not None
    assert "That report is none." in refused.error.message
    assert sensor.told() == [(good.run_id, RunEnding.FAILED)]
    assert sensor.tick().skip_message == "No run ended."


def test_a_cursor_of_another_sensor_begins_anew(sensor: Sensor) -> None:
    sensor.fail()
    sensor.cursor = '{"record_id": 3}'
    sensor.tick()
    assert sensor.told() == []
    run = sensor.fail()
    sensor.tick()
    assert sensor.told() == [(run.run_id, RunEnding.FAILED)]
