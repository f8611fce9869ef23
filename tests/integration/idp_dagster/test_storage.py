"""Events of a run that are stored together, on a real PostgreSQL."""

from datetime import UTC, datetime

import pytest
from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    EventLogEntry,
    RunsFilter,
    job,
    op,
)
from dagster._core.events import EVENT_TYPE_TO_PIPELINE_RUN_STATUS
from dagster._core.execution.api import create_execution_plan
from dagster._core.snap import (
    ExecutionPlanSnapshot,
    create_execution_plan_snapshot_id,
    snapshot_from_execution_plan,
)
from dagster_postgres.run_storage import PostgresRunStorage
from sqlalchemy.exc import SQLAlchemyError

from idp_dagster.storage import TellingRunStorage, events_held
from idp_kernel.ids import new_id
from tests.integration.idp_dagster.storage import DagsterStorage, a_run, statements_sent

RUN = new_id()


@pytest.fixture(autouse=True)
def _emptied(storage: DagsterStorage) -> None:
    storage.empty()


def told(instance: DagsterInstance) -> list[tuple[str | None, str | None]]:
    """The run's events in the order of the log, as the UI reads them."""
    found = instance.get_records_for_run(RUN, limit=100).records
    events = [each.event_log_entry.get_dagster_event() for each in found]
    return [(each.step_key, each.event_type_value) for each in events]


def test_the_end_of_a_step_is_stored_with_the_next_one_s_start(storage: DagsterStorage) -> None:
    with events_held(storage.instance):
        storage.begin_step(RUN, "first")
        assert storage.events_of(RUN) == 1
        storage.end_step(RUN, "first")
        assert storage.events_of(RUN) == 1
        storage.begin_step(RUN, "second")
        assert storage.events_of(RUN) == 3
    assert told(storage.instance) == [
        ("first", "STEP_START"),
        ("first", "STEP_SUCCESS"),
        ("second", "STEP_START"),
    ]


def test_what_is_held_is_there_for_who_reads_in_the_same_process(storage: DagsterStorage) -> None:
    with events_held(storage.instance):
        storage.end_step(RUN, "only")
        assert told(storage.instance) == [("only", "STEP_SUCCESS")]


def test_what_nothing_follows_is_stored_at_the_end(storage: DagsterStorage) -> None:
    def fail() -> None:
        with events_held(storage.instance):
            storage.end_step(RUN, "only")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert storage.events_of(RUN) == 1


def test_an_event_outside_a_run_is_stored_at_once(storage: DagsterStorage) -> None:
    with events_held(storage.instance):
        pass
    storage.end_step(RUN, "only")
    assert storage.events_of(RUN) == 1


def test_events_that_cannot_be_stored_fail_once(storage: DagsterStorage) -> None:
    storage.execute("ALTER TABLE event_logs RENAME TO event_logs_away")
    with events_held(storage.instance):
        storage.end_step(RUN, "first")
        with pytest.raises(SQLAlchemyError):
            storage.begin_step(RUN, "second")
        storage.execute("ALTER TABLE event_logs_away RENAME TO event_logs")
        storage.end_step(RUN, "second")
    assert told(storage.instance) == [("second", "STEP_SUCCESS")]


def test_a_plan_is_read_once_in_a_process_and_one_that_is_missing_anew(
    storage: DagsterStorage,
) -> None:
    runs, plan = storage.instance.run_storage, _plan()
    plan_id = create_execution_plan_snapshot_id(plan)
    assert not runs.has_execution_plan_snapshot(plan_id)
    assert runs.get_execution_plan_snapshot(plan_id) is None
    runs.add_execution_plan_snapshot(plan)
    assert runs.has_execution_plan_snapshot(plan_id)
    assert runs.get_execution_plan_snapshot(plan_id) == plan
    storage.execute("DELETE FROM snapshots")
    assert runs.get_execution_plan_snapshot(plan_id) == plan


