"""Each alert fires in its fault and in no other case, as Prometheus' own tool finds."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from idp_kernel.workflows import WORKFLOW_SECONDS_BUCKETS, WorkflowName
from observability.alerts import ALERTS
from observability.generate import FOLDER
from observability.objectives import DONE_WITHIN_SECONDS

pytestmark = pytest.mark.system

RULES = FOLDER / "prometheus" / "rules.yaml"
ROTATION = WorkflowName.SECRET_ROTATION
FLOW = {"workflow": ROTATION.value}
Input = dict[str, str]
"""Series and their values in Prometheus' notation: `0+2x60` is 0, 2, 4 and so on."""


def ended(success: str, *, in_time: str = "", error: str = "", cancelled: str = "") -> Input:
    """Rotations that ended, by result; all in time unless it is said how many."""
    name, flow = "workflow_run_duration_seconds", f'workflow="{ROTATION}"'
    promised = DONE_WITHIN_SECONDS[ROTATION]
    found = {
        f'{name}_count{{{flow}, result="success"}}': success,
        f'{name}_bucket{{{flow}, result="success", le="{promised}"}}': in_time or success,
        f'{name}_count{{{flow}, result="error"}}': error,
        f'{name}_count{{{flow}, result="cancelled"}}': cancelled,
    }
    return {series: values for series, values in found.items() if values}


def answered(good: str, bad: str) -> Input:
    labels = (
        f'{_scraped("control-plane-api")}, service="control-plane-api", env="x", method="GET",'
        ' route="/v1/teams"'
    )
    found = {
        f"up{{{_scraped('control-plane-api')}}}": "1x99",
        f'http_requests_total{{{labels}, status="200"}}': good,
        f'http_requests_total{{{labels}, status="503"}}': bad,
    }
    return {series: values for series, values in found.items() if values}


def errors(values: str, job: str) -> Input:
    labels = f'{_scraped(job)}, target="openbao", code="openbao_failed", status="503"'
    return {f"downstream_errors_total{{{labels}}}": values, f"up{{{_scraped(job)}}}": "1x99"}


def _scraped(job: str) -> str:
    return f'job="{job}", instance="here"'


def gauge(name: str, values: str, /, **labels: str) -> Input:
    return {name + _labels(labels): values}


def _labels(labels: dict[str, str]) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


@dataclass(frozen=True)
class Case:
    """What Prometheus has scraped by `at`, and what the alert should be by then."""

    alert: str
    says: str
    scraped: Input
    at: str
    labels: dict[str, str] = field(default_factory=dict)
    """Of the alert that fires; none if none should even begin to."""
    every: str = "1m"

    @property
    def fires(self) -> bool:
        return bool(self.labels)


def fires(
    alert: str, says: str, scraped: Input, at: str, /, every: str = "1m", **labels: str
) -> Case:
    return Case(alert, says, scraped, at, labels, every)


def silent(alert: str, says: str, scraped: Input, at: str, every: str = "1m") -> Case:
    return Case(alert, says, scraped, at, {}, every)


