"""Each count of the metrics equals what the rows say, asked of them in SQL of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from control_plane.adapters.database import count_outages, new_engine, transaction
from idp_kernel.errors import Unavailable
from idp_kernel.ids import new_id
from idp_kernel.services import ServiceName
from idp_kernel.telemetry.metrics import downstream_errors
from idp_kernel.workflows import WORKFLOW_SECONDS_BUCKETS, Step, WorkflowName, WorkflowResult
from tests.fixtures import counted_rows
from tests.fixtures.counted_rows import DOWNSTREAM_ERRORS, EVENTS, LEASE_LOSSES, RETRIES
from tests.integration.control_plane.conftest import Platform, Subject
from tests.integration.control_plane.engine_run import STEPS, claimed, offers, report
from tests.integration.control_plane.rotations import (
    rotating,
    rotation_of,
    secrets_in_use,
    set_policy,
)
from tests.integration.control_plane.test_limits import set_limits

DAILY = {"intervalSeconds": 86400, "graceSeconds": 0}
"""A policy."""

ENDS = """
    SELECT r.workflow,
           CASE e.data ->> 'state' WHEN 'succeeded' THEN 'success' WHEN 'failed' THEN 'error'
                WHEN 'timed_out' THEN 'timeout' ELSE 'cancelled' END,
           extract(epoch FROM e.occurred_at - coalesce(begun.at, r.created_at))::float8
           - CASE WHEN begun.at IS NULL THEN r.waited_seconds ELSE 0 END
    FROM outbox_events e JOIN workflow_requests r ON r.id = e.request_id
    LEFT JOIN LATERAL (
        SELECT max(occurred_at) AS at FROM outbox_events
        WHERE request_id = r.id AND type = 'workflow_request_retried'
        AND sequence < e.sequence
    ) begun ON true
    WHERE e.type ~ '^workflow_.*_(completed|failed)$'
"""
OPEN = """
    SELECT workflow, state, count(*) FROM workflow_requests WHERE ended_at IS NULL GROUP BY 1, 2
"""
WAITING = """
    SELECT workflow, waiting_reason, count(*) FROM workflow_requests
    WHERE state = 'waiting' GROUP BY 1, 2
"""
SECRETS = """
    SELECT sensitivity,
           extract(epoch FROM max(cast(:now AS timestamptz) - rotated_at))::float8,
           extract(epoch FROM min(expires_at - :now))::float8,
           count(*) FILTER (WHERE :now - rotated_at > make_interval(secs => 86400
               + coalesce(rotation_interval_seconds, CASE sensitivity
                   WHEN 'low' THEN 15552000 WHEN 'medium' THEN 7776000 ELSE 2592000 END)
               + coalesce(rotation_grace_seconds,
                   CASE sensitivity WHEN 'high' THEN 3600 ELSE 86400 END)))
    FROM secrets WHERE state IN ('Active', 'Rotating') GROUP BY sensitivity
