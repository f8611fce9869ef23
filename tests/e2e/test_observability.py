"""A real Prometheus and Alertmanager watch a platform at work, then one that is broken."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from idp_kernel.ids import new_id
from idp_kernel.services import ServiceName
from idp_kernel.telemetry.metrics import (
    LOCAL_CONSUMER_LOGINS,
    METRICS_OF,
    WORKFLOW_REQUESTS_WAITING,
    WORKFLOW_RUN_DURATION,
)
from idp_kernel.telemetry.metrics_reference import PORTS
from idp_kernel.workflows import (
    WORKFLOW_SECONDS_BUCKETS,
    WORKFLOWS,
    Step,
    WaitingReason,
    WorkflowName,
    WorkflowResult,
)
from observability import limits
from observability.alerts import ALERTS, SECRET_ALERTS, WORKFLOW_ALERTS
from observability.dashboards import DASHBOARDS
from observability.dashboards.model import RATE_WINDOW, WHOLE_RANGE
from observability.dashboards.overview import LOGGED_IN
from observability.objectives import recordings
from observability.promql import other_than, quantile, series
from tests.docs.pages import ROOT
from tests.docs.shell import Shell
from tests.e2e.conftest import PORT_OFFSET
from tests.e2e.failures import fails_to_onboard, fails_to_provision
from tests.e2e.faults import (
    age,
    has_waited,
    held,
    let_expire,
    locked_out,
    put_cursor,
    run_of_schedule,
    sealed_store,
    standing_still,
)
from tests.e2e.logins import as_superuser
from tests.e2e.operator import operators_shell, typed
from tests.e2e.platform import Platform, Subject, eventually, running_platform
from tests.fixtures.counted_rows import (
    DOWNSTREAM_ERRORS,
    ENDS,
    EVENTS,
    LEASE_LOSSES,
    RETRIES,
    SUCCESSES,
)
from tests.fixtures.observers import Observers, observing
from tests.fixtures.webhook import Webhook, webhook

pytestmark = [pytest.mark.e2e, pytest.mark.system, pytest.mark.timeout(1800)]

OFFSET = PORT_OFFSET + 600
"""Of a platform of its own, so that all that happened on it happened here."""
FAILURES = 5
SCRAPE_SECONDS = 3
"""Also the time that a scrape may take, on a machine that does more than this."""
WINDOW = f"{5 * SCRAPE_SECONDS}s"
GRACE_SECONDS = 4 * SCRAPE_SECONDS
SCRAPED_WITHIN_SECONDS = 60
HOLD_SECONDS = 3 * SCRAPE_SECONDS
"""Alerts that ask for longer fire after it; how long each asks for is shown by its own tests."""
FIRES_WITHIN_SECONDS = 330
"""Two minutes until it is too long, and the rest for a busy machine."""
RESOLVED_WITHIN_SECONDS = 330
ENDS_WITHIN_SECONDS = 180
HOUSEKEEPING_WITHIN_SECONDS = 330
"""Dagster's sensor begins a round every five minutes, the first at once."""
SERIES_WITHIN_SECONDS = 180
"""The services begin a round every minute, and what it deletes has to be scraped."""
LATE = 4
"""Requests that wait for a run, besides those whose runs are killed."""
WAIT_FOR_THE_STORE = 2
"""Requests: one alone takes longer to open the store's circuit."""
KILLED_IN = (
    Step.MATERIALIZE_REPOSITORIES,
    Step.PROVISION_SECRETS,
    Step.CREATE_SECRET_BINDINGS,
)
"""As many as make losses of leases an alert."""
PROJECTED_COUNTERS = (
    "workflow_run_duration_seconds_count",
    "workflow_retries_total",
    "domain_events_total",
    "workflow_lease_losses_total",
)
LONG_AGO = timedelta(days=1000)
PROVISIONING = WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING
CLUES = {
    "WorkflowFailureSpike": r"onboarding +failed",
    "WorkflowFailsAtLowTraffic": r"onboarding +failed",
    "RotationOverdue": r"app-key",
    "CredentialNearExpiry": r"app-key",
    "HousekeepingStalls": r'housekeeping_last_done_seconds\{table="runs"\} 25\d\d\d',
    "ScheduledRunsFail": r"no time with an offset",
    "ExporterDown": r"8081/healthz\n\(exit status 28\)",
    "DagsterStorageDown": r"dagster_not_read",
    "HttpServerErrors": r'status="503"',
    "ProviderErrors": r'target="postgresql"',
    "TicksFail": r"The database gave no answer",
    "ProjectionDown": r"projection_not_read",
    "ServiceDown": r"local-consumer",
    "DaemonDown": r"(?s)SENSOR gave no sign of life.*"
    r'age_seconds\{daemon="SENSOR"\} (1[2-9]|[2-9]\d|\d{3})\d',
    "RequestsPendingTooLong": r"pending",
    "StuckLease": r"request_not_swept_yet",
    "RequestsWaitTooLong": r"circuit_open",
    "LeasesLost": r'"event": "lease_lost"',
    "WorkflowTimeToDoneBurnsFast": r"provisioning +succeeded",
    "WorkflowTimeToDoneBurnsSlowly": r"provisioning +succeeded",
    "WorkflowSlowAtLowTraffic": r"revocation +succeeded",
    "WorkflowSuccessBurnsFast": r"provisioning +failed",
    "WorkflowSuccessBurnsSlowly": r"provisioning +failed",
}
"""What somebody who follows an alert's runbook finds among what its commands print."""
TINY = 1e-6
"""What a number that was worked out may be off by."""
ROTATION_SCHEDULE = "secret_rotation_schedule"
Labels = dict[str, str]
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
    bash: Shell
    began: float
    secrets: dict[str, str] = field(default_factory=dict)
    """The ids, by name, of an environment that is there all the time."""

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

    def durations(self) -> dict[str, list[float]]:
        """How long the successful requests of each workflow took, in seconds."""
        with as_superuser(self.platform, "idp") as connection:
            connection.execute("SET search_path TO control_plane")
            return dict(connection.execute(SUCCESSES.encode()).fetchall())

    def counted(self, expression: str, *labels: str) -> dict[Any, float]:
        """What Prometheus has of it now, without zeros."""
        found = self.observers.value(expression)
        values = {
            tuple(dict(each).get(label, "") for label in labels): value
            for each, value in found.items()
            if value
        }
        return {key[0] if len(key) == 1 else key: value for key, value in values.items()}

    def fires(self, labels: Labels) -> bool:
        """Whether an alert with these labels fires now."""
        return any(
            each["state"] == "firing" and labels.items() <= each["labels"].items()
            for each in self.observers.ask("alerts")["alerts"]
        )

    def ever_fired(self) -> set[str]:
        """The names of all alerts that have fired since the start."""
        window = f"{math.ceil(time.time() - self.began)}s"
        fired = f'last_over_time(ALERTS{{alertstate="firing"}}[{window}])'
        return {dict(labels)["alertname"] for labels in self.observers.value(fired)}

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
            "--longest-hold-seconds": str(HOLD_SECONDS),
            "--webhook-url": called.url,
        }
        told = [word for option in options.items() for word in option]
        (typed_in := folder / "typed").mkdir()
        with (
            observing(folder / "observers", OFFSET, *told) as observers,
            operators_shell(platform, typed_in) as bash,
        ):
            began = time.time()
            up = 'up{job="metrics-exporter"} == 1'
            eventually(lambda: bool(observers.value(up)), what="the exporter is scraped")
            subject = platform.new_subject()
            found = Watched(platform, observers, called, subject, bash, began)
            with ThreadPoolExecutor() as pool:
                side_by_side = (_rotates, _is_undone, _ends, *[_fails_to_onboard] * FAILURES)
                for done in [pool.submit(each, found) for each in side_by_side]:
                    done.result()
            for in_turn in (_repeats_a_step, _loses_its_lease, _fails_to_provision):
                in_turn(found)
            _is_cancelled_or_times_out(found)
            yield found