def test_a_run_by_its_id_is_read_as_dagster_reads_it(storage: DagsterStorage) -> None:
    run_id = storage.add_run("job", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    storage.add_run("another", datetime.now(UTC))
    storage.execute("UPDATE runs SET start_time = 1.5, end_time = 2.5")
    runs = storage.instance.run_storage
    assert isinstance(runs, TellingRunStorage)
    by_id = RunsFilter(run_ids=[run_id])
    as_dagster = PostgresRunStorage.get_run_records(runs, by_id)
    assert [record.dagster_run.run_id for record in as_dagster] == [run_id]
    assert runs.get_run_records(by_id, limit=1) == as_dagster
    assert runs.get_runs(by_id) == [storage.instance.get_run_by_id(run_id)]
    assert storage.instance.get_run_by_id(new_id()) is None
    assert runs.get_run_records(RunsFilter(run_ids=[run_id], job_name="another")) == []


OF_RUN = "SELECT status, start_time, end_time, update_timestamp FROM runs WHERE run_id = :id"
AT = datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)


@pytest.mark.parametrize("kind", EVENT_TYPE_TO_PIPELINE_RUN_STATUS)
def test_an_event_changes_its_run_as_dagster_does(
    storage: DagsterStorage, kind: DagsterEventType
) -> None:
    runs = storage.instance.run_storage
    assert isinstance(runs, TellingRunStorage)
    ours, as_dagster = (runs.add_run(a_run({"a": "tag"})) for _ in range(2))
    entry = EventLogEntry(  # type: ignore[no-untyped-call] # Dagster says no types
        error_info=None,
        level="info",
        user_message="",
        run_id=ours.run_id,
        timestamp=AT.timestamp(),
        dagster_event=DagsterEvent(kind.value, "job"),
    )
    storage.instance.handle_new_event(entry)
    by_dagster = PostgresRunStorage.handle_run_event
    by_dagster(runs, as_dagster.run_id, entry.get_dagster_event(), AT)
    changed, wanted = (storage.execute(OF_RUN, id=each.run_id) for each in (ours, as_dagster))
    assert changed == wanted
    read = storage.instance.get_run_by_id(ours.run_id)
    assert read is not None
    assert (read.status, read.tags) == (EVENT_TYPE_TO_PIPELINE_RUN_STATUS[kind], {"a": "tag"})
    assert storage.events_of(ours.run_id) == 1


def test_an_event_and_what_it_changes_are_two_statements(storage: DagsterStorage) -> None:
    run = storage.instance.run_storage.add_run(a_run({}))
    ended = DagsterEvent(DagsterEventType.PIPELINE_SUCCESS.value, "job")
    storage.instance.report_dagster_event(ended, run.run_id)
    with statements_sent() as statements:
        storage.instance.report_dagster_event(ended, run.run_id)
    assert [each.split()[0] for each in statements] == ["INSERT", "UPDATE"]


def test_a_tag_that_came_after_a_run_was_read_is_read_and_outlives_its_events(
    storage: DagsterStorage,
) -> None:
    runs = storage.instance.run_storage
    run_id = runs.add_run(a_run({"a": "tag"})).run_id
    for kind, tag in (("PIPELINE_START", "b"), ("PIPELINE_CANCELED", "c")):
        storage.instance.get_run_by_id(run_id)
        runs.add_run_tags(run_id, {tag: "tag"})
        storage.instance.report_dagster_event(DagsterEvent(kind, "job"), run_id)
    read = storage.instance.get_run_by_id(run_id)
    assert read is not None
    assert set(read.tags) == {"a", "b", "c"}
    assert read.status is DagsterRunStatus.CANCELED


def _plan() -> ExecutionPlanSnapshot:
    @op
    def nothing() -> None: ...

    @job
    def only_nothing() -> None:
        nothing()

    return snapshot_from_execution_plan(create_execution_plan(only_nothing), "a job")