"""


def test_every_count_equals_the_rows(lone_platform: Platform) -> None:
    _run_all_kinds_of_traffic(lone_platform)
    _is_retried_out_of_a_wait(lone_platform)
    shown = _shown(lone_platform)
    assert _counts(shown, "retries", "workflow") == _rows(lone_platform, RETRIES)
    assert _counts(shown, "leaseLosses", "workflow") == _rows(lone_platform, LEASE_LOSSES)
    assert _counts(shown, "events", "event") == _rows(lone_platform, EVENTS)
    assert _counts(shown, "openRequests", "workflow", "state") == _rows(lone_platform, OPEN)
    assert _counts(shown, "waiting", "workflow", "reason") == _rows(lone_platform, WAITING)
    met = _rows(lone_platform, DOWNSTREAM_ERRORS)
    assert _counts(shown, "downstreamErrors", "target", "code", "status") == met
    assert met == {
        ("openbao", "openbao_failed", "503"): 2,
        ("local-forge", "unreachable", "none"): 1,
    }
    ended = {
        (each["workflow"], each["result"]): sum(each["bucketCounts"])
        for each in shown["durations"]
        if sum(each["bucketCounts"])
    }
    assert ended == _rows(lone_platform, counted_rows.ENDS)
    assert {result for _, result in ended} == set(WorkflowResult)
    assert {(each["workflow"], each["result"]) for each in shown["durations"]} == {
        (workflow, result) for workflow in WorkflowName for result in WorkflowResult
    }


def test_what_a_run_reports_makes_no_series_of_its_own(lone_platform: Platform) -> None:
    run = claimed(lone_platform, lone_platform.provision(lone_platform.new_subject()))
    known = ("postgres", "postgres_busy", "55P03")
    for number in range(3):
        run.start(STEPS[number])
        made_up = _met({}, f"code-{number}", f"{number}", target=f"target-{number}")
        met = _met({}, known[1], known[2], target=known[0])
        reported = [*made_up["downstreamErrors"], *met["downstreamErrors"]]
        result = {**run.results()[STEPS[number]], "downstreamErrors": reported}
        run.end(STEPS[number], result=result)
    counted = _counts(_shown(lone_platform), "downstreamErrors", "target", "code", "status")
    assert counted == {("other", "other", "other"): 3, known: 3}


def test_durations_fall_into_the_right_buckets(lone_platform: Platform) -> None:
    _run_all_kinds_of_traffic(lone_platform)
    expected: dict[tuple[str, str], list[float]] = {}
    with lone_platform.engine.connect() as connection:
        for workflow, result, seconds in connection.execute(text(ENDS)):
            expected.setdefault((workflow, result), []).append(seconds)
    durations = _shown(lone_platform)["durations"]
    shown = {
        (each["workflow"], each["result"]): each for each in durations if sum(each["bucketCounts"])
    }
    assert shown.keys() == expected.keys()
    bounds = [*WORKFLOW_SECONDS_BUCKETS, float("inf")]
    for labels, lengths in expected.items():
        below = [0.0, *WORKFLOW_SECONDS_BUCKETS]
        counts = [
            sum(low < each <= high or (low == 0 and each == 0) for each in lengths)
            for low, high in zip(below, bounds, strict=True)
        ]
        assert shown[labels]["bucketCounts"] == counts, labels
        assert shown[labels]["sumSeconds"] == pytest.approx(sum(lengths), abs=1e-4)


def test_counts_outlive_the_rows(lone_platform: Platform) -> None:
    _succeeds(lone_platform, lone_platform.new_subject())
    before = _shown(lone_platform)
    with transaction(lone_platform.engine) as connection:
        connection.execute(text("DELETE FROM outbox_events"))
        connection.execute(text("DELETE FROM request_steps"))
    after = _shown(lone_platform)
    for name in ("retries", "events", "durations", "leaseLosses", "downstreamErrors"):
        assert after[name] == before[name]


def test_secrets_are_as_old_and_as_near_their_end_as_the_rows_say(
    lone_platform: Platform,
) -> None:
    assert [each["oldestAgeSeconds"] for each in _shown(lone_platform)["secrets"]] == [None] * 3
    request_id = _succeeds(lone_platform, lone_platform.new_subject(), "one", "two")
    first, second = lone_platform.environment_of(request_id)["secrets"]
    now = lone_platform.clock.now()
    for secret, policy in (
        (first, {"expiresAt": f"{now + timedelta(days=30):%FT%TZ}"}),
        (second, {**DAILY, "expiresAt": f"{now + timedelta(days=2):%FT%TZ}"}),
    ):
        answer = lone_platform.admin.put(f"/v1/secrets/{secret['id']}/rotation-policy", policy)
        assert answer.status_code == 200, answer.text
    lone_platform.clock.advance(3 * 86400)
    shown = {each["sensitivity"]: each for each in _shown(lone_platform)["secrets"]}
    with lone_platform.engine.connect() as connection:
        rows = connection.execute(text(SECRETS), {"now": lone_platform.clock.now()}).all()
    assert rows
    for sensitivity, age, expiry, overdue in rows:
        assert shown[sensitivity]["oldestAgeSeconds"] == pytest.approx(age, abs=5)
        assert shown[sensitivity]["nextExpirySeconds"] == pytest.approx(expiry, abs=5)
        assert shown[sensitivity]["overdue"] == overdue
    (of_two,) = [row for row in rows if row[0] == second["sensitivity"]]
    assert of_two[1] >= 3 * 86400
    assert of_two[2] == pytest.approx(-86400, abs=60)
    assert of_two[3] == 1


def test_a_secret_is_overdue_while_its_rotations_go_on_failing(lone_platform: Platform) -> None:
    def overdue() -> int:
        return sum(each["overdue"] for each in _shown(lone_platform)["secrets"])

    late, _ = secrets_in_use(lone_platform, "one", "two")
    set_policy(lone_platform, late, **DAILY)
    lone_platform.clock.advance(1.5 * 86400)
    assert overdue() == 0
    lone_platform.clock.advance(86400)
    assert overdue() == 1
    for _ in range(3):
        run = rotating(lone_platform, rotation_of(lone_platform, late))
        assert overdue() == 1
        run.fail(Step.ISSUE_NEW_CREDENTIAL, retryable=False)
        assert overdue() == 1
        lone_platform.clock.advance(1800)
    run = rotating(lone_platform, rotation_of(lone_platform, late))
    run.do_all()
    run.end_phase()
    assert overdue() == 0


def test_what_may_not_have_a_run_is_not_waiting_for_one(lone_platform: Platform) -> None:
    def oldest() -> float:
        return max(float(each["ageSeconds"]) for each in _shown(lone_platform)["oldestPending"])

    subject = lone_platform.new_subject()
    set_limits(lone_platform, subject, maxActiveRequests=0)
    lone_platform.provision(subject)
    lone_platform.clock.advance(300)
    assert oldest() == 0
    set_limits(lone_platform, subject, maxActiveRequests=1)
    assert oldest() >= 300
    lone_platform.provision(lone_platform.new_subject())
    lone_platform.admin.ok("/v1/platform/drain", {})
    assert oldest() == 0
    lone_platform.admin.ok("/v1/platform/resume", {})
    assert oldest() >= 300


def test_an_outage_of_the_database_is_counted(lone_platform: Platform) -> None:
    registry = CollectorRegistry()
    engine = new_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    count_outages(engine, downstream_errors(registry))
    with pytest.raises(Unavailable), transaction(engine):
        raise AssertionError
    labels = {"target": "postgresql", "code": "database_unavailable", "status": "none"}
    assert registry.get_sample_value("downstream_errors_total", labels) == 1


def _run_all_kinds_of_traffic(platform: Platform) -> None:
    subject = platform.new_subject()
    _succeeds(platform, subject)
    _retries_steps_and_waits(platform)
    _loses_its_lease(platform)
    _fails_is_retried_and_succeeds(platform)
    _is_cancelled_and_retried(platform)
    _is_cancelled_and_loses_its_lease(platform)
    _never_claims(platform)
    _times_out(platform)
    platform.provision(platform.new_subject())
    claimed(platform, platform.provision(platform.new_subject()))


def _succeeds(platform: Platform, subject: Subject, *secrets: str) -> str:
    request_id = platform.provision(subject, *secrets)
    run = claimed(platform, request_id)
    run.do_all()
    assert run.finalize().json()["state"] == "succeeded"
    return request_id


def _retries_steps_and_waits(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    run.start(STEPS[0])
    run.start(STEPS[0], retry_number=2)
    run.end(STEPS[0], retry_number=3, result=_met(run.results()[STEPS[0]], "openbao_failed", "503"))
    run.tell("wait", reason="gitops_reconciliation_slow", waitSeconds=50)
    platform.sweep_after(51)
    again = claimed(platform, request_id, attempt=2)
    again.do_all()
    again.finalize()
    waiting = claimed(platform, platform.provision(platform.new_subject()))
    waiting.tell("wait", reason="gitops_reconciliation_slow", waitSeconds=3000)


def _met(result: dict[str, Any], code: str, status: str, target: str = "openbao") -> dict[str, Any]:
    error = {"target": target, "code": code, "status": status}
    return {**result, "downstreamErrors": [error]}


def _loses_its_lease(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    run.start(STEPS[0])
    platform.sweep_after(16)
    report(platform, run, "failed")
    again = claimed(platform, request_id, attempt=2)
    again.do_all()
    again.finalize()


def _fails_is_retried_and_succeeds(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    error = {"code": "boom", "message": "it broke", "retryable": True}
    met = _met({}, "openbao_failed", "503")
    run.end(STEPS[0], result=met, error=error)
    run = claimed(platform, request_id, attempt=2)
    met = _met({}, "unreachable", "none", target="local-forge")
    run.end(STEPS[0], result=met, error={**error, "retryable": False})
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/retry", {"reason": "again"})
    platform.clock.advance(7)
    run = claimed(platform, request_id, attempt=3)
    run.do_all()
    run.finalize()


def _is_cancelled_and_retried(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    path = f"/v1/workflow-requests/{request_id}"
    platform.admin.ok(f"{path}/cancel", {"reason": "a typo"})
    platform.admin.ok(f"{path}/retry", {"reason": "no typo"})
    run = claimed(platform, request_id, attempt=2)
    run.start(Step.MATERIALIZE_REPOSITORIES)
    report(platform, run, "canceled")


def _is_retried_out_of_a_wait(platform: Platform) -> None:
    request_id = platform.provision(platform.new_subject())
    run = claimed(platform, request_id)
    run.tell("wait", reason="gitops_reconciliation_slow", waitSeconds=3000)
    path = f"/v1/workflow-requests/{request_id}"
    platform.admin.ok(f"{path}/cancel", {"reason": "it takes too long"})
    platform.admin.ok(f"{path}/retry", {"reason": "it may take long"})
    run = claimed(platform, request_id, attempt=2)
    run.do_all()
    run.finalize()


def _is_cancelled_and_loses_its_lease(platform: Platform) -> None:
    """Its attempt ended since it was to be cancelled."""
    request_id = platform.provision(platform.new_subject())
    claimed(platform, request_id)
    platform.admin.ok(f"/v1/workflow-requests/{request_id}/cancel", {"reason": "a typo"})
    platform.sweep_after(16)
    assert platform.request(request_id)["state"] == "cancelled"


def _never_claims(platform: Platform) -> None:
    """The engine lost the run on its way to a worker: there is another attempt."""
    request_id = platform.provision(platform.new_subject())
    assert request_id in offers(platform)
    body = {"requestId": request_id, "runId": new_id(), "attempt": 1, "ending": "never_started"}
    platform.engine_service.ok("/internal/run-reports", body)
    assert platform.request(request_id)["attempt"] == 2


def _times_out(platform: Platform) -> None:
    platform.provision(platform.new_subject())
    platform.sweep_after(31 * 60)


def _shown(platform: Platform) -> dict[str, list[dict[str, Any]]]:
    exporter = platform.service(ServiceName.METRICS_EXPORTER)
    shown: dict[str, list[dict[str, Any]]] = exporter.seen("/internal/metrics-projection")
    return shown


def _counts(shown: dict[str, list[dict[str, Any]]], name: str, *labels: str) -> dict[Any, int]:
    """What is shown, but for zeros."""
    key: Callable[[dict[str, Any]], Any] = lambda each: tuple(each[label] for label in labels)  # noqa: E731
    found = {key(each): each["value"] for each in shown[name] if each["value"]}
    return {keys[0] if len(keys) == 1 else keys: value for keys, value in found.items()}


def _rows(platform: Platform, query: str) -> dict[Any, int]:
    with platform.engine.connect() as connection:
        rows = connection.execute(text(query)).all()
    return {
        (labels[0] if len(labels) == 1 else tuple(labels)): int(value)
        for *labels, value in rows
        if value
    }