def _rotates(watched: Watched) -> None:
    """During the grace the request waits, long enough to be seen; the credential's end is known."""
    platform = watched.platform
    appenv = platform.provisioned(
        watched.subject,
        {"name": "db", "issuer": "postgres"},
        *({"name": name} for name in ("app-key", "one", "two")),
    )
    watched.secrets.update({each["name"]: each["id"] for each in appenv["secrets"]})
    end = datetime.now(UTC) + timedelta(days=90)
    for secret in appenv["secrets"]:
        policy = {"graceSeconds": GRACE_SECONDS, "expiresAt": f"{end:%FT%TZ}"}
        platform.ok("PUT", f"/v1/secrets/{secret['id']}/rotation-policy", policy)
    rotation = platform.rotate(watched.secrets["db"])
    assert platform.ended(rotation["requestId"])["state"] == "succeeded"


def _repeats_a_step(watched: Watched) -> None:
    """The secret store is away when it is called, and back for the repeat."""
    platform = watched.platform
    hit = platform.arm(f"workflow-engine.{Step.PROVISION_SECRETS}.before_call")
    request = platform.provision(platform.with_new_environment(watched.subject))
    eventually(hit.exists, what="the run is before its secrets")
    platform.kill("openbao")
    hit.unlink()
    assert platform.ended(request["requestId"])["state"] == "succeeded"
    platform.await_ready()


