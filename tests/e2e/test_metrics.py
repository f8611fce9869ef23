"""What Prometheus finds at the processes of a running platform."""

from __future__ import annotations

import time

import psutil
import pytest
from prometheus_client import Metric
from prometheus_client.samples import Sample

from idp_kernel.services import ServiceName
from idp_kernel.telemetry.metrics import METRICS_OF
from idp_kernel.telemetry.metrics_reference import PORTS
from tests.e2e.platform import Platform, Subject, eventually
from tests.fixtures.openmetrics import ACCEPT, families_of

pytestmark = [pytest.mark.e2e, pytest.mark.endurance]

SCRAPES = 10
SCRAPE_WITHIN_SECONDS = 0.1
"""Of the processor: how long one waits is also the doing of whatever else runs here."""


def families(platform: Platform, service: ServiceName) -> list[Metric]:
    answer = platform.client.get(
        platform.url(PORTS[service], "/metrics"), headers={"Accept": ACCEPT}
    )
    return families_of(answer.text)


def samples(platform: Platform, service: ServiceName) -> list[Sample]:
    return [sample for family in families(platform, service) for sample in family.samples]


def value(platform: Platform, metric: str, **labels: str) -> float | None:
    """One sample of the exporter."""
    found = [
        each.value
        for each in samples(platform, ServiceName.METRICS_EXPORTER)
        if each.name == metric and labels.items() <= each.labels.items()
    ]
    return found[0] if found else None


@pytest.mark.parametrize("service", METRICS_OF)
def test_each_process_shows_what_is_defined_for_it_and_no_more(
    platform: Platform, service: ServiceName
) -> None:
    shown = {each.name for each in families(platform, service)}
    assert shown == {each.name.removesuffix("_total") for each in METRICS_OF[service]}


def test_labels_of_http_requests_are_templates_and_closed_sets(
    platform: Platform, onboarded: Subject
) -> None:
    for service in (ServiceName.CONTROL_PLANE_API, ServiceName.EXECUTION_WORKERS):
        counted = [
            each.labels for each in samples(platform, service) if each.name == "http_requests_total"
        ]
        assert counted
        for labels in counted:
            assert labels.keys() == {"service", "env", "method", "route", "status"}
            assert labels["service"] == service
            assert labels["status"].isdecimal()
            assert labels["method"].isupper()
            assert onboarded.application_id not in labels["route"]


def test_the_durations_of_requests_lead_to_traces(platform: Platform) -> None:
    platform.new_subject()  # examples are a process's own, and another test may have killed it
    examples = {
        each.exemplar.labels["trace_id"]
        for each in samples(platform, ServiceName.CONTROL_PLANE_API)
        if each.exemplar is not None and each.labels["route"] == "/v1/applications"
    }
    assert examples

    def known() -> bool:
        return examples <= {each.trace_id for each in platform.otlp.spans}

    eventually(known, what="each example is a trace that was sent")


def test_workflows_that_ended_are_counted(platform: Platform, onboarded: Subject) -> None:
    labels = {"workflow": "ApplicationOnboarding", "result": "success"}
    assert (value(platform, "workflow_run_duration_seconds_count", **labels) or 0) >= 1
    completed = {"event": "workflow_application_onboarding_completed", "result": "success"}
    assert (value(platform, "domain_events_total", **completed) or 0) >= 1
    assert value(platform, "idp_metrics_projection_up") == 1
    began = time.monotonic()
    age = value(platform, "idp_metrics_projection_age_seconds")
    assert age is not None
    assert age < time.monotonic() - began, "each scrape reads anew"


def test_dagsters_own_health_is_shown(platform: Platform) -> None:
    assert value(platform, "dagster_instance_up") == 1
    for daemon in ("SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR", "MONITORING"):
        age = value(platform, "dagster_daemon_heartbeat_age_seconds", daemon=daemon)
        assert age is not None, daemon
        assert age < 90, daemon
    assert value(platform, "dagster_runs_open", status="QUEUED") is not None
    assert value(platform, "dagster_failed_ticks", name="workflow_requests_sensor") is not None


def test_a_scrape_takes_little_of_the_exporters_time(platform: Platform) -> None:
    exporter = psutil.Process(platform.pid_of("exporter"))
    before = exporter.cpu_times()
    for _ in range(SCRAPES):
        assert value(platform, "idp_metrics_projection_up") == 1
    after = exporter.cpu_times()
    used = after.user + after.system - before.user - before.system
    assert used / SCRAPES < SCRAPE_WITHIN_SECONDS


def test_while_the_control_plane_is_away_its_series_are_left_out(platform: Platform) -> None:
    platform.kill("control-plane-api")

    def shown() -> dict[str, float]:
        return {each.name: each.value for each in samples(platform, ServiceName.METRICS_EXPORTER)}

    while_away = eventually(
        lambda: found if (found := shown())["idp_metrics_projection_up"] == 0 else None,
        what="the exporter says so",
    )
    assert "workflow_retries_total" not in while_away
    platform.await_ready()
    assert value(platform, "idp_metrics_projection_up") == 1
    assert value(platform, "workflow_retries_total") is not None
