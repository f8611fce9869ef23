"""The ledger's schema: migrations lead to the tables of the code, as the role that has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, text

from execution_workers.calls import Call
from execution_workers.ledger.ledger import Ledger, new_engine
from execution_workers.ledger.migrate import migrate
from execution_workers.ledger.tables import SCHEMA, metadata
from idp_kernel.clock import SystemClock
from idp_kernel.errors import Unavailable
from idp_kernel.ids import new_id
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
        ledger.drain(new_id(), 1, wait_seconds=1)
    with ledger.opened(a_call()):
        ledger.check_ready()
    pool.dispose()


def a_call() -> Call:
    return Call(
        request_id=new_id(),
        generation=1,
        step=Step.PROVISION_SECRETS,
        fence=1,
        team_id=new_id(),
        team="payments",
    )