def _loses_its_lease(watched: Watched) -> None:
    """The run stands still for longer than its lease; the request goes on with another."""
    platform = watched.platform
    hit = platform.arm(f"workflow-engine.{Step.MATERIALIZE_REPOSITORIES}.before_call")
    request = platform.provision(platform.with_new_environment(watched.subject))
    eventually(hit.exists, what="the run is before its repositories")
    pid = int(hit.read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: watched.rows(LEASE_LOSSES), what="the lease is lost")
    finally:
        os.kill(pid, signal.SIGKILL)
    hit.unlink()
    assert platform.ended(request["requestId"], within_seconds=120)["state"] == "succeeded"


def _fails_to_onboard(watched: Watched) -> None:
    assert fails_to_onboard(watched.platform, watched.subject)


def _fails_to_provision(watched: Watched) -> None:
    subject = watched.platform.with_new_environment(watched.subject)
    assert fails_to_provision(watched.platform, subject)


def _is_cancelled_or_times_out(watched: Watched) -> None:
    """Two that do not begin."""
    platform = watched.platform
    with _nothing_begins(watched):
        cancelled, late = (_asks_for_an_environment(watched) for _ in range(2))
        path = f"/v1/workflow-requests/{cancelled}/cancel"
        platform.ok("POST", path, {"reason": "a typo"})
        let_expire(platform, late)
        assert platform.ended(cancelled)["state"] == "cancelled"
        assert platform.ended(late)["state"] == "timed_out"


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
        eventually(all_do, within_seconds=SERIES_WITHIN_SECONDS, what="all give series")
    except AssertionError as error:
        raise AssertionError("no series of:\n" + "\n".join(empty)) from error


def test_workflows_that_fail_are_told_at_once_and_nothing_else_is(watched: Watched) -> None:
    expected = [
        {"alertname": "WorkflowFailureSpike", "severity": "page"},
        {"alertname": "WorkflowFailsAtLowTraffic", "severity": "ticket"},
    ]
    for labels in expected:
        (told, *_) = _delivered(watched, "firing", SCRAPED_WITHIN_SECONDS, **labels)
        assert told["labels"]["workflow"] == WorkflowName.APPLICATION_ONBOARDING
        shown = watched.platform.client.get(told["annotations"]["runbook_url"])
        assert shown.text.startswith(f"# {labels['alertname']}\n")
        assert told["annotations"]["runbook_url"].startswith(watched.observers.prometheus_url)
    of_workflows = {alert.name for alert in (*WORKFLOW_ALERTS, *SECRET_ALERTS)}
    assert watched.ever_fired() & of_workflows == {labels["alertname"] for labels in expected}
    _follow(watched, expected)


def test_secrets_that_are_too_old_or_near_their_end_are_told(watched: Watched) -> None:
    """The schedule would rotate them if anything began."""
    platform, secret = watched.platform, watched.secrets["app-key"]
    expected = [
        {"alertname": name, "sensitivity": platform.secret(secret)["sensitivity"]}
        for name in ("RotationOverdue", "CredentialNearExpiry")
    ]
    with _nothing_begins(watched), _is_told(watched, expected, ends=expected):
        _set_end(platform, secret, timedelta(days=1))
        age(platform, secret, LONG_AGO)
        _await_all(watched, expected)
        _set_end(platform, secret, timedelta(days=90))
        age(platform, secret, -LONG_AGO)


