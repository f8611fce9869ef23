"""What Prometheus gets to see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest
from dagster import DagsterRunStatus
from starlette.testclient import TestClient

from idp_dagster import exporter as exporter_module
from idp_dagster.exporter import ReadProjection, exporter
from idp_dagster.health import EngineHealth, ReadHealth
from idp_kernel.errors import PlatformError, Unavailable
from idp_kernel.wire.metrics import (
    DownstreamErrorsTotal,
    EventsTotal,
    LapsedLease,
    LeaseLossesTotal,
    MetricsProjection,
    OldestPending,
    OpenRequests,
    ProviderWait,
    RetriesTotal,
    RunDuration,
    SecretsStanding,
    WaitingRequests,
)
from idp_kernel.wire.worker import SecretSensitivity
from idp_kernel.workflows import (
    WORKFLOW_SECONDS_BUCKETS,
    RequestState,
    WorkflowName,
    WorkflowResult,
)
from tests.fixtures.openmetrics import families_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FLOW = WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING
LABEL = 'workflow="ApplicationEnvironmentProvisioning"'


HANGS_FOR_SECONDS = 60
"""Unless the test lets it go."""


class FixedClock:
    def now(self) -> datetime:
        return NOW


class Projection:
    """The control plane's answer, or its absence."""

    def __init__(self) -> None:
        self.error: PlatformError | None = None
        counts = [0] * (len(WORKFLOW_SECONDS_BUCKETS) + 1)
        counts[1], counts[2], counts[-1] = 2, 3, 1
        self.answer = MetricsProjection(
            taken_at=NOW - timedelta(seconds=1.5),
            retries=(RetriesTotal(workflow=FLOW, value=4),),
            events=(EventsTotal(event="team_created", result="success", value=2),),
            durations=(
                RunDuration(
                    workflow=FLOW,
                    result=WorkflowResult.SUCCESS,
                    bucket_counts=tuple(counts),
                    sum_seconds=99.5,
                ),
            ),
            open_requests=(OpenRequests(workflow=FLOW, state=RequestState.RUNNING, value=1),),
            oldest_pending=(OldestPending(workflow=FLOW, age_seconds=7.25),),
            lapsed_leases=(LapsedLease(workflow=FLOW, age_seconds=8.5),),
            waiting=(WaitingRequests(workflow=FLOW, reason="grace", value=5),),
            provider_waits=(ProviderWait(workflow=FLOW, age_seconds=9.75),),
            lease_losses=(LeaseLossesTotal(workflow=FLOW, value=6),),
            downstream_errors=(
                DownstreamErrorsTotal(
                    target="openbao", code="openbao_failed", status="503", value=7
                ),
            ),
            secrets=(
                SecretsStanding(
                    sensitivity=SecretSensitivity.HIGH,
                    oldest_age_seconds=86400,
                    next_expiry_seconds=-60,
                    overdue=2,
                ),
                SecretsStanding(
                    sensitivity=SecretSensitivity.LOW,
                    oldest_age_seconds=None,
                    next_expiry_seconds=None,
                    overdue=0,
                ),
            ),
        )

    def __call__(self) -> MetricsProjection:
        if self.error is not None:
            raise self.error
        return self.answer