SECRET = {"sensitivity": "high"}
FAILED_IN_A_ROW = "dagster_scheduled_runs_failed_in_a_row"
CASES = (
    fires("WorkflowSuccessBurnsFast", "half fail", ended("0+1x99", error="0+1x99"), "90m", **FLOW),
    silent("WorkflowSuccessBurnsFast", "one of two", ended("0 1x99", error="0 1x99"), "30m"),
    silent("WorkflowSuccessBurnsFast", "it is over", ended("0+1x99", error="0+1x30 30x70"), "80m"),
    silent("WorkflowSuccessBurnsFast", "cancelled", ended("0+1x99", cancelled="0+9x99"), "90m"),
    silent(
        "WorkflowSuccessBurnsFast", "1 in 25", ended("0+24x700", error="0+1x700"), "8h", every="5m"
    ),
    fires(
        "WorkflowSuccessBurnsSlowly",
        "1 in 25",
        ended("0+24x700", error="0+1x700"),
        "8h",
        every="5m",
        **FLOW,
    ),
    silent(
        "WorkflowSuccessBurnsSlowly",
        "1 in 1000",
        ended("0+999x700", error="0+1x700"),
        "8h",
        every="5m",
    ),
    fires("WorkflowFailsAtLowTraffic", "two", ended("0x99", error="0x9 1x9 2x80"), "30m", **FLOW),
    silent("WorkflowFailsAtLowTraffic", "one", ended("0x99", error="0x9 1x90"), "30m"),
    silent("WorkflowFailsAtLowTraffic", "many", ended("0+1x99", error="0+1x99"), "90m"),
    silent(
        "WorkflowFailsAtLowTraffic",
        "many, but not in the last hour",
        ended("0+1x99 99x200", error="0+1x99 99x200"),
        "4h",
    ),
    fires("WorkflowFailureSpike", "all fail", ended("0x30", error="0+1x30"), "15m", **FLOW),
    silent("WorkflowFailureSpike", "few of many", ended("0+9x30", error="0+1x30"), "15m"),
    silent("WorkflowFailureSpike", "four", ended("0x30", error="0x5 1 2 3 4x20"), "15m"),
    fires("WorkflowTimeToDoneBurnsFast", "late", ended("0+1x99", in_time="0x99"), "90m", **FLOW),
    silent("WorkflowTimeToDoneBurnsFast", "in time", ended("0+1x99"), "90m"),
    silent("WorkflowTimeToDoneBurnsFast", "two", ended("0 1 2x99", in_time="0x99"), "30m"),
    fires(
        "WorkflowTimeToDoneBurnsSlowly",
        "1 in 5",
        ended("0+10x700", in_time="0+8x700"),
        "8h",
        every="5m",
        **FLOW,
    ),
    silent(
        "WorkflowTimeToDoneBurnsSlowly",
        "1 in 50",
        ended("0+50x700", in_time="0+49x700"),
        "8h",
        every="5m",
    ),
    silent(
        "WorkflowTimeToDoneBurnsFast",
        "1 in 5",
        ended("0+10x700", in_time="0+8x700"),
        "8h",
        every="5m",
    ),
    fires(
        "WorkflowSlowAtLowTraffic", "two", ended("0x9 1x9 2x80", in_time="0x99"), "30m", **FLOW
    ),
    silent("WorkflowSlowAtLowTraffic", "one", ended("0x9 1x90", in_time="0x99"), "30m"),
    silent(
        "WorkflowSlowAtLowTraffic",
        "many, but not in the last hour",
        ended("0+1x99 99x200", in_time="0x300"),
        "4h",
    ),
    fires(
        "RequestsPendingTooLong",
        "nothing takes it up",
        gauge("workflow_oldest_pending_seconds", "0+60x20", **FLOW),
        "10m",
        **FLOW,
    ),
    silent(
        "RequestsPendingTooLong",
        "a queue that moves",
        gauge("workflow_oldest_pending_seconds", "100x20", **FLOW),
        "10m",
    ),
    fires(
        "RequestsWaitTooLong",
        "a provider stays away",
        gauge("workflow_longest_provider_wait_seconds", "0+60x150", **FLOW),
        "140m",
        **FLOW,
    ),
    silent(
        "RequestsWaitTooLong",
        "an hour's limit",
        gauge("workflow_longest_provider_wait_seconds", "0+60x60 0x100", **FLOW),
        "140m",
    ),
    fires(
        "StuckLease",
        "nobody sweeps",
        gauge("workflow_lapsed_lease_seconds", "0+60x20", **FLOW),
        "10m",
        **FLOW,
    ),
    silent(
        "StuckLease",
        "after an outage",
        gauge("workflow_lapsed_lease_seconds", "0 16 0x20", **FLOW),
        "1m",
    ),
    fires(
        "LeasesLost",
        "three",
        gauge("workflow_lease_losses_total", "0x5 1 2 3x20", **FLOW),
        "20m",
        **FLOW,
    ),
    silent(
        "LeasesLost", "one", gauge("workflow_lease_losses_total", "0x5 1x20", **FLOW), "20m"
    ),
    fires(
        "HttpServerErrors",
        "a tenth",
        answered("0+90x20", "0+10x20"),
        "15m",
        service="control-plane-api",
    ),
    silent("HttpServerErrors", "a hundredth", answered("0+990x20", "0+10x20"), "15m"),
    silent("HttpServerErrors", "one of two", answered("0+0.1x20", "0+0.1x20"), "15m"),
    silent("HttpServerErrors", "none ever", answered("0+9x20", ""), "15m"),
    fires(
        "HttpServerErrors",
        "the first ones",
        answered("0+90x30", "_x20 50x15"),
        "23m",
        service="control-plane-api",
    ),
    fires(
        "ProviderErrors", "away", errors("0+3x30", "execution-workers"), "20m", target="openbao"
    ),
    fires(
        "ProviderErrors",
        "the first ones",
        errors("_x15 50x15", "execution-workers"),
        "20m",
        target="openbao",
    ),
    silent(
        "ProviderErrors",
        "met before anybody watched",
        {**errors("_x15 50x15", "execution-workers"),
         f"up{{{_scraped('execution-workers')}}}": "_x15 1x15"},
        "20m",
    ),
    silent("ProviderErrors", "now and then", errors("0 1x9 2x20", "execution-workers"), "20m"),
    silent("ProviderErrors", "told by steps", errors("0+3x30", "metrics-exporter"), "20m"),
    fires("ServiceDown", "away", gauge("up", "1x3 0x9", job="control-plane-api"), "9m",
          job="control-plane-api"),
    silent("ServiceDown", "for once", gauge("up", "1x3 0 1x9", job="control-plane-api"), "9m"),
    silent("ServiceDown", "the exporter", gauge("up", "0x9", job="metrics-exporter"), "9m"),
    fires("ExporterDown", "away", gauge("up", "0x9", job="metrics-exporter"), "9m",
          job="metrics-exporter"),
    silent("ExporterDown", "there", gauge("up", "1x9", job="metrics-exporter"), "9m"),
    fires(
        "ProjectionDown",
        "away",
        gauge("idp_metrics_projection_up", "1 0x9", job="metrics-exporter"),
        "9m",
        job="metrics-exporter",
    ),
    silent("ProjectionDown", "there", gauge("idp_metrics_projection_up", "1x9"), "9m"),
    fires(
        "DagsterStorageDown",
        "away",
        gauge("dagster_instance_up", "1 0x9", job="metrics-exporter"),
        "9m",
        job="metrics-exporter",
    ),
    silent("DagsterStorageDown", "there", gauge("dagster_instance_up", "1x9"), "9m"),
    fires(
        "DaemonDown",
        "hangs",
        gauge("dagster_daemon_heartbeat_age_seconds", "0+60x9", daemon="SENSOR"),
        "9m",
        daemon="SENSOR",
    ),
    silent(
        "DaemonDown",
        "lives",
        gauge("dagster_daemon_heartbeat_age_seconds", "1 30 90x9", daemon="SENSOR"),
        "9m",
    ),
    fires(
        "TicksFail",
        "all of them",
        gauge("dagster_failed_ticks", "0+2x20", name="workflow_requests_sensor"),
        "20m",
        name="workflow_requests_sensor",
    ),
    *(
        fires(
            "TicksFail",
            f"a schedule, {says}",
            gauge("dagster_failed_ticks", values, name="secret_checks_schedule"),
            "60m",
            name="secret_checks_schedule",
        )
        for says, values in (
            ("every five minutes", "0 1x5 2x60"),
            ("every fifteen", " ".join(["1x9 0x4"] * 5)),
        )
    ),
    *(
        silent(
            "TicksFail",
            f"a schedule, once, after {at}",
            gauge("dagster_failed_ticks", "0x9 1x9 0x60", name="secret_checks_schedule"),
            at,
        )
        for at in ("15m", "20m", "30m")
    ),
    silent(
        "TicksFail",
        "a short outage",
        gauge("dagster_failed_ticks", "0 4 4 0x20", name="workflow_requests_sensor"),
        "2m",
    ),
    fires(
        "ScheduledRunsFail",
        "go on failing",
        gauge(FAILED_IN_A_ROW, "0 1x4 2x4 3x9", name="secret_checks_schedule"),
        "15m",
        name="secret_checks_schedule",
    ),
    silent(
        "ScheduledRunsFail",
        "two failed in an outage",
        gauge(FAILED_IN_A_ROW, "0 1x4 2x4 0x9", name="secret_checks_schedule"),
        "15m",
    ),
    fires(
        "HousekeepingStalls",
        "one table",
        gauge("housekeeping_last_done_seconds", "0+300x99", job="control-plane-api", table="x"),
        "7h",
        "5m",
        job="control-plane-api",
        table="x",
    ),
    silent(
        "HousekeepingStalls",
        "one replica is through",
        {
            **gauge(
                "housekeeping_last_done_seconds", "0+300x99", job="a", instance="1", table="x"
            ),
            **gauge("housekeeping_last_done_seconds", "60x99", job="a", instance="2", table="x"),
        },
        "7h",
        "5m",
    ),
    fires(
        "RotationOverdue",
        "fails each hour",
        {
            **gauge("secrets_rotation_overdue", "1x99", **SECRET),
            **ended("0x99", error=" ".join(f"{count}x59" for count in range(3))),
        },
        "90m",
        **SECRET,
    ),
    silent(
        "RotationOverdue",
        "none is",
        gauge("secrets_rotation_overdue", "0x99", **SECRET),
        "8h",
        every="30m",
    ),
    fires(
        "CredentialNearExpiry",
        "a day",
        gauge("secret_expiry_seconds", "86400-60x20", **SECRET),
        "15m",
        **SECRET,
    ),
    fires(
        "CredentialNearExpiry",
        "ended",
        gauge("secret_expiry_seconds", "-60-60x20", **SECRET),
        "15m",
        **SECRET,
    ),
    silent(
        "CredentialNearExpiry",
        "a week",
        gauge("secret_expiry_seconds", "604800-60x20", **SECRET),
        "15m",
    ),
)  # fmt: skip
GROUPS: dict[str, set[str]] = {
    group["name"]: {rule["alert"] for rule in group["rules"] if "alert" in rule}
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
}
"""The alerts of each group."""
SEVERITY = {alert.name: alert.severity.value for alert in ALERTS}


