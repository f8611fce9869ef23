"""A real Prometheus and Alertmanager watch a platform at work, then one that is broken."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from idp_kernel.ids import new_id
from idp_kernel.telemetry.metrics import LOCAL_CONSUMER_LOGINS, WORKFLOW_REQUESTS_WAITING
from idp_kernel.workflows import WORKFLOWS, Step, WorkflowName
from observability import limits
from observability.alerts import ALERTS
from observability.dashboards import DASHBOARDS
from observability.dashboards.model import RATE_WINDOW, WHOLE_RANGE
from observability.dashboards.overview import LOGGED_IN
from observability.objectives import recordings
from observability.promql import other_than, series
from tests.e2e.conftest import PORT_OFFSET
from tests.e2e.failures import fails_to_onboard, fails_to_provision
from tests.e2e.logins import as_superuser
from tests.e2e.platform import Platform, Subject, eventually, running_platform
from tests.fixtures.counted_rows import DOWNSTREAM_ERRORS, ENDS, EVENTS, LEASE_LOSSES, RETRIES
from tests.fixtures.observers import Observers, observing
from tests.fixtures.webhook import Webhook, webhook

pytestmark = [pytest.mark.e2e, pytest.mark.system, pytest.mark.timeout(900)]

OFFSET = PORT_OFFSET + 600
"""Of a platform of its own, so that all that happened on it happened here."""
FAILURES = 5
SCRAPE_SECONDS = 3
"""Also the time that a scrape may take, on a machine that does more than this."""
WINDOW = f"{5 * SCRAPE_SECONDS}s"
GRACE_SECONDS = 4 * SCRAPE_SECONDS
SCRAPED_WITHIN_SECONDS = 60
FIRES_WITHIN_SECONDS = 330
"""Two minutes until it is too long, one that it has to last, and the rest for a busy machine."""
RESOLVED_WITHIN_SECONDS = 90
ZERO = " or 0 * "
LOGINS_THAT_FAILED = series(LOCAL_CONSUMER_LOGINS, result=other_than(LOGGED_IN))
WAITS_OF_OTHERS = [
    series(WORKFLOW_REQUESTS_WAITING, workflow=name)
    for name in WORKFLOWS
    if name is not WorkflowName.SECRET_ROTATION
]
LONG_BEFORE = f" offset {limits.SCHEDULE_FAILED_BEFORE}"
"""Longer than the platform lives."""


@dataclass
class Watched:
    """A platform on which everything has happened that may, and who watches it."""

    platform: Platform
    observers: Observers
    webhook: Webhook
    subject: Subject
    began: float

    def rows(self, query: str) -> dict[Any, float]:
        """What the control plane's tables count, without zeros."""
        with as_superuser(self.platform, "idp") as connection:
            connection.execute("SET search_path TO control_plane")
            found = connection.execute(query.encode()).fetchall()
        return {
            labels[0] if len(labels) == 1 else tuple(labels): float(value)
            for *labels, value in found
            if value
        }

    def counted(self, expression: str, *labels: str) -> dict[Any, float]:
        """What Prometheus has of it now, without zeros."""
        found = self.observers.value(expression)
        values = {
            tuple(dict(each).get(label, "") for label in labels): value
            for each, value in found.items()
            if value
        }
        return {key[0] if len(key) == 1 else key: value for key, value in values.items()}

    def has_series(self, expression: str) -> bool:
        """Whether the expression gave a number at any time since the start."""
        found = self.observers.ask(
            "query_range", query=expression, start=self.began, end=time.time(), step=1
        )
        values = [float(value) for each in found["result"] for _, value in each["values"]]
        return any(not math.isnan(value) for value in values)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder: Path = tmp_path_factory.mktemp("watched")
    with running_platform(folder, OFFSET) as platform, webhook() as called:
        options = {
            "--scrape-seconds": str(SCRAPE_SECONDS),
            "--group-wait-seconds": "1",
            "--webhook-url": called.url,
        }
        told = [word for option in options.items() for word in option]
        with observing(folder / "observers", OFFSET, *told) as observers:
            began = time.time()
            up = 'up{job="metrics-exporter"} == 1'
            eventually(lambda: bool(observers.value(up)), what="the exporter is scraped")
            subject = platform.new_subject()
            found = Watched(platform, observers, called, subject, began)
            _rotates(found)
            _repeats_a_step(found)
            _loses_its_lease(found)
            _fails(found)
            _is_cancelled(found)
            _is_undone(found)
            _ends(found)
            yield found


