"""What a scrape of the exporter costs with years of requests behind it, on a machine of its own."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from control_plane.adapters.database import transaction
from idp_dagster.exporter import exporter
from idp_dagster.health import EngineHealth, engine_health
from idp_kernel.clock import SystemClock
from idp_kernel.services import ServiceName
from idp_kernel.wire.metrics import MetricsProjection
from tests.fixtures.stack import PostgresServer
from tests.integration.control_plane.conftest import Platform, eventually
from tests.integration.control_plane.engine_run import claimed
from tests.integration.control_plane.rows import multiply
from tests.integration.idp_dagster.storage import dagster_storage

pytestmark = [pytest.mark.endurance, pytest.mark.timeout(600)]

LONG_AGO_REQUESTS, LONG_AGO_SECRETS = 1_000_000, 100_000
LONG_AGO_RUNS = 100_000
"""In Dagster, which does not keep them for as long."""
SCRAPES = 20
SCRAPE_WITHIN_SECONDS = 0.1


def test_a_scrape_is_quick_with_a_million_requests(
    lone_platform: Platform, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Of the exporter, of what the control plane and Dagster have."""
    request_id = lone_platform.provision(lone_platform.new_subject(), "one")
    run = claimed(lone_platform, request_id)
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    shown = _series(lone_platform)
    _multiply(lone_platform, request_id)
    assert _series(lone_platform) == shown, "no request and no secret has a series of its own"
    lone_platform.provision(lone_platform.new_subject())

    def projection() -> MetricsProjection:
        return MetricsProjection.model_validate(_shown(lone_platform))

    with dagster_storage(postgres_server, tmp_path) as storage:
        storage.add_runs("application_onboarding", LONG_AGO_RUNS)

        def health() -> EngineHealth:
            return engine_health(storage.instance, datetime.now(UTC))

        app = exporter(projection, health, SystemClock(), env="test")
        before = _sequential_scans(lone_platform)
        took = _seconds_of_scrapes(TestClient(app))
    # The server's own cleaning goes on after a million new rows: the usual scrape tells the cost.
    assert median(took) < SCRAPE_WITHIN_SECONDS, took
    assert _sequential_scans(lone_platform) == before


def _seconds_of_scrapes(client: TestClient) -> list[float]:
    took: list[float] = []
    for _ in range(SCRAPES):
        began = time.perf_counter()
        shown = client.get("/metrics").text
        took.append(time.perf_counter() - began)
        assert "idp_metrics_projection_up 1.0" in shown
        assert "dagster_instance_up 1.0" in shown
    return took


def _series(platform: Platform) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """What the projection shows, by name and labels."""
    return {
        (name, tuple(sorted((key, value) for key, value in each.items() if isinstance(value, str))))
        for name, items in _shown(platform).items()
        if isinstance(items, list)
        for each in items
    }


def _shown(platform: Platform) -> dict[str, Any]:
    shown: dict[str, Any] = platform.service(ServiceName.METRICS_EXPORTER).seen(
        "/internal/metrics-projection"
    )
    return shown


def _multiply(platform: Platform, request_id: str) -> None:
    """More ended requests and secrets than a large installation has after some years."""
    with transaction(platform.engine) as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        of_its_own = {"id": "gen_random_uuid()"}
        for table, rows, where, changed in (
            ("workflow_requests", LONG_AGO_REQUESTS, f"id = '{request_id}'", of_its_own),
            ("secrets", LONG_AGO_SECRETS, "true", {**of_its_own, "name": "'s-' || n"}),
        ):
            multiply(connection, table, rows, where, changed)
        connection.execute(text("ANALYZE"))


def _sequential_scans(platform: Platform) -> dict[str, int]:
    """How often the large tables were read from end to end; told when connections close."""
    platform.engine.dispose()
    query = text(
        "SELECT relname, seq_scan FROM pg_stat_user_tables"
        " WHERE relname IN ('workflow_requests', 'secrets')"
    )
    # A million new rows bring the server's own cleaning, which takes its time and is none of them.
    alone = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend'"
    )

    def is_alone() -> bool:
        with platform.engine.connect() as connection:
            return bool(connection.execute(alone).scalar_one() == 1)

    eventually(is_alone)
    with platform.engine.connect() as connection:
        return {row.relname: row.seq_scan for row in connection.execute(query)}