def test_the_rules_are_well_formed() -> None:
    _promtool("check", "rules", str(RULES))
    _promtool("check", "config", str(FOLDER / "prometheus" / "prometheus.yaml"))


def test_the_alertmanagers_configuration_is_well_formed() -> None:
    path = str(FOLDER / "alertmanager" / "alertmanager.yaml")
    _run("amtool", "check-config", path)


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_not() -> None:
    for fires_there in (True, False):
        assert {case.alert for case in CASES if case.fires is fires_there} == set(SEVERITY)


def test_promises_are_bounds_of_buckets() -> None:
    assert set(DONE_WITHIN_SECONDS.values()) <= set(WORKFLOW_SECONDS_BUCKETS)


@pytest.mark.parametrize(
    ("group", "every"),
    sorted({(name, case.every) for case in CASES for name in GROUPS if case.alert in GROUPS[name]}),
)
def test_alerts_fire_in_their_faults_and_not_otherwise(
    group: str, every: str, tmp_path: Path
) -> None:
    """Promtool starts once for many cases, and names those that fail. Of the rules it has the group
    alone, which needs no other.
    """
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    document["groups"] = [each for each in document["groups"] if each["name"] == group]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    cases = [each for each in CASES if each.every == every and each.alert in GROUPS[group]]
    _test_rules(tmp_path, every, [_test(case) for case in cases], path)