class Health:
    """What Dagster's storage tells, or its absence."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __call__(self) -> EngineHealth:
        if self.error is not None:
            raise self.error
        return EngineHealth(
            heartbeat_ages={"SENSOR": 1.5},
            open_runs={DagsterRunStatus.QUEUED: 3, DagsterRunStatus.STARTED: 2},
            failed_ticks={"workflow_requests_sensor": 4},
            failed_runs={"secret_rotation_schedule": 3},
            deleted_rows={"runs": 7},
            housekeeping_age=90.0,
        )


@pytest.fixture
def projection() -> Projection:
    return Projection()


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def client(projection: Projection, health: Health) -> TestClient:
    return TestClient(exporter(projection, health, FixedClock(), env="test"))


@pytest.mark.parametrize(
    "line",
    [
        f"workflow_retries_total{{{LABEL}}} 4.0",
        'domain_events_total{event="team_created",result="success"} 2.0',
        f'workflow_run_duration_seconds_bucket{{le="0.5",{LABEL},result="success"}} 0.0',
        f'workflow_run_duration_seconds_bucket{{le="1.0",{LABEL},result="success"}} 2.0',
        f'workflow_run_duration_seconds_bucket{{le="2.0",{LABEL},result="success"}} 5.0',
        f'workflow_run_duration_seconds_bucket{{le="+Inf",{LABEL},result="success"}} 6.0',
        f'workflow_run_duration_seconds_count{{{LABEL},result="success"}} 6.0',
        f'workflow_run_duration_seconds_sum{{{LABEL},result="success"}} 99.5',
        f'workflow_requests_open{{state="running",{LABEL}}} 1.0',
        f"workflow_oldest_pending_seconds{{{LABEL}}} 7.25",
        f"workflow_lapsed_lease_seconds{{{LABEL}}} 8.5",
        f'workflow_requests_waiting{{reason="grace",{LABEL}}} 5.0',
        f"workflow_longest_provider_wait_seconds{{{LABEL}}} 9.75",
        f"workflow_lease_losses_total{{{LABEL}}} 6.0",
        'downstream_errors_total{target="openbao",code="openbao_failed",status="503"} 7.0',
        'secret_age_seconds{sensitivity="high"} 86400.0',
        'secret_expiry_seconds{sensitivity="high"} -60.0',
        'secrets_rotation_overdue{sensitivity="high"} 2.0',
        'secrets_rotation_overdue{sensitivity="low"} 0.0',
        'dagster_daemon_heartbeat_age_seconds{daemon="SENSOR"} 1.5',
        'dagster_runs_open{status="QUEUED"} 3.0',
        'dagster_failed_ticks{name="workflow_requests_sensor"} 4.0',
        'dagster_scheduled_runs_failed_in_a_row{name="secret_rotation_schedule"} 3.0',
        "dagster_instance_up 1.0",
        "idp_metrics_projection_up 1.0",
        "idp_metrics_projection_age_seconds 1.5",
    ],
)
def test_every_count_of_the_projection_is_shown(client: TestClient, line: str) -> None:
    shown = {sorted_labels(each) for each in client.get("/metrics").text.splitlines()}
    assert sorted_labels(line) in shown


def test_while_the_control_plane_is_away_nothing_is_made_up(
    client: TestClient, projection: Projection
) -> None:
    projection.error = Unavailable("away")
    text = client.get("/metrics").text
    assert "idp_metrics_projection_up 0.0" in text
    assert "\nworkflow_" not in text
    assert "domain_events" not in text
    assert "projection_age" not in text
    assert client.get("/readyz").status_code == 503
    projection.error = None
    assert "idp_metrics_projection_up 1.0" in client.get("/metrics").text
    assert client.get("/readyz").status_code == 200


def test_what_there_is_none_of_has_no_age(client: TestClient) -> None:
    text = client.get("/metrics").text
    assert 'secret_age_seconds{sensitivity="low"}' not in text
    assert 'secret_expiry_seconds{sensitivity="low"}' not in text


def test_while_dagsters_storage_is_away_the_rest_is_shown(
    client: TestClient, health: Health
) -> None:
    health.error = ConnectionError("away")
    text = client.get("/metrics").text
    assert "dagster_instance_up 0.0" in text
    assert "dagster_runs_open" not in text
    assert "dagster_daemon" not in text
    assert "idp_metrics_projection_up 1.0" in text


def test_what_hangs_is_told_as_away_and_the_rest_is_shown(
    projection: Projection, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = Event()

    def hang() -> Any:
        assert ended.wait(HANGS_FOR_SECONDS)
        raise Unavailable("too late")

    def scraped(hanging: str, read: ReadProjection, read_health: ReadHealth) -> list[str]:
        with monkeypatch.context() as patched:
            patched.setattr(exporter_module, f"{hanging}_WITHIN_SECONDS", 0.1)
            app = exporter(read, read_health, FixedClock(), env="test")
        return TestClient(app).get("/metrics").text.splitlines()

    try:
        shown = scraped("HEALTH", projection, hang)
        assert {"dagster_instance_up 0.0", "idp_metrics_projection_up 1.0"} <= set(shown)
        shown = scraped("PROJECTION", hang, health)
        assert {"dagster_instance_up 1.0", "idp_metrics_projection_up 0.0"} <= set(shown)
        assert not ended.is_set()
    finally:
        ended.set()


def test_all_of_it_is_valid_openmetrics(client: TestClient) -> None:
    accept = "application/openmetrics-text;version=1.0.0"
    answer = client.get("/metrics", headers={"Accept": accept})
    names = {family.name for family in families_of(answer.text)}
    assert {"workflow_run_duration_seconds", "domain_events", "dagster_runs_open"} <= names


def sorted_labels(line: str) -> str:
    """A line of the exposition format whatever the order of its labels."""
    name, _, rest = line.partition("{")
    labels, _, value = rest.partition("}")
    return f"{name}{sorted(labels.split(','))}{value}"
