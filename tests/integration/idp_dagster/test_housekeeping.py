"""What of Dagster's storage goes, on a real PostgreSQL, and what stays however old it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from dagster import DagsterRunStatus, build_sensor_context

from idp_dagster.catalog import (
    APPLICATION_ENVIRONMENTS,
    align_partitions,
    latest_materializations,
)
from idp_dagster.health import OPEN_STATUSES, engine_health
from idp_dagster.housekeeping import (
    CHECK_RESULTS,
    RUNS,
    RUNS_PER_LOOK,
    deleted_rows,
    keep_house,
    last_done_at,
)
from idp_dagster.ports import Retention
from idp_dagster.resources.housekeeping import HousekeepingResource
from idp_dagster.sensors.housekeeping import FREQUENT_JOBS, housekeeping_sensor
from tests.integration.idp_dagster.storage import DagsterStorage

NOW = datetime(2026, 6, 1, tzinfo=UTC)
RETENTION = Retention(runs=timedelta(days=30), frequent=timedelta(days=7))
WORKFLOW_JOB = "application_onboarding"


@pytest.fixture(autouse=True)
def empty(storage: DagsterStorage) -> None:
    storage.empty()


def keep(storage: DagsterStorage, within_seconds: float = 60) -> Mapping[str, int]:
    return keep_house(
        storage.instance, RETENTION, FREQUENT_JOBS, now=NOW, within_seconds=within_seconds
    )


def test_ended_runs_go_with_their_events_when_they_are_too_old(storage: DagsterStorage) -> None:
    old = storage.add_run(WORKFLOW_JOB, NOW - timedelta(days=31))
    kept = storage.add_run(WORKFLOW_JOB, NOW - timedelta(days=29))
    assert keep(storage) == {RUNS: 1}
    assert storage.runs() == {kept}
    assert storage.rows("event_logs") == storage.events_of(kept) == 2
    assert storage.rows("run_tags") == 1
    assert old not in storage.runs()
    assert keep(storage) == {}


def test_it_is_known_when_nothing_was_left(storage: DagsterStorage) -> None:
    assert last_done_at(storage.instance) is None
    storage.add_run(WORKFLOW_JOB, NOW - timedelta(days=31))
    assert keep(storage, within_seconds=0) == {RUNS: 1}
    assert last_done_at(storage.instance) is None, "the round was cut off"
    assert engine_health(storage.instance, NOW).housekeeping_age is None
    keep(storage)
    assert last_done_at(storage.instance) == NOW
    assert engine_health(storage.instance, NOW + timedelta(hours=7)).housekeeping_age == 7 * 3600


def test_what_begins_by_the_clock_goes_sooner(storage: DagsterStorage) -> None:
    for job in (*FREQUENT_JOBS, WORKFLOW_JOB):
        storage.add_run(job, NOW - timedelta(days=8))
    kept = {storage.add_run(job, NOW - timedelta(days=6)) for job in FREQUENT_JOBS}
    assert keep(storage) == {RUNS: len(FREQUENT_JOBS)}
    assert kept < storage.runs()
    assert len(storage.runs()) == len(kept) + 1


@pytest.mark.parametrize("status", OPEN_STATUSES)
def test_a_run_that_has_not_ended_stays(storage: DagsterStorage, status: DagsterRunStatus) -> None:
    run_id = storage.add_run(WORKFLOW_JOB, NOW - timedelta(days=400), status)
    assert keep(storage) == {}
    assert storage.runs() == {run_id}


def test_what_the_catalog_shows_stays_with_its_run_until_a_newer_one_tells(
    storage: DagsterStorage,
) -> None:
    for _ in range(RUNS_PER_LOOK):
        storage.add_run(WORKFLOW_JOB, NOW - timedelta(days=40))
    first, second = (storage.add_run(WORKFLOW_JOB, NOW - timedelta(days=40)) for _ in range(2))
    storage.materialize(first, "environment-1")
    storage.materialize(first, "environment-2")
    storage.materialize(second, "environment-2")
    assert keep(storage)[RUNS] == RUNS_PER_LOOK
    assert storage.runs() == {first, second}
    shown = latest_materializations(
        storage.instance, APPLICATION_ENVIRONMENTS, ["environment-1", "environment-2"]
    )
    assert {key: each.run_id for key, each in shown.items()} == {
        "environment-1": first,
        "environment-2": second,
    }
    storage.materialize(second, "environment-1")
    assert keep(storage) == {RUNS: 1}
    align_partitions(
        storage.instance,
        APPLICATION_ENVIRONMENTS,
        shown=["environment-1", "environment-2"],
        listed=[],
    )
    assert keep(storage) == {RUNS: 1}, "the catalog shows neither any more"


def test_of_results_of_checks_the_newest_of_what_the_catalog_shows_stays(
    storage: DagsterStorage,
) -> None:
    storage.show("environment-1")
    for days in (20, 10, 8):
        storage.add_result("environment-1", NOW - timedelta(days=days))
        storage.add_result(None, NOW - timedelta(days=days))
    storage.add_result("gone", NOW - timedelta(days=9))
    storage.add_result("gone", NOW - timedelta(days=6))
    assert keep(storage) == {CHECK_RESULTS: 5}
    assert storage.results() == [
        ("environment-1", NOW - timedelta(days=8)),
        (None, NOW - timedelta(days=8)),
        ("gone", NOW - timedelta(days=6)),
    ]


def test_a_check_that_a_dead_run_planned_does_not_pass_for_the_newest_result(
    storage: DagsterStorage,
) -> None:
    storage.show("environment-1")
    for days in (20, 10):
        storage.add_result("environment-1", NOW - timedelta(days=days))
    for days in (9, 8):
        storage.add_result("environment-1", NOW - timedelta(days=days), status="PLANNED")
    assert keep(storage) == {CHECK_RESULTS: 2}
    assert storage.results() == [
        ("environment-1", NOW - timedelta(days=10)),
        ("environment-1", NOW - timedelta(days=8)),
    ]


def test_a_round_that_was_cut_off_is_gone_on_with(storage: DagsterStorage) -> None:
    before = deleted_rows(storage.instance)[RUNS]
    for _ in range(2 * RUNS_PER_LOOK + 1):
        storage.add_run(WORKFLOW_JOB, NOW - timedelta(days=31))
    assert keep(storage, within_seconds=0) == {RUNS: RUNS_PER_LOOK}
    assert keep(storage) == {RUNS: RUNS_PER_LOOK + 1}
    assert deleted_rows(storage.instance)[RUNS] == before + 2 * RUNS_PER_LOOK + 1


def test_a_run_whose_deletion_was_cut_off_is_deleted_by_the_next_round(
    storage: DagsterStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.add_run(WORKFLOW_JOB, NOW - timedelta(days=31))
    with monkeypatch.context() as cut:

        def ends(_run_id: str) -> None:
            raise KeyboardInterrupt

        cut.setattr(storage.instance, "delete_run", ends)
        with pytest.raises(KeyboardInterrupt):
            keep(storage)
    assert keep(storage) == {RUNS: 1}
    assert (storage.rows("event_logs"), storage.rows("runs")) == (0, 0)


def test_the_sensor_tells_what_it_deleted_and_keeps_what_it_is_told(
    storage: DagsterStorage,
) -> None:
    now = datetime.now(UTC)
    storage.add_run(WORKFLOW_JOB, now - timedelta(days=4))
    kept = storage.add_run(WORKFLOW_JOB, now - timedelta(days=2))
    told = HousekeepingResource(keep_runs_days=3, keep_frequent_runs_days=1)
    context = build_sensor_context(instance=storage.instance)
    first = housekeeping_sensor(context, housekeeping=told)
    assert str(first) == "SkipReason(skip_message='Deleted: 1 of runs.')"
    second = housekeeping_sensor(context, housekeeping=told)
    assert str(second) == "SkipReason(skip_message='Nothing is too old.')"
    assert storage.runs() == {kept}