def _rotates(watched: Watched) -> None:
    """During the grace the request waits, long enough to be seen; the credential's end is known."""
    platform = watched.platform
    appenv = platform.provisioned(
        watched.subject, {"name": "db", "issuer": "postgres"}, {"name": "app-key"}
    )
    end = datetime.now(UTC) + timedelta(days=90)
    for secret in appenv["secrets"]:
        policy = {"graceSeconds": GRACE_SECONDS, "expiresAt": f"{end:%FT%TZ}"}
        platform.ok("PUT", f"/v1/secrets/{secret['id']}/rotation-policy", policy)
    rotation = platform.rotate(appenv["secrets"][0]["id"])
    assert platform.ended(rotation["requestId"])["state"] == "succeeded"


def _repeats_a_step(watched: Watched) -> None:
    """The secret store is away when it is called, and back for the repeat."""
    platform = watched.platform
    hit = platform.arm(f"workflow-engine.{Step.PROVISION_SECRETS}.before_call")
    request = platform.provision(platform.with_new_environment(watched.subject))
    eventually(hit.exists, within_seconds=30, what="the run is before its secrets")
    platform.kill("openbao")
    hit.unlink()
    assert platform.ended(request["requestId"])["state"] == "succeeded"
    platform.await_ready()


def _loses_its_lease(watched: Watched) -> None:
    """The run stands still for longer than its lease; the request goes on with another."""
    platform = watched.platform
    hit = platform.arm(f"workflow-engine.{Step.MATERIALIZE_REPOSITORIES}.before_call")
    request = platform.provision(platform.with_new_environment(watched.subject))
    eventually(hit.exists, within_seconds=30, what="the run is before its repositories")
    pid = int(hit.read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: watched.rows(LEASE_LOSSES), what="the lease is lost")
    finally:
        os.kill(pid, signal.SIGKILL)
    hit.unlink()
    assert platform.ended(request["requestId"], within_seconds=120)["state"] == "succeeded"


def _fails(watched: Watched) -> None:
    for _ in range(FAILURES):
        fails_to_onboard(watched.platform, watched.subject)
    fails_to_provision(watched.platform, watched.platform.with_new_environment(watched.subject))


def _is_cancelled(watched: Watched) -> None:
    platform = watched.platform
    assert platform.idp("drain").returncode == 0
    request = platform.provision(platform.with_new_environment(watched.subject))
    path = f"/v1/workflow-requests/{request['requestId']}/cancel"
    platform.ok("POST", path, {"reason": "a typo"})
    assert platform.ended(request["requestId"])["state"] == "cancelled"
    assert platform.idp("resume").returncode == 0


def _is_undone(watched: Watched) -> None:
    platform = watched.platform
    request = platform.provision(platform.with_new_environment(watched.subject))
    assert platform.ended(request["requestId"])["state"] == "succeeded"
    path = f"/v1/workflow-requests/{request['requestId']}/undo"
    undo = platform.ok("POST", path, {"reason": "a rehearsal"})
    assert platform.ended(undo["requestId"])["state"] == "succeeded"


def test_every_expression_of_every_panel_gives_series(watched: Watched) -> None:
    expressions = {
        each.replace(RATE_WINDOW, WINDOW).replace(WHOLE_RANGE, "10m")
        for dashboard in DASHBOARDS
        for each in dashboard.expressions()
    }
    assert expressions
    _assert_all_give_series(watched, set(map(_without_its_zero, expressions)))


def test_every_value_that_an_alert_looks_at_gives_series(watched: Watched) -> None:
    values = {
        condition.value.replace(LONG_BEFORE, "")
        for alert in ALERTS
        for all_of in alert.any_of
        for condition in all_of
    }
    assert values
    values = set(map(_without_its_zero, values))
    _assert_all_give_series(watched, values | {each.name for each in recordings()})


def _ends(watched: Watched) -> None:
    """A secret, then its environment with another one, then an application."""
    platform = watched.platform
    appenv = platform.provisioned(
        platform.with_new_environment(watched.subject), {"name": "one"}, {"name": "two"}
    )
    why = {"reason": "a rehearsal"}
    revocation = platform.ok("POST", f"/v1/secrets/{appenv['secrets'][0]['id']}/revoke", why)
    assert platform.ended(revocation["requestId"])["state"] == "succeeded"
    path = f"/v1/application-environments/{appenv['id']}"
    platform.ok("POST", f"{path}/freeze")
    decommissioning = platform.ok("POST", f"{path}/decommission", why)
    assert platform.ended(decommissioning["requestId"])["state"] == "succeeded"
    _ends_an_application(platform, watched.subject.team, why)