def test_housekeeping_that_was_never_through_is_told(watched: Watched) -> None:
    """As after hours: Dagster's storage says so, and the next round says otherwise."""
    expected = [{"alertname": "HousekeepingStalls", "job": "metrics-exporter"}]
    done_at = "idp_housekeeping_done_at"
    of_dagster = 'housekeeping_last_done_seconds{job="metrics-exporter"}'
    eventually(
        lambda: watched.observers.value(of_dagster),
        within_seconds=HOUSEKEEPING_WITHIN_SECONDS,
        what="a round of housekeeping",
    )
    now = datetime.now(UTC)
    with _is_told(watched, expected, ends=expected):

        def nothing_was_done() -> None:
            put_cursor(watched.platform, done_at, (now - timedelta(hours=7)).isoformat())

        _await_all(watched, expected, meanwhile=nothing_was_done)
        put_cursor(watched.platform, done_at, now.isoformat())


def test_a_schedule_whose_runs_go_on_failing_is_told(watched: Watched) -> None:
    expected = [{"alertname": "ScheduledRunsFail", "name": ROTATION_SCHEDULE}]
    now = f"{datetime.now(UTC):%FT%T}+00:00"

    def one_more() -> None:
        """However many the schedule's own runs, which succeed, come in between."""
        assert _scheduled_run(watched, "no time at all") == "FAILURE"

    with _is_told(watched, expected, ends=expected):
        _await_all(watched, expected, meanwhile=one_more)
        assert _scheduled_run(watched, now) == "SUCCESS"


def test_a_provider_that_stays_away_is_told(watched: Watched) -> None:
    """As after hours: the requests that wait for the store have waited for so long already."""
    platform = watched.platform
    expected = [{"alertname": "RequestsWaitTooLong", "workflow": PROVISIONING}]
    with _is_told(watched, expected, ends=expected):
        with sealed_store(platform):
            requests = [_asks_for_an_environment(watched) for _ in range(WAIT_FOR_THE_STORE)]
            for each in requests:
                _await_wait(platform, each, WaitingReason.CIRCUIT_OPEN)
                has_waited(platform, each, limits.PROVIDER_WAIT_SECONDS)
            _await_all(watched, expected)
        for each in requests:
            assert platform.ended(each)["state"] == "succeeded"


def test_an_exporter_that_hangs_is_told_and_its_restart_resets_nothing(watched: Watched) -> None:
    platform, expected = watched.platform, [{"alertname": "ExporterDown"}]
    with _is_told(watched, expected, ends=expected):
        with standing_still(platform, "exporter"):
            _await_all(watched, expected)
        platform.kill("exporter")
    for counter in PROJECTED_COUNTERS:
        resets = watched.observers.value(f'resets({counter}{{job="metrics-exporter"}}[1h])')
        assert set(resets.values()) == {0}, counter


def test_a_database_that_lets_the_engine_in_no_more_is_told(watched: Watched) -> None:
    expected = [{"alertname": "DagsterStorageDown"}]
    with _is_told(watched, expected, ends=expected), locked_out(watched.platform, "dagster"):
        _await_all(watched, expected)
    watched.platform.await_ready()


def test_a_database_that_lets_the_control_plane_in_no_more_is_told(watched: Watched) -> None:
    """Everybody who asks the control plane is told to come again: people, the sensor, and the
    exporter.
    """
    platform = watched.platform
    projection = {"alertname": "ProjectionDown"}
    expected = [
        {"alertname": "HttpServerErrors", "service": "control-plane-api"},
        {"alertname": "ProviderErrors", "target": "postgresql"},
        {"alertname": "TicksFail", "name": "workflow_requests_sensor"},
        projection,
    ]

    def ask() -> None:
        assert platform.api("GET", "/v1/teams").status_code == 503

    with _is_told(watched, expected, ends=[projection]), locked_out(platform, "control_plane"):
        _await_all(watched, expected, meanwhile=ask)
    platform.await_ready()


