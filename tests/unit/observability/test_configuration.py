"""What is configured for programs that the tests do not start agrees with what they do start."""

from __future__ import annotations

from typing import Any

import yaml

from idp_dagster.exporter import HEALTH_WITHIN_SECONDS, PROJECTION_WITHIN_SECONDS
from idp_kernel.telemetry.metrics import METRICS_OF
from idp_kernel.telemetry.metrics_reference import PORTS
from observability.dashboards.model import PROMETHEUS_UID, TEMPO_UID
from observability.generate import FOLDER
from observability.ports import DEFAULT_OBSERVER_PORTS
from observability.prometheus import (
    SCRAPE_SECONDS,
    SCRAPE_TIMEOUT_SECONDS,
    alertmanager,
    prometheus,
)
from tests.docs.pages import DOCS


def _read(path: str) -> Any:
    return yaml.safe_load((FOLDER / path).read_text(encoding="utf-8"))


def test_grafana_asks_prometheus_and_tempo_where_they_are() -> None:
    found = {each["uid"]: each["url"] for each in _sources()}
    tempo = _read("tempo/tempo.yaml")["server"]
    assert found == {
        PROMETHEUS_UID: f"http://127.0.0.1:{DEFAULT_OBSERVER_PORTS.prometheus}",
        TEMPO_UID: f"http://{tempo['http_listen_address']}:{tempo['http_listen_port']}",
    }


def _sources() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _read("grafana/provisioning/datasources/idp.yaml")["datasources"]
    return found


def test_grafana_knows_how_often_is_scraped() -> None:
    (metrics,) = [each for each in _sources() if each["uid"] == PROMETHEUS_UID]
    assert metrics["jsonData"]["timeInterval"] == f"{SCRAPE_SECONDS}s"


def test_the_exporter_answers_in_time_whatever_hangs() -> None:
    assert PROJECTION_WITHIN_SECONDS + HEALTH_WITHIN_SECONDS < SCRAPE_TIMEOUT_SECONDS


def test_tempo_listens_on_loopback_alone() -> None:
    server = _read("tempo/tempo.yaml")["server"]
    assert {server[f"{each}_listen_address"] for each in ("http", "grpc")} == {"127.0.0.1"}


def test_points_of_durations_lead_to_tempo() -> None:
    (metrics,) = [each for each in _sources() if each["uid"] == PROMETHEUS_UID]
    (examples,) = metrics["jsonData"]["exemplarTraceIdDestinations"]
    assert examples == {"name": "trace_id", "datasourceUid": TEMPO_UID}


def test_spans_go_from_the_platform_over_the_collector_to_tempo() -> None:
    collector = _read("collector/collector.yaml")
    receivers = _read("tempo/tempo.yaml")["distributor"]["receivers"]
    (pipeline,) = collector["service"]["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert pipeline[kind] == list(collector[kind])
    (exporter,) = collector["exporters"].values()
    assert exporter["endpoint"] == receivers["otlp"]["protocols"]["grpc"]["endpoint"]
    taken_at = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    told = (DOCS / "observability.md").read_text(encoding="utf-8")
    assert f"idp up --otlp-endpoint http://{taken_at}`" in told


def test_every_process_is_a_job_of_its_name() -> None:
    jobs = {
        each["job_name"]: each["static_configs"][0]["targets"]
        for each in prometheus(DEFAULT_OBSERVER_PORTS, 100)["scrape_configs"]
    }
    assert jobs == {name: [f"127.0.0.1:{port + 100}"] for name, port in PORTS.items()}
    assert jobs.keys() == METRICS_OF.keys()


def test_alerts_go_to_the_webhook_that_is_named_and_to_nobody_otherwise() -> None:
    (receiver,) = alertmanager(None)["receivers"]
    assert receiver["webhook_configs"] == []
    (receiver,) = alertmanager("http://127.0.0.1:1/")["receivers"]
    assert receiver["webhook_configs"] == [{"url": "http://127.0.0.1:1/", "send_resolved": True}]