def _ends_an_application(platform: Platform, team: str, why: dict[str, str]) -> None:
    """One that had no environment."""
    body = {"team": team, "slug": f"gone-{new_id()[-10:]}"}
    accepted = platform.ok("POST", "/v1/applications", body)
    assert platform.ended(accepted["requestId"])["state"] == "succeeded"
    path = f"/v1/applications/{accepted['applicationId']}"
    platform.ok("POST", f"{path}/deprecate")
    ending = platform.ok("POST", f"{path}/decommission", why)
    assert platform.ended(ending["requestId"])["state"] == "succeeded"


def _without_its_zero(expression: str) -> str:
    """What would be there without the 0 that stands where nothing happened: that always is. Some
    things do not happen here: no log-in fails, and of all workflows only rotations wait.
    """
    happens_not = any(each in expression for each in (LOGINS_THAT_FAILED, *WAITS_OF_OTHERS))
    if happens_not or ZERO not in expression:
        return expression
    return expression.removeprefix("(").partition(ZERO)[0]


def _assert_all_give_series(watched: Watched, expressions: set[str]) -> None:
    empty = sorted(expressions)

    def all_do() -> bool:
        empty[:] = [each for each in empty if not watched.has_series(each)]
        return not empty

    try:
        eventually(all_do, within_seconds=SCRAPED_WITHIN_SECONDS, what="all give series")
    except AssertionError as error:
        raise AssertionError("no series of:\n" + "\n".join(empty)) from error


@pytest.mark.parametrize(
    ("expression", "labels", "query"),
    [
        ("workflow_run_duration_seconds_count", ("workflow", "result"), ENDS),
        ("domain_events_total", ("event",), EVENTS),
        ("workflow_lease_losses_total", ("workflow",), LEASE_LOSSES),
        ("workflow_retries_total", ("workflow",), RETRIES),
        (
            'downstream_errors_total{job="metrics-exporter"}',
            ("target", "code", "status"),
            DOWNSTREAM_ERRORS,
        ),
    ],
    ids=["ends", "events", "lost leases", "retries", "errors of providers"],
)
def test_counts_equal_the_databases_rows(
    watched: Watched, expression: str, labels: tuple[str, ...], query: str
) -> None:
    assert watched.rows(query)

    def equal() -> bool:
        return watched.counted(expression, *labels) == watched.rows(query)

    try:
        eventually(equal, within_seconds=SCRAPED_WITHIN_SECONDS, what="both count the same")
    except AssertionError as error:
        told = (watched.counted(expression, *labels), watched.rows(query))
        raise AssertionError(f"Prometheus {told[0]}, rows {told[1]}") from error


def test_workflows_that_fail_are_told_at_once(watched: Watched) -> None:
    labels = {"alertname": "WorkflowFailureSpike", "severity": "page"}
    (told,) = _delivered(watched, "firing", SCRAPED_WITHIN_SECONDS, **labels)[:1]
    assert told["labels"]["workflow"] == WorkflowName.APPLICATION_ONBOARDING
    assert told["annotations"]["runbook_url"] == (
        f"{watched.observers.prometheus_url}/user/workflow-failure-spike.md"
    )
    answer = watched.platform.client.get(told["annotations"]["runbook_url"])
    assert answer.text.startswith("# WorkflowFailureSpike\n")
    few = {"alertname": "WorkflowFailsAtLowTraffic", "severity": "ticket"}
    assert _delivered(watched, "firing", SCRAPED_WITHIN_SECONDS, **few)


def test_what_stands_still_is_told_and_that_it_goes_on(watched: Watched) -> None:
    """Dagster's daemon and a service hang: nothing takes the next request up."""
    expected = [
        {"alertname": "ServiceDown", "job": "local-consumer"},
        {"alertname": "DaemonDown", "daemon": "SENSOR"},
        {"alertname": "RequestsPendingTooLong", "workflow": "ApplicationEnvironmentProvisioning"},
    ]
    platform = watched.platform
    assert not {each["alertname"] for each in expected} & watched.observers.firing()
    with _standing_still(platform, "daemon"), _standing_still(platform, "local-consumer"):
        request = platform.provision(platform.with_new_environment(watched.subject))
        for labels in expected:
            (told, *_) = _delivered(watched, "firing", FIRES_WITHIN_SECONDS, **labels)
            assert told["annotations"]["summary"]
    assert platform.ended(request["requestId"])["state"] == "succeeded"
    for labels in expected:
        assert _delivered(watched, "resolved", RESOLVED_WITHIN_SECONDS, **labels)


def _delivered(
    watched: Watched, status: str, within_seconds: float, **labels: str
) -> list[dict[str, Any]]:
    return eventually(
        lambda: watched.webhook.told(status, **labels),
        within_seconds=within_seconds,
        what=f"{labels} is told to be {status}",
    )


@contextmanager
def _standing_still(platform: Platform, program: str) -> Iterator[None]:
    """The process is there and does nothing."""
    pid = platform.pid_of(program)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