def test_what_stands_still_is_told_and_that_it_goes_on(watched: Watched) -> None:
    """Dagster's daemon and a service hang: nothing takes the next requests up. Runs are killed, and
    somebody holds their requests, so that their leases are not released. When all goes on much is
    late, of two workflows, and one has lost these runs; one failure is too many of so few.
    """
    platform, secrets = watched.platform, watched.secrets
    stopped = [
        {"alertname": "ServiceDown", "job": "local-consumer"},
        {"alertname": "DaemonDown", "daemon": "SENSOR"},
        {"alertname": "RequestsPendingTooLong", "workflow": PROVISIONING},
        {"alertname": "StuckLease", "workflow": PROVISIONING},
    ]
    late = [
        {"alertname": "LeasesLost", "workflow": PROVISIONING},
        {"alertname": "WorkflowTimeToDoneBurnsFast", "workflow": PROVISIONING},
        {"alertname": "WorkflowTimeToDoneBurnsSlowly", "workflow": PROVISIONING},
        {"alertname": "WorkflowSlowAtLowTraffic", "workflow": WorkflowName.SECRET_REVOCATION},
        {"alertname": "WorkflowSuccessBurnsFast", "workflow": PROVISIONING},
        {"alertname": "WorkflowSuccessBurnsSlowly", "workflow": PROVISIONING},
    ]

    def lost() -> float:
        return watched.rows(LEASE_LOSSES)[PROVISIONING]

    before = lost()
    with _is_told(watched, [*stopped, *late], ends=stopped):
        _fails_to_provision(watched)
        requests = [_stands_before(watched, step) for step in KILLED_IN]
        with held(platform, requests), standing_still(platform, "daemon", "local-consumer"):
            for step in KILLED_IN:
                platform.kill_at(f"workflow-engine.{step}.before_call")
            requests += [_asks_for_an_environment(watched) for _ in range(LATE)]
            requests += [_revokes(platform, secrets[name]) for name in ("one", "two")]
            for labels in stopped:
                (told, *_) = _delivered(watched, "firing", FIRES_WITHIN_SECONDS, **labels)
                assert told["annotations"]["summary"]
            _follow(watched, stopped)
        # Whether the sweep comes first or the daemon, which tells at once that the runs failed.
        eventually(lambda: lost() == before + len(KILLED_IN), what="their leases are lost")
        for each in requests:
            assert platform.ended(each, ENDS_WITHIN_SECONDS)["state"] == "succeeded"
        _await_all(watched, late)
    for labels in stopped:
        assert _delivered(watched, "resolved", RESOLVED_WITHIN_SECONDS, **labels)


def test_every_alert_has_fired_here(watched: Watched) -> None:
    """In its fault: each was silent when its test began."""
    assert watched.ever_fired() == {alert.name for alert in ALERTS}


def test_every_workflow_succeeded_and_everything_else_happened_too(watched: Watched) -> None:
    ended = watched.rows(ENDS).keys()
    assert {name for name, result in ended if result == WorkflowResult.SUCCESS} == set(WORKFLOWS)
    assert {result for _, result in ended} == set(WorkflowResult)
    assert watched.rows(RETRIES)
    assert watched.rows(LEASE_LOSSES)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_quantiles_fall_into_the_buckets_of_the_rows(watched: Watched, share: float) -> None:
    """As the panels ask for them, of all that has ended here."""
    window = f"{math.ceil(time.time() - watched.began)}s"
    asked = quantile(
        share, WORKFLOW_RUN_DURATION, window, "workflow", result=WorkflowResult.SUCCESS
    )

    def are_there() -> bool:
        shown = watched.counted(asked, "workflow")
        found.clear()
        found.update({name: (shown.get(name), _bucket(each, share)) for name, each in rows.items()})
        return all(
            value is not None and low - TINY <= value <= high + TINY
            for value, (low, high) in found.values()
        )

    found: dict[str, tuple[float | None, tuple[float, float]]] = {}
    rows = watched.durations()
    assert rows.keys() == set(WORKFLOWS)
    try:
        eventually(are_there, within_seconds=SCRAPED_WITHIN_SECONDS, what="each is where it is")
    except AssertionError as error:
        raise AssertionError(f"shown, and the bucket it belongs to: {found}") from error


def _bucket(durations: Sequence[float], share: float) -> tuple[float, float]:
    """The bounds between which that share of the durations ends."""
    value = sorted(durations)[math.ceil(share * len(durations)) - 1]
    bounds = (0.0, *WORKFLOW_SECONDS_BUCKETS)
    return next(each for each in pairwise(bounds) if value <= each[1])


