"""The migrations make exactly the tables that the code speaks of."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from control_plane.adapters.database import new_engine, transaction
from control_plane.adapters.schema import _config, check_migrated, upgrade
from control_plane.adapters.tables import METADATA
from control_plane.bootstrap import bootstrap
from control_plane.settings import BootstrapSettings
from idp_kernel.errors import InvalidInput, Unavailable
from tests.fixtures.stack import PostgresServer


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


def test_several_processes_may_migrate_at_once(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database().url
    engines = [new_engine(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, engines))
    check_migrated(engines[0])
    for engine in engines:
        engine.dispose()


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
