"""Waits that end by `NOTIFY`, on a real PostgreSQL."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterRun, build_init_resource_context
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickData, TickStatus
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from idp_dagster import storage as storage_module
from idp_dagster.news import News
from idp_dagster.resources.run_news import RunNewsResource
from idp_dagster.storage import RUN_QUEUE_CHANNEL, pooled_engine
from idp_kernel.ids import new_id
from local_stack.postgres_setup import connect_as_superuser
from tests.fixtures.stack import PostgresServer
from tests.integration.idp_dagster.storage import DagsterStorage, a_run, statements_sent

AT_ONCE_SECONDS = 15.0
"""Far more than it takes, far less than the waits below would last."""
LONG_SECONDS = 100.0
DAY = 24 * 3600


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    """Of a new database, as Dagster names it."""
    return postgres_server.create_database().url.replace("+psycopg:", "+psycopg2:")


@contextmanager
def listening(url: str, channel: str = "told") -> Iterator[News]:
    """It listens already: the wait that begins to is none."""
    with closing(News(url, channel)) as news:
        news.wait(LONG_SECONDS)
        yield news


def seconds_of(news: News, seconds: float) -> float:
    began = time.monotonic()
    news.wait(seconds)
    return time.monotonic() - began


def tell(url: str, channel: str = "told") -> None:
    with pooled_engine(url, os.getpid()).connect() as connection:
        connection.exec_driver_sql(f"NOTIFY {channel}")


def test_what_was_told_between_two_waits_ends_the_second(url: str) -> None:
    with listening(url) as news:
        tell(url)
        assert seconds_of(news, LONG_SECONDS) < AT_ONCE_SECONDS


def test_what_is_told_meanwhile_ends_the_wait(url: str) -> None:
    with listening(url) as news:
        telling = threading.Timer(0.2, tell, [url])
        telling.start()
        assert seconds_of(news, LONG_SECONDS) < AT_ONCE_SECONDS
        telling.join()


def test_without_news_a_wait_lasts_as_long_as_it_may(url: str) -> None:
    with listening(url) as news:
        tell(url, "another")
        assert seconds_of(news, 0.3) >= 0.3


def test_a_cut_connection_is_a_wait_and_then_made_anew(
    url: str, postgres_server: PostgresServer
) -> None:
    with listening(url) as news:
        with closing(connect_as_superuser(postgres_server.address, "postgres")) as server:
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (url.partition("?")[0].rpartition("/")[2],),
            )
        assert seconds_of(news, 0.3) >= 0.3
        assert seconds_of(news, LONG_SECONDS) < AT_ONCE_SECONDS, "it looks again at once"
        tell(url)
        assert seconds_of(news, LONG_SECONDS) < AT_ONCE_SECONDS


def test_while_the_database_is_away_a_wait_lasts_as_long_as_it_may() -> None:
    with closing(News("postgresql+psycopg2://nobody@127.0.0.1:1/none", "told")) as news:
        assert seconds_of(news, 0.3) >= 0.3


# ── Dagster's storage ────────────────────────────────────────────────────────────────────────


def url_of(storage: DagsterStorage) -> str:
    return str(storage.engine.url.render_as_string(hide_password=False))


@pytest.mark.parametrize(
    "kind",
    [
        DagsterEventType.PIPELINE_ENQUEUED,
        DagsterEventType.PIPELINE_SUCCESS,
        DagsterEventType.PIPELINE_FAILURE,
        DagsterEventType.PIPELINE_CANCELED,
    ],
)
def test_the_run_queue_hears_of_what_waits_and_of_what_ended(
    storage: DagsterStorage, kind: DagsterEventType
) -> None:
    run = storage.instance.run_storage.add_run(a_run())
    with listening(url_of(storage), RUN_QUEUE_CHANNEL) as news:
        storage.instance.report_dagster_event(DagsterEvent(kind.value, "job"), run.run_id)
        assert seconds_of(news, LONG_SECONDS) < AT_ONCE_SECONDS


def test_the_run_queue_hears_of_nothing_else(storage: DagsterStorage) -> None:
    run = storage.instance.run_storage.add_run(DagsterRun("job", new_id()))
    with listening(url_of(storage), RUN_QUEUE_CHANNEL) as news:
        started = DagsterEvent(DagsterEventType.PIPELINE_START.value, "job")
        storage.instance.report_dagster_event(started, run.run_id)
        assert seconds_of(news, 0.3) >= 0.3


def test_the_sensor_of_endings_hears_of_them_on_its_own(storage: DagsterStorage) -> None:
    run = storage.instance.run_storage.add_run(DagsterRun("job", new_id()))
    context = build_init_resource_context(instance=storage.instance)
    with RunNewsResource(wait_seconds=LONG_SECONDS).from_resource_context_cm(context) as news:
        assert news.wait(), "it begins to listen: something may have ended before"
        ended = DagsterEvent(DagsterEventType.PIPELINE_FAILURE.value, "job")
        storage.instance.report_dagster_event(ended, run.run_id)
        began = time.monotonic()
        assert news.wait()
        assert time.monotonic() - began < AT_ONCE_SECONDS
    with RunNewsResource(wait_seconds=0.3).from_resource_context_cm(context) as news:
        started = DagsterEvent(DagsterEventType.PIPELINE_START.value, "job")
        storage.instance.report_dagster_event(started, run.run_id)
        assert not news.wait()


def test_old_ticks_are_deleted_from_time_to_time(
    storage: DagsterStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()

    def tick(sensor: str) -> None:
        """One that is two days old, and what the daemon does after each."""
        told = TickData(sensor, sensor, InstigatorType.SENSOR, TickStatus.SKIPPED, now - 2 * DAY,
                        selector_id=sensor)  # fmt: skip
        storage.instance.create_tick(told)
        storage.instance.purge_ticks(sensor, sensor, now - DAY, [TickStatus.SKIPPED])

    def ticks(sensor: str) -> int:
        return len(storage.instance.get_ticks(sensor, sensor))

    tick("one")
    assert ticks("one") == 0
    tick("one")
    assert ticks("one") == 1, "it was seen to a moment ago"
    tick("another")
    assert ticks("another") == 0
    monkeypatch.setattr(storage_module, "PURGE_EVERY_SECONDS", 0.0)
    tick("one")
    assert ticks("one") == 0


def test_what_is_stored_stands_though_nobody_can_be_told(storage: DagsterStorage) -> None:
    run = storage.instance.run_storage.add_run(DagsterRun("job", new_id()))

    untold: list[str] = []

    def cut(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT pg_notify"):
            untold.append(statement)
            raise OperationalError(statement, {}, ConnectionError("cut"))

    event.listen(Engine, "before_cursor_execute", cut)
    try:
        ended = DagsterEvent(DagsterEventType.PIPELINE_FAILURE.value, "job")
        storage.instance.report_dagster_event(ended, run.run_id)
    finally:
        event.remove(Engine, "before_cursor_execute", cut)
    assert untold
    found = storage.instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.is_failure


def test_a_run_s_end_looks_at_no_table_s_columns(storage: DagsterStorage) -> None:
    def end_a_run() -> None:
        run = storage.instance.run_storage.add_run(DagsterRun("job", new_id()))
        ended = DagsterEvent(DagsterEventType.PIPELINE_SUCCESS.value, "job")
        storage.instance.report_dagster_event(ended, run.run_id)

    end_a_run()
    with statements_sent() as statements:
        end_a_run()
    assert any("event_logs" in each for each in statements)
    assert [each for each in statements if "pg_catalog" in each] == []


def test_a_look_at_the_sensors_looks_at_no_table_s_place(storage: DagsterStorage) -> None:
    storage.instance.all_instigator_state()
    with statements_sent() as statements:
        storage.instance.all_instigator_state()
    assert len(statements) == 1, statements


def test_a_connection_that_rested_is_asked_before_it_is_used(
    url: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was cut meanwhile fails nobody's statement; one in use is not asked."""
    engine = pooled_engine(url, os.getpid())
    asked: list[object] = []
    ping = engine.dialect.do_ping

    def note(connection: object) -> bool:
        asked.append(connection)
        return ping(connection)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.dialect, "do_ping", note)
    monkeypatch.setattr(storage_module, "RESTED_SECONDS", 3600.0)
    tell(url)
    tell(url)
    assert asked == []
    with closing(connect_as_superuser(postgres_server.address, "postgres")) as server:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            (url.partition("?")[0].rpartition("/")[2],),
        )
    monkeypatch.setattr(storage_module, "RESTED_SECONDS", 0.0)
    tell(url)
    assert len(asked) == 1


def test_an_event_is_one_statement_and_is_there(storage: DagsterStorage) -> None:
    run = storage.instance.run_storage.add_run(DagsterRun("job", new_id()))
    with statements_sent() as statements:
        storage.instance.report_engine_event("looked", run)
    assert len(statements) == 1, statements
    assert storage.events_of(run.run_id) == 1
