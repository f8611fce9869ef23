"""The migrations make exactly the tables that the code speaks of."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event, func, inspect, select, text

from control_plane.adapters.database import new_engine, transaction
from control_plane.adapters.schema import MIGRATION_LOCK, _config, check_migrated, upgrade
from control_plane.adapters.tables import METADATA
from control_plane.bootstrap import bootstrap
from control_plane.settings import BootstrapSettings
from idp_kernel.errors import InvalidInput, Unavailable
from idp_kernel.ids import new_id
from tests.fixtures.stack import PostgresServer
from tests.integration.control_plane.conftest import eventually


def test_migrations_and_tables_agree(postgres_server: PostgresServer) -> None:
    engine = new_engine(postgres_server.create_database().url)
    upgrade(engine)
    with transaction(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, METADATA) == []
        indexes = {
            row.indexname: row.indexdef
            for row in connection.execute(text("SELECT indexname, indexdef FROM pg_indexes"))
        }
    assert indexes["uq_workflow_subjects_active"].endswith("WHERE active")
    engine.dispose()


def test_migrations_can_be_taken_back(postgres_server: PostgresServer) -> None:
    engine = new_engine(postgres_server.create_database().url)
    upgrade(engine)
    with transaction(engine) as connection:
        command.downgrade(_config(connection), "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    with pytest.raises(Unavailable, match=r"control_plane\.bootstrap"):
        check_migrated(engine)
    engine.dispose()


def test_rows_from_before_survive_the_migrations(postgres_server: PostgresServer) -> None:
    engine, id_ = new_engine(postgres_server.create_database().url), new_id()
    with transaction(engine) as connection:
        command.upgrade(_config(connection), "0001")
        for row in ROWS_OF_0001:
            connection.execute(text(row), {"id": id_})
    upgrade(engine)
    with transaction(engine) as connection:
        issuer = connection.execute(text("SELECT issuer FROM secrets")).scalar_one()
        name = connection.execute(text("SELECT name FROM appenv_repositories")).scalar_one()
        dates = connection.execute(
            text(
                "SELECT secrets.created_at = application_environments.created_at,"
                " rotated_at = secrets.created_at, next_rotation_at - rotated_at,"
                " secret_bindings.version FROM secrets, application_environments, secret_bindings"
            )
        ).one()
    assert (issuer, name) == ("openbao", "x")
    assert tuple(dates) == (True, True, timedelta(days=180), 2)
    engine.dispose()


ROWS_OF_0001 = (
    "INSERT INTO teams VALUES (:id, 'payments', 'Payments', 'Active', now())",
    "INSERT INTO environments VALUES (:id, 'dev', '', 'Active', now())",
    "INSERT INTO applications VALUES (:id, :id, 'shop', '', 'Approved', now())",
    "INSERT INTO application_environments VALUES (:id, :id, :id, 'Active', NULL, now())",
    "INSERT INTO deployment_repositories VALUES (:id, :id, 'payments', 'x', NULL, 'Active')",
    "INSERT INTO secrets VALUES (:id, :id, 'app-key', 'runtime', 'low', 'Active', 'x', 2)",
    "INSERT INTO secret_bindings VALUES (:id, :id, :id, 'Active')",
)


def test_several_processes_may_migrate_at_once(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database().url
    engines = [new_engine(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, engines))
    check_migrated(engines[0])
    for engine in engines:
        engine.dispose()


def test_who_migrates_second_waits_for_longer_than_a_statement_may_take(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.create_database().url
    engine, impatient = new_engine(url), new_engine(url)

    @event.listens_for(impatient, "connect")
    def be_impatient(connection: Any, _record: object) -> None:
        connection.autocommit = True
        connection.execute("SET statement_timeout = '200ms'; SET lock_timeout = '200ms'")
        connection.autocommit = False

    def waits_for_long() -> bool:
        with transaction(engine) as connection:
            return connection.execute(text(WAITS_FOR_LONG)).scalar_one_or_none() is not None

    with ThreadPoolExecutor(1) as pool:
        with transaction(engine) as first:
            first.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            second = pool.submit(upgrade, impatient)
            eventually(waits_for_long)
            assert not second.done()
        second.result()
    check_migrated(engine)
    for each in (engine, impatient):
        each.dispose()


WAITS_FOR_LONG = """
SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
  AND clock_timestamp() - query_start > interval '500ms'
"""


def test_bootstrap_makes_one_admin_however_often_it_runs(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    token_file = tmp_path / "admin.token"
    url = postgres_server.create_database().url
    settings = BootstrapSettings(database_url=url, admin_token_file=token_file)
    token_file.write_text("short")
    with pytest.raises(InvalidInput, match="needs 40"):
        bootstrap(settings)
    token_file.write_text("t" * 43 + "\n")
    for _ in range(2):
        assert bootstrap(settings)
    engine = new_engine(url)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE tokens SET revoked_at = now()"))
    assert not bootstrap(settings)
    with transaction(engine) as connection:
        connection.execute(
            text("UPDATE tokens SET revoked_at = NULL, expires_at = now() - interval '1 second'")
        )
    assert not bootstrap(settings)
    with transaction(engine) as connection:
        admins = connection.execute(text("SELECT name, platform_admin FROM principals")).all()
        tokens = connection.execute(text("SELECT principal FROM tokens")).all()
    engine.dispose()
    assert [tuple(row) for row in admins] == [("admin", True)]
    assert [tuple(row) for row in tokens] == [("admin",)]