@pytest.mark.parametrize("service", METRICS_OF)
def test_promtool_finds_nothing_wrong_with_what_is_shown(
    watched: Watched, service: ServiceName
) -> None:
    shown = watched.platform.client.get(watched.platform.url(PORTS[service], "/metrics")).text
    assert "# TYPE http_requests_total counter" in shown
    ran = subprocess.run(
        ["promtool", "check", "metrics"],
        input=shown, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


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


def _delivered(
    watched: Watched, status: str, within_seconds: float, **labels: str
) -> list[dict[str, Any]]:
    return eventually(
        lambda: watched.webhook.told(status, **labels),
        within_seconds=within_seconds,
        what=f"{labels} is told to be {status}",
    )


@contextmanager
def _is_told(
    watched: Watched, expected: Sequence[Labels], *, ends: Sequence[Labels]
) -> Iterator[None]:
    """None of what is expected fires before the block; some of it ends after it."""
    _await_silence(watched, expected)
    yield
    _await_silence(watched, ends)


def _await_silence(watched: Watched, alerts: Sequence[Labels]) -> None:
    """On a busy machine a process may miss its scrapes, too."""
    eventually(
        lambda: not any(map(watched.fires, alerts)),
        within_seconds=RESOLVED_WITHIN_SECONDS,
        what=f"none fires of {alerts}",
    )


def _await_all(
    watched: Watched, expected: Sequence[Labels], meanwhile: Callable[[], None] = lambda: None
) -> None:
    silent = list(expected)

    def all_fire() -> bool:
        meanwhile()
        silent[:] = [each for each in silent if not watched.fires(each)]
        return not silent

    try:
        eventually(all_fire, within_seconds=FIRES_WITHIN_SECONDS, what="all fire")
    except AssertionError as error:
        raise AssertionError(f"silent: {silent}") from error
    _follow(watched, expected, meanwhile)


def _follow(
    watched: Watched, expected: Sequence[Labels], meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Types what the runbooks of these alerts say; again when a part had no answer in time, or the
    fault was mended meanwhile.
    """
    names = {labels["alertname"] for labels in expected}
    pages = {alert.name: ROOT / alert.runbook for alert in ALERTS if alert.name in names}
    said = dict.fromkeys(pages.values(), "")

    def tell() -> bool:
        unclear = [page for name, page in pages.items() if not re.search(CLUES[name], said[page])]
        if any(said.values()):
            meanwhile()
        said.update(typed(watched.platform, watched.bash, unclear))
        return all(re.search(CLUES[name], said[page]) for name, page in pages.items())

    try:
        eventually(tell, what="the runbooks show what the alerts are about")
    except AssertionError as error:
        raise AssertionError("\n".join(said.values())) from error


@contextmanager
def _nothing_begins(watched: Watched) -> Iterator[None]:
    """The platform drains."""
    assert watched.platform.idp("drain").returncode == 0
    try:
        yield
    finally:
        assert watched.platform.idp("resume").returncode == 0


def _set_end(platform: Platform, secret_id: str, after: timedelta) -> None:
    policy = {"expiresAt": f"{datetime.now(UTC) + after:%FT%TZ}"}
    platform.ok("PUT", f"/v1/secrets/{secret_id}/rotation-policy", policy)


def _scheduled_run(watched: Watched, scheduled_at: str) -> str:
    """How the run ends that asks for the rotations that are due at a time."""
    config = {"scheduled_at": scheduled_at}
    return run_of_schedule(watched.platform, ROTATION_SCHEDULE, "secret_rotation_enqueue", config)


def _await_wait(platform: Platform, request_id: str, reason: WaitingReason) -> None:
    eventually(
        lambda: platform.request(request_id)["waitingReason"] == reason,
        what=f"{request_id} waits: {reason}",
    )


def _stands_before(watched: Watched, step: Step) -> str:
    """A request whose run stands still before a step."""
    hit = watched.platform.arm(f"workflow-engine.{step}.before_call")
    request_id = _asks_for_an_environment(watched)
    eventually(hit.exists, what=f"the run is before {step}")
    return request_id


def _asks_for_an_environment(watched: Watched) -> str:
    subject = watched.platform.with_new_environment(watched.subject)
    return str(watched.platform.provision(subject)["requestId"])


def _revokes(platform: Platform, secret_id: str) -> str:
    path = f"/v1/secrets/{secret_id}/revoke"
    return str(platform.ok("POST", path, {"reason": "a rehearsal"})["requestId"])
