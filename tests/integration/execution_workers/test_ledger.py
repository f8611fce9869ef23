"""The ledger's schema: migrations lead to the tables of the code, as the role that has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, text

from execution_workers.calls import Call
from execution_workers.ledger.housekeeping import ledger_chore
from execution_workers.ledger.ledger import Ledger, new_engine
from execution_workers.ledger.migrate import migrate
from execution_workers.ledger.tables import SCHEMA, metadata
from execution_workers.ports import Made
from idp_kernel.clock import SystemClock
from idp_kernel.errors import Conflict, Unavailable
from idp_kernel.housekeeping import BATCH_ROWS
from idp_kernel.ids import new_id
from idp_kernel.retention import LEDGER_KEPT_FOR
from idp_kernel.workflows import Step
from tests.fixtures.stack import PostgresServer


@pytest.fixture
def engine(postgres_server: PostgresServer) -> Iterator[Engine]:
    """A database of its own, without the ledger."""
    engine = create_engine(postgres_server.create_database().url)
    yield engine
    engine.dispose()


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def test_migrations_lead_to_the_tables(engine: Engine) -> None:
    migrate(url_of(engine))
    with engine.connect() as connection:
        options = {"include_schemas": True, "version_table_schema": SCHEMA}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    migrate(url_of(engine))
    with engine.begin() as connection:
        fence = "INSERT INTO ledger.request_fences VALUES ('request', 1, now())"
        connection.execute(text(fence))
    migrate(url_of(engine))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM ledger.request_fences")) == 1


def test_the_platforms_own_role_can_migrate(postgres_server: PostgresServer) -> None:
    """It may not create schemas; its own is there already."""
    url = postgres_server.ensure_platform().url("ledger", "idp")
    migrate(url)
    engine = new_engine(url, max_calls=1, item_wait_seconds=1)
    Ledger(engine, SystemClock(), max_calls=1).check_ready()
    engine.dispose()


def test_without_tables_the_service_is_not_ready(engine: Engine) -> None:
    ledger = new_engine(url_of(engine), max_calls=1, item_wait_seconds=1)
    with pytest.raises(Unavailable, match=r"execution_workers\.bootstrap") as not_ready:
        Ledger(ledger, SystemClock(), max_calls=1).check_ready()
    ledger.dispose()
    assert not_ready.value.code == "ledger_not_migrated"


def test_fences_and_readiness_find_a_connection_while_all_calls_are_taken(engine: Engine) -> None:
    migrate(url_of(engine))
    pool = new_engine(url_of(engine), max_calls=2, item_wait_seconds=1)
    ledger = Ledger(pool, SystemClock(), max_calls=2)
    with ExitStack() as calls:
        for _ in range(2):
            calls.enter_context(ledger.opened(a_call()))
        for _ in range(10):
            with pytest.raises(Unavailable) as busy:
                calls.enter_context(ledger.opened(a_call()))
            assert busy.value.code == "workers_busy"
            assert busy.value.retry_after_seconds
        ledger.check_ready()
        ledger.drain(new_id(), 1, wait_seconds=1, closing=False)
    with ledger.opened(a_call()):
        ledger.check_ready()
    pool.dispose()


def test_a_call_that_stands_still_is_refused_once_its_run_is_over(book: Book) -> None:
    """However long nobody sees it end."""
    call = a_call()
    with book.ledger.opened(call) as standing:
        standing.check_fence()
        with pytest.raises(Unavailable) as late:
            book.ledger.drain(call.request_id, call.fence, wait_seconds=0.05, closing=True)
        assert late.value.code == "item_busy"
        with pytest.raises(Conflict, match="is over") as refused:
            standing.check_fence()
        assert refused.value.code == "fenced_off"
    with pytest.raises(Conflict, match="is over"), book.ledger.opened(call):
        pass
    with book.ledger.opened(replace(call, fence=2)) as newer:
        newer.check_fence()


def test_a_call_that_stands_still_is_refused_once_its_request_has_no_time_left(book: Book) -> None:
    """No newer run comes then, and the run itself may be dead."""
    call = replace(a_call(), deadline=book.clock.now() + MINUTE)
    with book.ledger.opened(call) as standing:
        standing.check_fence()
        book.passes(MINUTE)
        with pytest.raises(Conflict) as late:
            standing.check_fence()
    assert late.value.code == "deadline_passed"


def a_call() -> Call:
    return Call(
        request_id=new_id(),
        generation=1,
        step=Step.PROVISION_SECRETS,
        fence=1,
        team_id=new_id(),
        team="payments",
        deadline=SystemClock().now() + timedelta(minutes=30),
    )


@dataclass
class MovedClock:
    """The time that a test says."""

    time: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


class Book:
    """A ledger whose time a test moves, and its housekeeping."""

    def __init__(self, engine: Engine, pool: Engine) -> None:
        self.engine, self.clock = engine, MovedClock()
        self.ledger = Ledger(pool, self.clock, max_calls=2)
        self.forget = ledger_chore(pool, self.clock, LEDGER_KEPT_FOR).delete_batch

    def does(self, call: Call, item: str, created_by: str | None = None) -> None:
        creator = created_by or call.request_id
        with self.ledger.opened(call) as open_call:
            open_call.record(item, {}, Made({}, creator, created=creator == call.request_id))

    def knows(self, call: Call, item: str) -> bool:
        with self.ledger.opened(call) as open_call:
            return open_call.recorded(item, {}) is not None

    def passes(self, time: timedelta) -> None:
        self.clock.time += time

    def requests(self) -> set[str]:
        with self.engine.connect() as connection:
            query = text("SELECT request_id FROM ledger.request_fences")
            return set(connection.execute(query).scalars())


@pytest.fixture
def book(engine: Engine) -> Iterator[Book]:
    migrate(url_of(engine))
    pool = new_engine(url_of(engine), max_calls=2, item_wait_seconds=1)
    yield Book(engine, pool)
    pool.dispose()


MINUTE = timedelta(minutes=1)


def test_a_request_is_forgotten_when_it_can_come_back_no_more_and_not_before(book: Book) -> None:
    old, later = a_call(), a_call()
    book.does(old, "secret/1")
    book.passes(LEDGER_KEPT_FOR - MINUTE)
    assert book.forget() == 0
    assert book.knows(old, "secret/1")
    book.does(later, "secret/2")
    book.passes(2 * MINUTE)
    assert book.forget() == 2, "its fence and its effect"
    assert book.forget() == 0
    assert book.requests() == {later.request_id}
    assert not book.knows(old, "secret/1")


def test_a_claim_keeps_all_that_the_request_has_had(book: Book) -> None:
    old = a_call()
    book.does(old, "secret/1")
    book.passes(LEDGER_KEPT_FOR - MINUTE)
    again = replace(old, fence=2)
    assert book.knows(again, "secret/1")
    book.passes(LEDGER_KEPT_FOR - MINUTE)
    assert book.forget() == 0
    with pytest.raises(Conflict, match="newer run"), book.ledger.opened(old):
        pass


def test_who_lives_on_what_another_created_is_known_as_long_as_that_other(book: Book) -> None:
    creator, adopter = a_call(), a_call()
    book.does(creator, "repository/1")
    book.does(adopter, "repository/1", created_by=creator.request_id)
    book.passes(LEDGER_KEPT_FOR - MINUTE)
    creator = replace(creator, fence=2)
    assert book.knows(creator, "repository/1")
    book.passes(2 * MINUTE)
    assert book.forget() == 0
    with book.ledger.opened(creator) as undo:
        assert undo.is_adopted_by_others("repository/1")
    book.passes(LEDGER_KEPT_FOR)
    assert book.forget() == 4
    assert book.requests() == set()


def test_two_that_live_on_each_other_are_forgotten(book: Book) -> None:
    one, other = a_call(), a_call()
    for call, adopted in ((one, other), (other, one)):
        book.does(call, f"repository/{call.request_id}")
        book.does(call, f"repository/{adopted.request_id}", created_by=adopted.request_id)
    book.passes(LEDGER_KEPT_FOR - MINUTE)
    assert book.forget() == 0
    book.passes(2 * MINUTE)
    assert book.forget() == 6, "two fences with two effects each"
    assert book.requests() == set()


def test_it_forgets_a_batch_at_a_time(book: Book) -> None:
    with book.engine.begin() as connection:
        fences = text(
            "INSERT INTO ledger.request_fences SELECT n::text, 1, :now"
            " FROM generate_series(1, :count) n"
        )
        connection.execute(fences, {"now": book.clock.now(), "count": BATCH_ROWS + 1})
    book.passes(LEDGER_KEPT_FOR + MINUTE)
    assert [book.forget(), book.forget(), book.forget()] == [BATCH_ROWS, 1, 0]


def test_a_call_that_begins_meanwhile_finds_all_or_nothing(book: Book) -> None:
    """A claim that took the fence before housekeeping came keeps the request."""
    old = a_call()
    book.does(old, "secret/1")
    book.passes(LEDGER_KEPT_FOR + MINUTE)
    with book.engine.begin() as claim:
        raised = text("UPDATE ledger.request_fences SET fence = 2, raised_at = :now")
        claim.execute(raised, {"now": book.clock.now()})
        assert book.forget() == 0, "somebody is at work on it"
    assert book.forget() == 0, "it was claimed"
    assert book.knows(replace(old, fence=2), "secret/1")