def _test(case: Case) -> dict[str, Any]:
    state, expected = ("", []) if not case.fires else (', alertstate="firing"', [_firing(case)])
    query = f'ALERTS{{alertname="{case.alert}"{state}}}'
    asked = [(query, case.at, expected)]
    return _asked(f"{case.alert}: {case.says}", case.scraped, case.every, asked)


def test_nothing_fires_while_all_is_well(tmp_path: Path) -> None:
    scraped = {
        **ended("0+5x400"),
        **answered("0+99x400", "0x400"),
        **gauge("up", "1x400", job="control-plane-api"),
        **gauge("up", "1x400", job="metrics-exporter"),
        **gauge("idp_metrics_projection_up", "1x400"),
        **gauge("dagster_instance_up", "1x400"),
        **gauge("dagster_daemon_heartbeat_age_seconds", "1 30x400", daemon="SENSOR"),
        **gauge("workflow_oldest_pending_seconds", "0 2 0x400", **FLOW),
        **gauge("workflow_lapsed_lease_seconds", "0x400", **FLOW),
        **gauge("secrets_rotation_overdue", "0x400", **SECRET),
    }
    asked = [("ALERTS", at, list[dict[str, Any]]()) for at in ("5m", "1h", "1d")]
    _test_rules(tmp_path, "5m", [_asked("all is well", scraped, "5m", asked)])


def _firing(case: Case) -> dict[str, Any]:
    labels = {
        "alertname": case.alert,
        "alertstate": "firing",
        "severity": SEVERITY[case.alert],
        **case.labels,
    }
    return {"labels": f"ALERTS{_labels(labels)}", "value": 1}


def _asked(
    name: str,
    scraped: Input,
    every: str,
    asked: Iterable[tuple[str, str, list[dict[str, Any]]]],
) -> dict[str, Any]:
    """A test of promtool's."""
    return {
        "name": name,
        "interval": every,
        "input_series": [{"series": each, "values": values} for each, values in scraped.items()],
        "promql_expr_test": [
            {"expr": query, "eval_time": at, "exp_samples": expected}
            for query, at, expected in asked
        ],
    }


def _test_rules(folder: Path, every: str, tests: list[dict[str, Any]], rules: Path = RULES) -> None:
    document = {"rule_files": [str(rules)], "evaluation_interval": every, "tests": tests}
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    _promtool("test", "rules", str(path))


def _promtool(*arguments: str) -> None:
    _run("promtool", *arguments)


def _run(*command: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
